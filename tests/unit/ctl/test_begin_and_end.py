"""configure, remove, completion; and clusters that are to follow another one."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from haagent.config.load import load
from haagent.core.facts import ConfigKey
from haagent.core.terms import Revision
from haagent.ctl import standby_cluster
from haagent.ctl.commands import cli
from haagent.rest.client import Response
from tests.unit.ctl.world import World, answer, primary_status, standby_status

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


# --- a cluster that follows another one ---


def follows(world: World, section: Any) -> None:
    world.change(config=ConfigKey(Revision(4), {"ttl": 10} | ({"standby_cluster": section} if section else {})))


def following(world: World, role: str) -> Any:
    """An agent's answer to PATCH /config, after which the leader has that role."""

    def patched(body: Any) -> Response:
        host = world.member("a").api_url.split("//")[1].split(":")[0]
        status = standby_status() if role == "standby_leader" else primary_status()
        world.agents.status[host] = status | {"role": role}
        return Response(200, "{}", body)

    return patched


def test_demote_cluster_writes_the_section_and_waits() -> None:
    world = World()
    world.agents.answers["PATCH", "/config"] = following(world, "standby_leader")
    result = world.run("demote-cluster", "--host", "10.9.9.9", "--port", "5432", "--force")
    assert result.exit_code == 0, result.output
    assert world.agents.seen[0][3] == {"standby_cluster": {"host": "10.9.9.9", "port": 5432}}
    assert "Cluster demotion is completed" in result.output


def test_promote_cluster_removes_the_section_and_waits() -> None:
    world = World()
    follows(world, {"host": "10.9.9.9"})
    world.agents.answers["PATCH", "/config"] = following(world, "primary")
    result = world.run("promote-cluster", "--force")
    assert world.agents.seen[0][3] == {"standby_cluster": None}
    assert "Cluster promotion is completed" in result.output


@pytest.mark.parametrize(
    ("words", "section", "text"),
    [
        (("demote-cluster",), None, "at least --host, --port or --restore-command"),
        (("demote-cluster", "--host", "h"), {"host": "h"}, "already in the required state"),
        (("promote-cluster",), None, "already in the required state"),
    ],
)
def test_what_makes_no_sense_is_refused(words: tuple[str, ...], section: Any, text: str) -> None:
    world = World()
    follows(world, section)
    result = world.run(*words, "--force")
    assert result.exit_code == 1
    assert text in result.output
    assert world.agents.seen == []


def test_a_change_that_does_not_come_is_not_called_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standby_cluster, "WITHIN_S", 0.05)
    world = World()
    world.agents.answers["PATCH", "/config"] = answer(200, "{}")
    result = world.run("demote-cluster", "--host", "h", "--force")
    assert result.exit_code == 1
    assert "no member is standby_leader" in result.output
