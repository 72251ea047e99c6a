"""Permanent slots, physical and logical: on every node, at the primary's positions, and usable after a switchover.

PostgreSQL 17 and later copy logical slots themselves, older ones have them copied by the agent; what is seen is the
same: ``HAAGENT_TEST_POSTGRES_BIN=… pytest tests/integration/test_slots.py`` tries another version.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.real.cluster import Cluster
from tests.real.node import Node
from tests.real.waiting import wait_until

FEED, STORE = "feed", "warehouse"
SLOTS = {FEED: {"type": "logical", "database": "postgres", "plugin": "test_decoding"}, STORE: {}}


@pytest.fixture
def slotted(cluster: Cluster) -> Iterator[Cluster]:
    """The cluster with two permanent slots; afterwards without."""
    primary = cluster.primary()
    primary.sql("CREATE TABLE IF NOT EXISTS fed (n int PRIMARY KEY)")
    assert primary.rest("PATCH", "/config", {"slots": SLOTS}, timeout_s=10).status == 200
    yield cluster
    cluster.primary().sql("DROP TABLE fed")
    assert cluster.primary().rest("PATCH", "/config", {"slots": None}, timeout_s=10).status == 200
    wait_until(lambda: not any(slots(node).keys() & SLOTS.keys() for node in cluster.nodes), "no permanent slot", 20)


def slots(node: Node) -> dict[str, dict[str, Any]]:
    """The rows of pg_replication_slots by name."""
    return {row[0]["slot_name"]: row[0] for row in node.sql("SELECT to_json(s) FROM pg_replication_slots s")}


def lacking(node: Node) -> dict[str, str]:
    """What the node itself says that it lacks."""
    found: dict[str, str] = node.status()["haagent"].get("lacks_slots", {})
    return found


def feed(primary: Node, *numbers: int) -> None:
    for number in numbers:
        primary.sql(f"INSERT INTO fed VALUES ({number})")


def eaten(primary: Node) -> list[int]:
    """The numbers that the slot had to tell, which are then taken as read."""
    rows = primary.sql(f"SELECT data FROM pg_logical_slot_get_changes('{FEED}', NULL, NULL)")
    return [int(row[0].rpartition(":")[2]) for row in rows if row[0].startswith("table public.fed: INSERT")]


def test_permanent_slots_survive_a_switchover(slotted: Cluster) -> None:
    """Fault 74: what was not read is still told; the old primary's own slot is out of the way; positions follow."""
    old, (taker, third) = slotted.primary(), slotted.standbys()
    wait_until(lambda: slots(old).keys() >= SLOTS.keys(), "both slots on the primary", 15)
    feed(old, 1, 2)
    assert eaten(old) == [1, 2]

    def ready(node: Node) -> bool:
        eaten(slotted.primary())
        return slots(node).keys() >= SLOTS.keys() and not lacking(node)

    wait_until(lambda: ready(taker) and ready(third), "both slots on the standbys", 60, 0.5)
    old.sql(f"SELECT pg_replication_slot_advance('{STORE}', pg_current_wal_flush_lsn())")
    reached = slots(old)[STORE]["restart_lsn"]
    wait_until(lambda: slots(third)[STORE]["restart_lsn"] == reached, "the physical slot to follow", 20)
    feed(old, 3, 4)
    reply = old.rest("POST", "/switchover", {"leader": old.name, "candidate": taker.name}, timeout_s=40)
    assert reply.status == 200, reply
    feed(taker, 5)
    told = eaten(taker)
    assert told[-3:] == [3, 4, 5], "all that was not read before; what was may be told again"
    slotted.wait_whole()
    wait_until(lambda: ready(old) and ready(third), "the slots on the old primary and the third node", 60, 0.5)
    assert not slots(old)[STORE]["xmin"]
