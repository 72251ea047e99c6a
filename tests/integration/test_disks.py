"""The disk under PostgreSQL fills, fails, hangs or goes away; each node has a small one of its own."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterator
from dataclasses import replace

import psycopg
import pytest

from tests.real.checkers import refused_rows_are_absent, silent_after
from tests.real.cluster import Cluster, in_namespaces
from tests.real.disks import Disk, disks
from tests.real.node import Node
from tests.real.programs import AgentProgram
from tests.real.settings import ClusterSettings
from tests.real.waiting import now, wait_until

SMALL = ClusterSettings(
    dcs={"postgresql": {"parameters": {"wal_log_hints": "on", "max_wal_size": "16MB", "min_wal_size": "5MB"}}},
    bootstrap={"initdb": [{"encoding": "UTF8"}, "data-checksums", "no-sync", {"wal-segsize": "1"}]},
)

BUSY_S = 5.0
"""For a machine that is busy with other tests."""


@pytest.fixture(scope="module")
def on_small_disks(program: AgentProgram) -> Iterator[tuple[Cluster, dict[str, Disk]]]:
    """A cluster whose data directories lie on disks of 256 MB."""
    with in_namespaces(program, SMALL) as cluster, disks(cluster.home, [n.name for n in cluster.nodes]) as made:
        for node in cluster.nodes:
            node.place = replace(node.place, disk=made[node.name].at)
        try:
            cluster.start()
            yield cluster, made
        finally:
            for disk in made.values():
                disk.thaw()
            cluster.end()


@pytest.fixture
def small(on_small_disks: tuple[Cluster, dict[str, Disk]]) -> Iterator[tuple[Cluster, dict[str, Disk]]]:
    """That cluster; a test that fails leaves no disk full or frozen to the next."""
    yield on_small_disks
    for disk in on_small_disks[1].values():
        disk.thaw()
        with contextlib.suppress(OSError):
            disk.empty()


def why(node: Node) -> str:
    """What the node says of itself now."""
    return str(node.status().get("haagent", {}).get("why", ""))


def published(cluster: Cluster, node: Node) -> str:
    """The value of the node's member key."""
    member = cluster.key(f"members/{node.name}")
    return "" if member is None else member.value


def exhaust(node: Node) -> None:
    """Write WAL, and nothing else, until PostgreSQL can't."""
    with contextlib.suppress(OSError, psycopg.Error), node.connect() as connection:
        for _ in range(2000):
            connection.execute("SELECT pg_logical_emit_message(false, 'test', repeat('x', 100000))")


def test_full_disk_of_a_standby(small: tuple[Cluster, dict[str, Disk]]) -> None:
    """Fault 47: out of rotation and counted on by nobody; the leader does not notice; back when there is room."""
    cluster, made = small
    cluster.wait_whole()
    standby = cluster.standbys()[0]
    with cluster.writing() as record:
        at = now()
        made[standby.name].fill(1024 * 1024)
        wait_until(lambda: standby.rest("GET", "/replica").status == 503, "a full standby out of rotation", 10)
        wait_until(lambda: "bytes free, PostgreSQL needs" in why(standby), "the reason with numbers", 10)
        wait_until(lambda: '"haagent_disk":"full"' in published(cluster, standby), "etcd to be told", 10)
        made[standby.name].empty()
        wait_until(lambda: standby.rest("GET", "/replica").status == 200, "a standby in rotation again", 10)
        assert record.longest_gap("multihost", at, now()).length_s < 2


def test_full_disk_of_the_primary(small: tuple[Cluster, dict[str, Disk]]) -> None:
    """Fault 46: no crash loop: another node leads, and this one waits for room, with numbers, then follows."""
    cluster, made = small
    cluster.wait_whole()
    old = cluster.primary()
    starts = old.log.read_text(errors="replace").count("started as a primary")
    with cluster.writing() as record:
        at = now()
        made[old.name].fill(512 * 1024)
        exhaust(old)
        taker = cluster.primary(20, other_than=old)
        cluster.wait_acknowledged(record, at, 10, "haproxy")
        wait_until(lambda: "bytes free, PostgreSQL needs" in why(old), "the reason with numbers", 10)
        time.sleep(3)
        assert old.log.read_text(errors="replace").count("started as a primary") == starts
        assert cluster.primary() is taker
        made[old.name].empty()
        cluster.wait_whole()
    refused_rows_are_absent(record, cluster.rows())


def test_read_only_disk_of_the_primary(small: tuple[Cluster, dict[str, Disk]]) -> None:
    """Fault 48: seen by a small write within seconds; PostgreSQL is stopped and another node leads."""
    cluster, made = small
    cluster.wait_whole()
    old = cluster.primary()
    with cluster.writing() as record:
        at = now()
        made[old.name].fail()
        cluster.primary(20, other_than=old)
        first = cluster.wait_acknowledged(record, at + 0.5, 10, "haproxy")
        assert first - at < 3 + 1 + 2 * SMALL.loop_wait + BUSY_S
        wait_until(lambda: "Read-only file system" in why(old), "the reason", 10)
        assert old.rest("GET", "/primary").status == 503
        old.stop()
        old.end()
        made[old.name].repair()
        old.start()
        cluster.wait_whole()
    refused_rows_are_absent(record, cluster.rows())


def test_hanging_disk_of_the_primary(small: tuple[Cluster, dict[str, Disk]]) -> None:
    """Fault 49: the agent answers and keeps its word; after a ttl it gives up, and another node leads."""
    cluster, made = small
    cluster.wait_whole()
    old = cluster.primary()
    with cluster.writing() as record:
        made[old.name].freeze()
        at = now()
        try:
            taker = cluster.primary(6 * SMALL.ttl, other_than=old)
            cluster.wait_acknowledged(record, at + 0.5, 10, "haproxy")
            assert now() - at < 3 + 2 * SMALL.ttl + 2 * SMALL.loop_wait + BUSY_S
            assert old.rest("GET", "/primary").status == 503
            assert old.rest("GET", "/liveness").status == 200
        finally:
            made[old.name].thaw()
        cluster.wait_whole()
        assert cluster.primary() is taker
    silent_after(record, old.name, at + 3 + 2 * SMALL.ttl)
    refused_rows_are_absent(record, cluster.rows())


def test_disk_pulled_from_under_the_primary(small: tuple[Cluster, dict[str, Disk]]) -> None:
    """Fault 51: another node leads; nothing is built into the bare mount point; mounted again, it follows."""
    cluster, made = small
    cluster.wait_whole()
    old = cluster.primary()
    with cluster.writing() as record:
        at = now()
        made[old.name].pull()
        cluster.primary(20, other_than=old)
        cluster.wait_acknowledged(record, at + 0.5, 10, "haproxy")
        wait_until(lambda: "not mounted" in why(old), "the reason", 10)
        time.sleep(2)
        assert [path.name for path in made[old.name].at.iterdir() if path.name != "data.haagent"] == []
        made[old.name].mount()
        cluster.wait_whole()
    refused_rows_are_absent(record, cluster.rows())


def test_standby_whose_wal_is_gone_is_cloned_anew(small: tuple[Cluster, dict[str, Disk]]) -> None:
    """Faults 29 and 73: cut off for long, its slot holds no more WAL than it may, and a new copy is taken in the end.

    Its walsender is told to let the slot go, and the checkpoint waits for it: not for as long as TCP would.
    """
    cluster, _ = small
    cluster.wait_whole()
    assert cluster.network is not None
    primary, away = cluster.primary(), cluster.standbys()[0]
    host = cluster.network.hosts[away.name]
    tight = {"max_slot_wal_keep_size": "2MB", "wal_keep_size": "16MB"}
    said = len(primary.log.read_text(errors="replace"))
    assert primary.rest("PATCH", "/config", {"postgresql": {"parameters": tight}}, timeout_s=10).status == 200
    try:
        shown = "SHOW max_slot_wal_keep_size"
        wait_until(lambda: primary.sql(shown) == [("2MB",)], "PostgreSQL to obey", 10)
        host.reject(primary.place.postgres_port, [cluster.network.hosts[primary.name]])
        for _ in range(30):
            primary.sql("SELECT pg_logical_emit_message(false, 'test', repeat('x', 900000)), pg_switch_wal()")
        primary.sql("CHECKPOINT")
        # The agent may have made a new slot of that name by now: PostgreSQL's log tells of the one that was lost.
        told = primary.log.read_text(errors="replace")[said:]
        assert re.search(rf'invalidating .*slot "{away.name}"', told), "the slot holds more than it may"
        host.heal()
        wait_until(lambda: "has removed the WAL" in away.log.read_text(errors="replace"), "the reason", 40)
        cluster.wait_whole()
        assert [path.name for path in away.place.data_dir.parent.glob("data.wal-gone.*")] != []
    finally:
        host.heal()
        back = dict.fromkeys(tight)
        undone = {"postgresql": {"parameters": back}}
        assert cluster.primary().rest("PATCH", "/config", undone, timeout_s=10).status == 200
