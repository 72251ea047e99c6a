"""``haagent-ctl doctor`` and ``whatif``: what is gathered, how it is shown, and the exit code."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from haagent.core.status import status
from haagent.core.terms import Lsn
from tests.builders import LSN, a_member, a_node, a_primary_view, a_snapshot, a_standby, a_view, host_of
from tests.unit.ctl.world import FakeAgents, FakeDcs, World, lines

FINE = {"id": "durability", "verdict": "ok", "evidence": "fsync on"}
BAD = {"id": "password-file", "verdict": "problem", "evidence": "it has mode 0644", "mend": "chmod 0600 it"}


def a_world(*found: Mapping[str, Any], **alike: str) -> World:
    """Two nodes that are well; the doctor of ``b`` finds what is given."""
    views = (a_primary_view(), a_view())
    reports: dict[str, Mapping[str, Any]] = {
        host_of(view.me.name): {
            "wall": 0.0,
            "alike": {"wal_level": alike.get(view.me.name, "replica")},
            "findings": list(found) if view.me.name == "b" else [FINE],
        }
        for view in views
    }
    agents = FakeAgents(status={host_of(v.me.name): status(v) for v in views}, reports=reports)
    return World(dcs=FakeDcs(a_snapshot(a_member("a"), a_member("b"))), agents=agents)


def test_where_nothing_is_a_problem() -> None:
    result = a_world(FINE).run("doctor")
    assert result.exit_code == 0, result.output
    assert "ok       successor              b takes over if a dies" in result.output
    assert "ok       durability             b: fsync on" in lines(result)


def test_a_problem_comes_first_with_its_mend_and_ends_with_1() -> None:
    result = a_world(FINE, BAD).run("doctor")
    assert result.exit_code == 1
    assert lines(result)[:2] == [
        "problem  password-file          b: it has mode 0644",
        " " * 31 + " mend: chmod 0600 it",
    ]


def test_nodes_are_compared() -> None:
    result = a_world(FINE, b="logical").run("doctor")
    assert "nodes differ: wal_level (a replica, b logical)" in result.output


def test_an_agent_that_does_not_answer_is_a_problem() -> None:
    world = a_world(FINE)
    world.agents.down.add(host_of("b"))
    result = world.run("doctor")
    assert result.exit_code == 1
    assert "problem  agents                 b: its agent does not answer" in result.output


def test_findings_for_scripts() -> None:
    result = a_world(BAD).run("doctor", "-f", "json")
    assert result.exit_code == 1
    rows = {(row["Check"], row.get("Member")): row for row in json.loads(result.output)}
    assert rows["password-file", "b"] == {
        "Check": "password-file",
        "Verdict": "problem",
        "Member": "b",
        "Evidence": "it has mode 0644",
        "Mend": "chmod 0600 it",
    }


def test_whatif_in_plain_words() -> None:
    behind = a_view(me=a_node("b"), postgres=a_standby(lsn=Lsn(LSN - 700)))
    world = a_world(FINE)
    world.agents.status[host_of("b")] = status(behind)
    said = world.run("whatif").output
    assert said.startswith("a leads, its WAL reaches 0/5000000. If it were lost now:\n")
    assert "  b takes over: up to 700 bytes of WAL are lost\n" in said
    assert "the host of a dies: b takes over, 11.6 s without a primary at worst" in said
    assert "etcd dies altogether: nobody writes until it is mended" in said


def test_whatif_for_scripts() -> None:
    found = json.loads(a_world(FINE).run("whatif", "-f", "json").output)
    assert [one["Fault"] for one in found["Faults"]] == ["host", "postgresql", "agent", "etcd-access", "etcd"]
    assert found["Candidates"] == [
        {"Member": "b", "Takes over": True, "LSN": "0/5000000", "Behind bytes": 0, "Lost bytes": 0}
    ]
    assert a_world(FINE).run("whatif", "-f", "tsv").output.startswith("Fault\tTakes over\tSeconds")


@pytest.mark.parametrize("words", [("whatif",), ("whatif", "-f", "json")])
def test_without_a_leader_nothing_is_foreseen(words: tuple[str, ...]) -> None:
    world = a_world(FINE)
    world.change(leader=None)
    result = world.run(*words)
    assert (result.exit_code, "nobody leads cluster demo now" in result.output) == (1, True)
