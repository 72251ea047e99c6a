"""The primary's host is cut off: from all, from etcd, from its peers."""

from __future__ import annotations

import time
from dataclasses import replace

from tests.real.checkers import lost_rows, refused_rows_are_absent, silent_after
from tests.real.cluster import Cluster
from tests.real.network import NamespacedHost
from tests.real.waiting import now, wait_until

MOMENT_S = 1.0
"""So long a standby on a busy machine may be behind, and so much before and after a cut counts as the cut."""


def _host(cluster: Cluster, name: str) -> NamespacedHost:
    assert cluster.network is not None
    return cluster.network.hosts[name]


def test_leader_cut_off_from_all(cluster: Cluster) -> None:
    """Fault 22: silent before the others write; back again, what it wrote alone is undone by a rewind in place."""
    old = cluster.primary()
    inode, said_before = old.place.data_dir.stat().st_ino, old.log.stat().st_size
    with cluster.writing() as record:
        time.sleep(3 * MOMENT_S)
        at = now()
        _host(cluster, old.name).cut_off()
        cut_at = now()
        taker = cluster.primary_seen_by_clients(cluster.settings.ttl + 10, other_than=old)
        first = cluster.wait_acknowledged(record, cut_at + cluster.settings.fence_after, 10, "haproxy")
        assert old.rest("GET", "/primary").status != 200
        _host(cluster, old.name).heal()
        cluster.wait_whole()
    assert first - at < 2 * cluster.settings.ttl
    assert cluster.primary() is taker
    silent_after(record, old.name, cut_at + cluster.settings.fence_after)
    rows = cluster.rows()
    refused_rows_are_absent(record, rows)
    lost = set(lost_rows(record, rows))
    alone = [attempt for attempt in record.acknowledged(f"direct {old.name}") if attempt.number in lost]
    # Replication is asynchronous: a row acknowledged in the very moment of the cut may not have been streamed yet.
    elsewhere = lost - {attempt.number for attempt in alone}
    others = [attempt for attempt in record.acknowledged() if attempt.number in elsewhere]
    late = [one.number for one in others if not at - MOMENT_S < one.ended_at < cut_at + MOMENT_S]
    assert not late, "a row was lost that the others could have had"
    assert alone, "the old primary wrote nothing alone: its history did not diverge, so no rewind was tried"
    assert min(attempt.ended_at for attempt in alone) > at - MOMENT_S
    assert old.place.data_dir.stat().st_ino == inode, "the data directory was made anew, not rewound"
    assert "rewind" in old.log.read_text()[said_before:]


def test_leader_cut_off_from_etcd(cluster: Cluster) -> None:
    """Fault 23: without a way to renew, it demotes before its permit ends, though peers and clients reach it."""
    old = cluster.primary()
    with cluster.writing() as record:
        at = now()
        _host(cluster, old.name).cut_off([_host(cluster, name) for name in ("etcd1", "etcd2", "etcd3")])
        cut_at = now()
        taker = cluster.primary(cluster.settings.ttl + 10, other_than=old)
        first = cluster.wait_acknowledged(record, cut_at + cluster.settings.fence_after, 10, "haproxy")
        assert old.rest("GET", "/primary").status == 503
        _host(cluster, old.name).heal()
        cluster.wait_whole()
    assert first - at < 2 * cluster.settings.ttl
    assert cluster.primary() is taker
    silent_after(record, old.name, cut_at + cluster.settings.fence_after)
    refused_rows_are_absent(record, cluster.rows())


def test_leader_cut_off_from_its_standbys(cluster: Cluster) -> None:
    """Fault 24: it stays leader and goes on writing; nobody else stands up."""
    primary, term = cluster.primary(), cluster.key("leader")
    with cluster.writing("haproxy") as record:
        at = now()
        _host(cluster, primary.name).cut_off([_host(cluster, node.name) for node in cluster.standbys()])
        time.sleep(cluster.settings.ttl + 2)
        _host(cluster, primary.name).heal()
        assert record.longest_gap("haproxy", at, now()).length_s < 3
        cluster.wait_whole()
    after = cluster.key("leader")
    assert term is not None
    assert after is not None
    assert (after.value, after.create_revision) == (primary.name, term.create_revision)
    assert lost_rows(record, cluster.rows()) == []


def test_replication_path_cut(cluster: Cluster) -> None:
    """Faults 26 and 29: the standby is out of rotation and says why, does not promote, and streams again by itself."""
    primary, standby, term = cluster.primary(), cluster.standbys()[0], cluster.key("leader")
    said_before = standby.log.stat().st_size
    _host(cluster, standby.name).reject(primary.place.postgres_port, [_host(cluster, primary.name)])
    ask = "/replica?replication_state=streaming"
    # Where nobody writes, the first packet that is rejected is the report that a standby sends every 10 s.
    wait_until(lambda: standby.rest("GET", ask).status == 503, "the standby to be out of rotation", 25)
    time.sleep(cluster.settings.ttl + 1)
    assert standby.rest("GET", "/primary").status == 503
    assert standby.status().get("replication_state") != "streaming"
    wait_until(lambda: "neither streams nor" in standby.log.read_text()[said_before:], "a word about it", 20)
    _host(cluster, standby.name).heal()
    cluster.wait_whole()
    assert cluster.key("leader").create_revision == term.create_revision  # type: ignore[union-attr]


def test_a_member_that_comes_back_with_another_address(cluster: Cluster) -> None:
    """Fault 32: all others find it there by its member key, and stream from it once it leads."""
    moved, before = cluster.standbys()[0], cluster.standbys()[0].place
    host = _host(cluster, moved.name)

    def moves_to(address: str) -> None:
        assert moved.stop() == 0
        cluster.primary(other_than=moved)  # it may be back before the others have seen that it let the key go
        host.readdress(address)
        moved.place = replace(before, address=address)
        moved.write_config()
        moved.start()
        cluster.wait_whole()

    try:
        moves_to("10.10.0.200")
        wish = {"leader": cluster.primary().name, "candidate": moved.name}
        assert cluster.primary().rest("POST", "/switchover", wish, timeout_s=30).status == 200
        cluster.wait_whole()
        sources = [node.sql("SELECT sender_host FROM pg_stat_wal_receiver") for node in cluster.standbys()]
        assert sources == [[("10.10.0.200",)]] * 2
        conninfos = [node.sql("SHOW primary_conninfo")[0][0] for node in cluster.nodes]
        assert [text for text in conninfos if before.address in text.replace("'", " ").split()] == []
    finally:
        moves_to(before.address)
    assert cluster.primary() is not moved


def test_election_without_a_word_between_the_members(cluster: Cluster) -> None:
    """Fault 30: their REST ports are closed to each other; one leads all the same, and says whom it did not reach."""
    old, standbys = cluster.primary(), cluster.standbys()
    said_before = {node: node.log.stat().st_size for node in standbys}
    for node in standbys:
        _host(cluster, node.name).block(node.place.rest_port, [_host(cluster, n.name) for n in standbys if n != node])
    with cluster.writing() as record:
        time.sleep(0.5)
        at = now()
        old.power_off()
        taker = cluster.primary(cluster.settings.ttl + 10, other_than=old)
        cluster.wait_acknowledged(record, at + 1, 10, "multihost")
        for node in standbys:
            _host(cluster, node.name).heal()
        old.power_on()
        cluster.wait_whole()
    other = next(node for node in standbys if node is not taker)
    said = taker.log.read_text()[said_before[taker] :]
    assert f"{other.name} (" in said
    assert f"{other.place.address}:{other.place.rest_port}" in said
    refused_rows_are_absent(record, cluster.rows())
