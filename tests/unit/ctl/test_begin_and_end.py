"""configure, remove, completion; and clusters that are to follow another one."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from click.testing import CliRunner

from haagent.config.load import load
from haagent.ctl.commands import cli
from tests.unit.ctl.world import World

# --- remove ---


def test_remove_wants_three_texts() -> None:
    """Fault 88: the cluster's name, a sentence, and who leads."""
    world = World()
    result = world.run("remove", "demo", typed="demo\nYes I am aware\na\n")
    assert result.exit_code == 0, result.output
    assert "9 keys of cluster demo were removed" in result.output
    assert world.dcs.now.members == ()


@pytest.mark.parametrize("typed", ["", "demo\n", "other\n", "demo\nyes\n", "demo\nYes I am aware\nb\n"])
def test_anything_else_removes_nothing(typed: str) -> None:
    world = World()
    result = world.run("remove", "demo", typed=typed)
    assert result.exit_code == 1
    assert "Nothing was removed" in result.output
    assert len(world.dcs.now.members) == 3


def test_a_cluster_without_a_leader_needs_no_name_of_one() -> None:
    world = World()
    world.change(leader=None)
    assert "keys of cluster demo were removed" in world.run("remove", "demo", typed="demo\nYes I am aware\n").output
    assert "There is no cluster demo" in world.run("remove", "demo").output


# --- configure ---


def test_configure_writes_what_the_command_line_reads(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "ctl.yml"
    words = ["configure", "-c", str(file), "-d", "etcd3://10.0.0.1:2379,10.0.0.2:2379", "demo"]
    result = CliRunner().invoke(cli, words)
    assert result.output == f"Written: {file}\n", result.output
    config = load(str(file), {}, client=True)
    assert config.scope == "demo"
    assert [str(url) for url in config.endpoints] == ["http://10.0.0.1:2379", "http://10.0.0.2:2379"]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_configure_asks_for_what_is_missing_and_before_it_overwrites(tmp_path: Path) -> None:
    file = tmp_path / "ctl.yml"
    file.write_text("scope: other\n")
    result = CliRunner().invoke(cli, ["configure", "-c", str(file)], input="etcd3://10.0.0.9:2379\nn\n")
    assert result.exit_code == 1
    assert file.read_text() == "scope: other\n"
    assert CliRunner().invoke(cli, ["configure", "-c", str(file), "--force"]).exit_code == 0
    assert "127.0.0.1:2379" in file.read_text()


# --- shell completion ---


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_of_a_shell(shell: str) -> None:
    assert "_HAAGENT_CTL_COMPLETE" in CliRunner().invoke(cli, ["completion", shell]).output


def test_commands_are_completed() -> None:
    asked = {"_HAAGENT_CTL_COMPLETE": "bash_complete", "COMP_WORDS": "haagent-ctl sw", "COMP_CWORD": "1"}
    assert "plain,switchover" in CliRunner().invoke(cli, [], prog_name="haagent-ctl", env=asked).output
