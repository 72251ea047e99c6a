"""``haagent-ctl explain``: what holds a node, whether it may lead, and the command that changes it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from haagent.core.facts import Asked, Consent, FailsafeFacts, View
from haagent.core.status import status
from haagent.core.terms import Lsn, later
from haagent.ctl.standing import KEYS
from tests.builders import LSN, NOW, a_lease, a_memory, a_node, a_primary_view, a_standby, a_view, host_of
from tests.unit.ctl.world import FakeAgents, World, standby_status


def a_world(*views: View) -> World:
    """Agents that answer as production ones would; the others do not."""
    return World(agents=FakeAgents(status={host_of(view.me.name): status(view) for view in views}))


BEHIND = a_view(
    me=a_node("c"), postgres=a_standby(lsn=Lsn(LSN - 3_000_000)), memory=a_memory(why="it follows the leader")
)


def test_all_nodes_in_plain_words() -> None:
    output = a_world(a_primary_view(), BEHIND).run("explain").output
    assert output == (
        "a: primary for 60.0 s\n"
        "    because       all is well [row 599]\n"
        "    PostgreSQL    running, primary, timeline 1, written up to 0/5000000\n"
        "    may it lead   it leads, in term 100; its permit runs for 8.0 s more\n"
        "    to change it  haagent-ctl switchover demo --leader a, to have another node lead\n"
        "    protected by  guard\n\n"
        "b: unknown\n"
        "    because       its agent does not answer\n\n"
        "c: standby for 60.0 s\n"
        "    because       it follows the leader [row 599]\n"
        "    PostgreSQL    running, streaming, timeline 1, received up to 0/4D23940, replayed up to 0/4D23940\n"
        "    may it lead   no: c is 3000000 bytes behind the last known position of the leader (0/5000000); "
        "maximum_lag_on_failover is 1048576\n"
        "    to change it  haagent-ctl edit-config demo -s maximum_lag_on_failover=3000000, which may lose that many "
        "bytes of WAL at a failover\n"
        "    protected by  guard\n"
    )


def test_a_primary_that_goes_on_by_promises_says_by_whose() -> None:
    asked = Asked(NOW, (Consent("b", True), Consent("c", True)))
    on = replace(a_lease(), vouched_until=later(NOW, 8))
    output = a_world(a_primary_view(lease=on, failsafe=FailsafeFacts(asked=asked))).run("explain", "a").output
    assert "its permit runs for 8.0 s more by the promises of b, c (failsafe mode)" in output


def test_one_node() -> None:
    output = a_world(a_primary_view(), a_view()).run("explain", "b").output
    assert output.startswith("b: standby")
    assert "may it lead   yes" in output
    assert "a: " not in output


@pytest.mark.parametrize(
    ("node", "text"),
    [("z", "z is no member of cluster demo"), ("b", "the agent of b does not answer at http://10.0.0.2")],
)
def test_a_node_that_cannot_be_asked_is_refused(node: str, text: str) -> None:
    result = a_world(a_primary_view()).run("explain", node)
    assert result.exit_code == 1
    assert text in result.output


def test_a_patroni_member_tells_no_more_than_its_state() -> None:
    spoken = {name: value for name, value in standby_status().items() if name != "haagent"}
    world = World(agents=FakeAgents(status={host_of("b"): spoken}))
    assert world.run("explain", "b").output == "b: running\n    because       a Patroni member tells no more\n"


def test_formats_for_scripts() -> None:
    world = a_world(a_primary_view(), BEHIND)
    rows = json.loads(world.run("explain", "-f", "json").output)
    assert [(row["Member"], row["State"], row.get("Row")) for row in rows] == [
        ("a", "primary", 599),
        ("b", "unknown", None),
        ("c", "standby", 599),
    ]
    assert rows[2]["May lead"].startswith("no: c is 3000000 bytes behind")
    lines = world.run("explain", "-f", "tsv").output.splitlines()
    assert lines[0].split("\t") == list(KEYS)
    assert len(lines) == 4
