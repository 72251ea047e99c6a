"""The dynamic configuration and maintenance mode."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from haagent.core.facts import ConfigKey, Document, HistoryLine
from haagent.core.terms import Lsn, Revision, Timeline
from haagent.ctl import shared
from haagent.ctl.shared import Edit, changed
from haagent.rest.client import Response
from tests.unit.ctl.world import World, lines


def stored(world: World) -> Document:
    assert world.dcs.now.config is not None
    return world.dcs.now.config.document


def test_show_config() -> None:
    result = World().run("show-config")
    assert result.output == "loop_wait: 3\nretry_timeout: 3\nttl: 10\n"
    assert World().run("show-config", "-f", "json").output == '{"ttl": 10, "loop_wait": 3, "retry_timeout": 3}\n'


def test_no_config_key() -> None:
    world = World()
    world.change(config=None)
    result = world.run("show-config")
    assert result.exit_code == 1
    assert "the config key does not exist in cluster demo" in result.output


def test_edit_config_shows_the_difference_and_writes() -> None:
    world = World()
    result = world.run("edit-config", "-s", "ttl=20", "-p", "work_mem=8MB", "-s", "loop_wait=null", "--force")
    assert result.exit_code == 0, result.output
    assert stored(world) == {"ttl": 20, "retry_timeout": 3, "postgresql": {"parameters": {"work_mem": "8MB"}}}
    assert {"-loop_wait: 3", "-ttl: 10", "+ttl: 20", "+    work_mem: 8MB"} <= set(lines(result))
    assert lines(result)[-1] == "Configuration changed"


def test_nothing_to_change_and_nothing_shown() -> None:
    world = World()
    assert world.run("edit-config", "-s", "ttl=10", "--force").output == "Not changed\n"
    assert world.run("edit-config", "-q", "-s", "ttl=11", "--force").output == "Configuration changed\n"


def test_what_cannot_be_used_is_not_written() -> None:
    world = World()
    result = world.run("edit-config", "-s", "ttl=abc", "--force")
    assert result.exit_code == 1
    assert "dynamic configuration: ttl: found abc; expected at least 3\nNothing was changed" in result.output
    assert stored(world)["ttl"] == 10


def test_what_a_patroni_member_would_not_take_is_not_written() -> None:
    world = World()
    assert world.dcs.now is not None
    members = [replace(m, patroni=m.name == "c") for m in world.dcs.now.members]
    world.change(members=tuple(members))
    result = world.run("edit-config", "-s", "ttl=12", "--force")
    assert result.exit_code == 1
    assert "ttl 12 is below Patroni's minimum of 20" in result.output
    assert "c (Patroni" in result.output
    assert stored(world)["ttl"] == 10


def test_a_warning_does_not_stand_in_the_way() -> None:
    result = World().run("edit-config", "-s", "ttll=20", "--force")
    assert result.exit_code == 0
    assert "Warning: ttll is not known" in result.output


def test_without_consent_nothing_is_written() -> None:
    world = World()
    result = world.run("edit-config", "-s", "ttl=20", typed="n\n")
    assert result.exit_code == 1
    assert stored(world)["ttl"] == 10


def test_a_write_by_somebody_else_in_between_is_a_conflict() -> None:
    world = World()

    def somebody_writes() -> None:
        world.change(config=ConfigKey(Revision(99), {"ttl": 33}))

    world.dcs.before_write = somebody_writes
    result = world.run("edit-config", "-s", "ttl=20", "--force")
    assert result.exit_code == 1
    assert "Somebody else changed the configuration after it was read (revision 3)" in result.output
    assert stored(world) == {"ttl": 33}


def test_apply_merges_and_replace_replaces(tmp_path: Path) -> None:
    file = tmp_path / "change.yml"
    file.write_text("ttl: 30\nloop_wait: null\npostgresql: {use_slots: false}\n")
    before = {"ttl": 10, "loop_wait": 3, "postgresql": {"parameters": {"a": 1}}}
    assert changed(before, Edit(apply=str(file))) == {
        "ttl": 30,
        "postgresql": {"parameters": {"a": 1}, "use_slots": False},
    }
    assert changed(before, Edit(replace=str(file)))["postgresql"] == {"use_slots": False}
    assert before == {"ttl": 10, "loop_wait": 3, "postgresql": {"parameters": {"a": 1}}}


def test_standard_input() -> None:
    world = World()
    assert world.run("edit-config", "--apply", "-", "--force", typed="ttl: 44\n").exit_code == 0
    assert stored(world) == {"ttl": 44, "loop_wait": 3, "retry_timeout": 3}


@pytest.mark.parametrize("text", ["ttl", "=3", "ttl={"])
def test_assignments_that_cannot_be_read(text: str) -> None:
    assert World().run("edit-config", "-s", text, "--force").exit_code == 1


def test_files_that_are_no_document(tmp_path: Path) -> None:
    file = tmp_path / "x.yml"
    file.write_text("- a\n")
    for path, why in ((file, "holds no YAML map"), (tmp_path / "absent", "cannot be read")):
        result = World().run("edit-config", "--apply", str(path), "--force")
        assert result.exit_code == 1
        assert why in result.output
    assert World().run("edit-config", "--apply", "a", "--replace", "b").exit_code == 2


def test_the_editor(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def edit(text: str, **_: Any) -> str:
        seen.append(text)
        return text.replace("ttl: 10", "ttl: 25")

    monkeypatch.setattr(click, "edit", edit)
    monkeypatch.setattr(shared, "has_terminal", lambda: True)
    world = World()
    assert world.run("edit-config", "--force").exit_code == 0
    assert yaml.safe_load(seen[0]) == {"ttl": 10, "loop_wait": 3, "retry_timeout": 3}
    assert stored(world)["ttl"] == 25


def test_no_terminal_no_editor() -> None:
    result = World().run("edit-config", "--force")
    assert result.exit_code == 1
    assert "say what to change with -s, -p, --apply or --replace" in result.output


# --- maintenance mode ---


def patches(world: World) -> None:
    """Agents that do to the key what a PATCH says."""

    def patch(body: Any) -> Response:
        document = {**stored(world), **body}
        kept = {key: value for key, value in document.items() if value is not None}
        world.change(config=ConfigKey(Revision(4), kept))
        return Response(200, "{}")

    world.agents.answers["PATCH", "/config"] = patch


def test_pause_and_resume() -> None:
    world = World()
    patches(world)
    assert world.run("pause").output == "Success: cluster management is paused\n"
    assert world.agents.seen[-1] == ("10.0.0.1", "PATCH", "/config", {"pause": True})
    again = world.run("pause")
    assert again.exit_code == 1
    assert "Cluster is already paused" in again.output
    assert world.run("resume").output == "Success: cluster management is resumed\n"
    assert world.agents.seen[-1][3] == {"pause": None}
    assert "Cluster is not paused" in world.run("resume").output


def test_resume_names_whoever_may_still_accept_writes() -> None:
    """Fault 89: its permit has no end since the pause, and its agent is not there to give it one."""
    world = World()
    patches(world)
    assert world.run("pause").exit_code == 0
    world.change(leader=None, history=(HistoryLine(Timeline(1), Lsn(9), "no recovery target", None, "c"),))
    told = lines(world.run("resume"))
    assert "PostgreSQL still runs on c without its agent" in told[0]
    assert told[-1] == "Success: cluster management is resumed"


def test_pause_waits_for_all_members() -> None:
    world = World()
    patches(world)
    looks = 0

    def follow() -> None:
        nonlocal looks
        looks += 1
        if looks == 6:
            world.change(members=tuple(replace(m, pause=True) for m in world.dcs.now.members))

    world.dcs.on_read = follow
    result = world.run("pause", "--wait")
    assert result.exit_code == 0
    assert lines(result)[-1] == "Success: cluster management is paused"
    assert looks >= 6


def test_pause_names_who_has_not_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "HEARD_AFTER_S", -2.95)
    world = World()
    patches(world)
    world.change_member("a", pause=True)
    result = world.run("pause", "--wait")
    assert result.exit_code == 1
    assert "the change is stored, but b, c had not seen it" in result.output


def test_a_dead_agent_is_passed_over() -> None:
    world = World()
    patches(world)
    world.agents.down = {"10.0.0.1"}
    assert world.run("pause").exit_code == 0
    assert world.agents.seen[-1][0] == "10.0.0.2"
    world.agents.down = {"10.0.0.1", "10.0.0.2", "10.0.0.3"}
    result = world.run("resume")
    assert result.exit_code == 1
    assert "no agent can be reached" in result.output


STRANGE = [
    "a: &x [*x]",
    "a: &x {b: *x}",
    "!!python/object:os.system {}",
    "? [a]\n: b",
    "1: 2",
    "a: 2026-01-01",
    "a: .nan",
]


@settings(max_examples=150, deadline=None)
@given(
    text=st.text(max_size=60) | st.sampled_from(["a: &x [*x]", "!!python/object:os.system {}", "? [a]\n: b", "1: 2"])
)
def test_no_text_is_too_strange_to_be_refused(text: str) -> None:
    """Whatever is given as YAML: written, not changed, or refused in words; never a traceback."""
    for option in ("--replace", "--apply"):
        result = World().run("edit-config", option, "-", "--force", typed=text)
        assert result.exit_code in (0, 1)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception


@pytest.mark.parametrize("text", ["a: &x [*x]", "a: 2026-01-01", "a: !!binary aGk=", "a: .nan", "? [1, 2]\n: b"])
def test_what_json_does_not_know_is_not_written(text: str) -> None:
    world = World()
    result = world.run("edit-config", "--apply", "-", "--force", typed=text)
    assert result.exit_code == 1, result.output
    assert "Nothing was changed" in result.output
    assert "a" not in stored(world)
    assert "Nothing was changed" in world.run("edit-config", "-s", "a=2026-01-01", "--force").output
