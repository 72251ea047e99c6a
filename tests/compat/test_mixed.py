"""Patroni members and members of haagent in one cluster, as while it moves over: both follow, and lead, one another."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from tests.compat.clients import Patronictl, place
from tests.real.cluster import Cluster
from tests.real.node import Node
from tests.real.programs import AgentProgram, patroni
from tests.real.waiting import now, wait_until


def _exchange(node: Node, program: AgentProgram) -> None:
    """Stop the agent, with its PostgreSQL, and start the other one on the same data."""
    node.stop()
    node.program = program
    node.start()


@pytest.fixture
def mixed(cluster: Cluster) -> Iterator[Node]:
    """The node whose agent is Patroni, given back its own at the end."""
    node = cluster.standbys()[-1]
    own = node.program
    _exchange(node, patroni(place() / "patroni"))
    try:
        wait_until(lambda: node.status().get("replication_state") == "streaming", "Patroni's standby to stream", 60)
        cluster.wait_whole()
        yield node
    finally:
        _exchange(node, own)
        cluster.wait_whole()


def _names(node: Node) -> set[str]:
    return set(re.findall(r"^# TYPE (patroni_\w+)", node.rest("GET", "/metrics").text, re.MULTILINE))


def test_each_follows_and_leads_the_other(cluster: Cluster, mixed: Node, patronictl: Patronictl) -> None:
    """A switchover to Patroni's member and one back, under load, without a row lost or two nodes writing at once."""
    first = cluster.primary()
    assert "haagent" not in mixed.status()
    # Counters are told from gauges by their suffix in one client library and not in the other.
    assert _names(mixed) - {name.removesuffix("_total") for name in _names(first)} - _names(first) == set()
    with cluster.writing("multihost") as record:
        said = patronictl("switchover", "--leader", first.name, "--candidate", mixed.name, "--force")
        assert f'Successfully switched over to "{mixed.name}"' in said
        cluster.wait_whole()

        def listed() -> bool:
            rows = {row["Member"]: (row["Role"], row["State"]) for row in patronictl.rows("list")}
            return (rows[mixed.name], rows[first.name]) == (("Leader", "running"), ("Replica", "streaming"))

        wait_until(listed, "each in its role, by the member keys", 15)
        assert json.loads(first.rest("GET", "/cluster").text)["members"]
        back_at = now()
        patronictl("switchover", "--leader", mixed.name, "--candidate", first.name, "--force")
        wait_until(lambda: (key := cluster.key("leader")) and key.value == first.name, "the way back", 40)
        cluster.wait_acknowledged(record, now(), 20, "multihost")
        # Patroni deletes the key without a note, and its lease lasts 20 s at least: it is asked, and not waited for.
        assert cluster.outage(record, "multihost", back_at) < 12
        # Row 560 alone where the peers had been asked for the switchover in the moment in which the key went.
        assert re.search(r"row 5(59|60)\b", first.log.read_text())
        cluster.wait_whole()
    missing = {attempt.number for attempt in record.acknowledged()} - cluster.rows()
    assert not missing, f"acknowledged, and lost in a switchover: {sorted(missing)[:10]}"
