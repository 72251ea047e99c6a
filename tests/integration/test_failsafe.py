"""Failsafe mode: etcd goes as a whole, then for the primary alone, and at last a member that must consent."""

from __future__ import annotations

import json
import time

from tests.real.checkers import lost_rows, refused_rows_are_absent, silent_after
from tests.real.cluster import Cluster
from tests.real.network import NamespacedHost
from tests.real.node import Node
from tests.real.waiting import now, wait_until


def _host(cluster: Cluster, name: str) -> NamespacedHost:
    assert cluster.network is not None
    return cluster.network.hosts[name]


def _named(cluster: Cluster) -> set[str]:
    key = cluster.key("failsafe")
    return set(json.loads(key.value)) if key else set()


def _active(node: Node) -> bool:
    return node.status().get("failsafe_mode_is_active") is True


def _taken(node: Node, names: set[str]) -> bool:
    """Whether the node goes by that: by none when failsafe mode is off."""
    reply = node.rest("GET", "/failsafe")
    return set(reply.json) == names if reply.status == 200 else reply.status == 502 and not names


def _turn(cluster: Cluster, on: bool) -> None:
    assert cluster.primary().rest("PATCH", "/config", {"failsafe_mode": on or None}).status == 200
    names = {node.name for node in cluster.nodes} if on else set[str]()
    wait_until(lambda: _named(cluster) == names, f"the failsafe key to name {sorted(names)}", 10)
    wait_until(lambda: all(_taken(node, names) for node in cluster.nodes), "every node to know", 10)


def test_failsafe_mode(cluster: Cluster) -> None:
    """Faults 23, 30, 34: commits go on while all members consent, and stop by the deadline when one does not."""
    _turn(cluster, on=True)
    try:
        _all_of_etcd_goes(cluster)
        _etcd_goes_for_the_primary(cluster)
        _one_does_not_consent(cluster)
    finally:
        cluster.mend()
        cluster.wait_whole()
        _turn(cluster, on=False)


def _all_of_etcd_goes(cluster: Cluster) -> None:
    """For more than two ttl; nothing is demoted, and nothing started again when it comes back."""
    primary, history = cluster.primary(), cluster.key("history")
    postmaster, said = primary.postmaster_pid(), primary.log.stat().st_size
    with cluster.writing("haproxy", "direct") as record:
        at = now()
        cluster.etcd.stop()
        wait_until(lambda: all(map(_active, cluster.nodes)), "failsafe mode at work on every node", 10)
        shown = primary.rest("GET", "/failsafe")
        assert set(shown.json) == {node.name for node in cluster.nodes}
        time.sleep(max(0.0, at + 2.2 * cluster.settings.ttl - now()))
        assert primary.rest("GET", "/primary").status == 200
        cluster.etcd.start()
        cluster.wait_whole()
        wait_until(lambda: not any(map(_active, cluster.nodes)), "failsafe mode to end", 15)
        assert record.longest_gap("haproxy", at, now()).length_s < 3
    assert (cluster.primary(), primary.postmaster_pid()) == (primary, postmaster)
    assert cluster.key("history") == history
    assert lost_rows(record, cluster.rows()) == []
    assert "all 2 other members consent" in primary.log.read_text()[said:]


def _etcd_goes_for_the_primary(cluster: Cluster) -> None:
    """Its key expires, standbys that see etcd leave it alone, and it is taken again in place."""
    primary, before = cluster.primary(), cluster.key("leader")
    postmaster = primary.postmaster_pid()
    with cluster.writing("haproxy") as record:
        at = now()
        _host(cluster, primary.name).cut_off([_host(cluster, name) for name in ("etcd1", "etcd2", "etcd3")])
        wait_until(lambda: cluster.key("leader") is None, "the leader key to expire", 4 * cluster.settings.ttl)
        time.sleep(2)
        assert cluster.key("leader") is None
        _host(cluster, primary.name).heal()
        cluster.wait_whole()
        assert record.longest_gap("haproxy", at, now()).length_s < 3
    after = cluster.key("leader")
    assert before is not None
    assert after is not None
    assert after.value == primary.name
    assert after.create_revision > before.create_revision
    assert primary.postmaster_pid() == postmaster
    assert lost_rows(record, cluster.rows()) == []


def _one_does_not_consent(cluster: Cluster) -> None:
    """Only its REST port is closed to the primary: that one stops in time, and another leads then."""
    old, ttl = cluster.primary(), cluster.settings.ttl
    silenced = cluster.standbys()[0]
    with cluster.writing() as record:
        _host(cluster, old.name).cut_off([_host(cluster, name) for name in ("etcd1", "etcd2", "etcd3")])
        wait_until(lambda: _active(silenced), "failsafe mode at work", 2 * ttl)
        time.sleep(ttl)
        assert old.rest("GET", "/primary").status == 200
        _host(cluster, silenced.name).block(silenced.place.rest_port, [_host(cluster, old.name)])
        at = now()  # until the block is in force it may consent once more
        wait_until(lambda: old.rest("GET", "/primary").status == 503, "the primary to stop", 2 * ttl)
        # Its promise is over a ttl after the last request it saw; then whoever sees etcd may lead.
        cluster.wait_acknowledged(record, at + cluster.settings.fence_after, ttl + 10, "multihost")
        _host(cluster, silenced.name).heal()
        _host(cluster, old.name).heal()
        cluster.wait_whole()
    assert cluster.primary() is not old
    silent_after(record, old.name, at + cluster.settings.fence_after)
    refused_rows_are_absent(record, cluster.rows())
