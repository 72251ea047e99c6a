"""A process dies or stands still; its host lives on."""

from __future__ import annotations

import json
import time

from tests.real.checkers import lost_rows, refused_rows_are_absent, silent_after
from tests.real.cluster import Cluster
from tests.real.node import Node
from tests.real.waiting import now, wait_until
from tests.real.watchdog import watched


def test_killed_postmaster_is_started_again_in_place(cluster: Cluster) -> None:
    """Fault 7: seen at once; the same node leads on, on the same timeline."""
    primary, term = cluster.primary(), cluster.key("leader")
    timeline = primary.status()["timeline"]
    with cluster.writing() as record:
        at = now()
        primary.kill_postmaster()
        for route in ("haproxy", "multihost"):
            cluster.wait_acknowledged(record, at + 0.2, 15, route)
        outage = cluster.outage(record, "multihost", at)
        cluster.wait_whole()
    after = cluster.key("leader")
    assert term is not None
    assert after is not None
    assert (after.value, after.create_revision) == (primary.name, term.create_revision)
    assert primary.status()["timeline"] == timeline
    assert outage < 5
    rows = cluster.rows()
    assert lost_rows(record, rows) == []
    refused_rows_are_absent(record, rows)


def test_killed_postmaster_hands_over_when_told_so(cluster: Cluster) -> None:
    """Fault 7: with ``primary_start_timeout`` 0 a standby takes over at once, and the old primary follows it."""
    primary = cluster.primary()
    assert primary.rest("PATCH", "/config", {"primary_start_timeout": 0}).status == 200
    try:
        with cluster.writing() as record:
            time.sleep(cluster.settings.loop_wait + 0.5)
            at = now()
            primary.kill_postmaster()
            taker = cluster.primary(20, other_than=primary)
            cluster.wait_acknowledged(record, at + 0.2, 15, "haproxy")
            outage = cluster.outage(record, "multihost", at)
            cluster.wait_whole()
        assert cluster.primary() is taker
        assert outage < 5
        refused_rows_are_absent(record, cluster.rows())
    finally:
        assert cluster.primary().rest("PATCH", "/config", {"primary_start_timeout": None}).status == 200


def test_killed_agent_started_again_changes_nothing(cluster: Cluster) -> None:
    """Fault 1: within the ttl: no failover, the same lease and term, the same postmaster, no write lost or late."""
    primary, before = cluster.primary(), cluster.key("leader")
    postmaster = primary.postmaster_pid()
    with cluster.writing("direct", "haproxy") as record:
        at = now()
        primary.kill_agent()
        time.sleep(cluster.settings.ttl * 0.2)
        primary.start()
        wait_until(lambda: primary.rest("GET", "/primary").status == 200, "an agent that resumed", 10)
        time.sleep(cluster.settings.ttl + 1)
        assert record.longest_gap("direct", at, now()).length_s < 2
    after = cluster.key("leader")
    assert before is not None
    assert after is not None
    assert (after.value, after.create_revision, after.lease) == (before.value, before.create_revision, before.lease)
    assert primary.postmaster_pid() == postmaster
    cluster.wait_whole()
    assert lost_rows(record, cluster.rows()) == []


def test_killed_agent_left_dead_loses_the_cluster(cluster: Cluster) -> None:
    """Fault 2: its PostgreSQL is stopped before a standby can write; exactly one takes over in time."""
    old = cluster.primary()
    with cluster.writing() as record:
        at = now()
        old.kill_agent()
        cluster.primary(cluster.settings.ttl + 10, other_than=old)
        first = cluster.wait_acknowledged(record, at + cluster.settings.fence_after, 10, "haproxy")
        assert old.postmaster_pid() is None
        assert first - at <= cluster.settings.ttl + 3
        old.start()
        cluster.wait_whole()
    silent_after(record, old.name, at + cluster.settings.fence_after)
    assert cluster.primary() is not old
    refused_rows_are_absent(record, cluster.rows())


def test_frozen_agent_is_fenced(cluster: Cluster) -> None:
    """Fault 3: fenced while it stands still; awake again it neither answers 200 nor writes, but follows."""
    old = cluster.primary()
    with cluster.writing() as record:
        at = now()
        old.freeze_agent()
        taker = cluster.primary(cluster.settings.ttl + 10, other_than=old)
        cluster.wait_acknowledged(record, at + cluster.settings.fence_after, 10, "haproxy")
        old.thaw_agent()
        for _ in range(20):
            assert old.rest("GET", "/primary").status != 200
            time.sleep(0.05)
        cluster.wait_whole()
    silent_after(record, old.name, at + cluster.settings.fence_after)
    assert cluster.primary() is taker


def test_briefly_frozen_agent_changes_nothing(cluster: Cluster) -> None:
    """Fault 5: less than a ttl is a stall in log and metrics; nobody feeds its watchdog device meanwhile."""
    primary, before = cluster.primary(), cluster.key("leader")
    postmaster, stalls = primary.postmaster_pid(), primary.metric("haagent_stalls_total")
    with watched(primary) as device, cluster.writing("direct", "haproxy") as record:
        wait_until(lambda: device.beats >= 3, "keepalives", 5)
        assert device.timeouts == [cluster.settings.ttl - 1]
        assert "watchdog device" in primary.status()["haagent"]["protection"]
        at = now()
        primary.freeze_agent()
        time.sleep(0.2)
        fed = device.beats
        time.sleep(1.5)
        assert device.beats == fed
        primary.thaw_agent()
        wait_until(lambda: device.beats > fed + 3, "keepalives after the thaw", 5)
        wait_until(lambda: primary.metric("haagent_stalls_total") > stalls, "the stall to be counted", 5)
        assert record.longest_gap("direct", at, now()).length_s < 1
    assert device_is_left(cluster, primary)
    after = cluster.key("leader")
    assert before is not None
    assert after is not None
    assert (after.value, after.create_revision) == (primary.name, before.create_revision)
    assert primary.postmaster_pid() == postmaster
    assert "the loop stood still" in primary.log.read_text(errors="replace")


def device_is_left(cluster: Cluster, node: Node) -> bool:
    """Turned off by a reload the device protects no more."""
    return wait_until(lambda: "watchdog device" not in node.status()["haagent"]["protection"], "its end", 5)


def test_watchdog_device_is_stopped_only_when_postgresql_is_down(cluster: Cluster) -> None:
    """Opened before the promotion; ``V`` at the switchover and at the orderly stop, not when the agent is killed."""
    old, taker = cluster.primary(), cluster.standbys()[0]
    with watched(old) as first, watched(taker) as second:
        wait_until(lambda: first.beats >= 2, "keepalives", 5)
        old.kill_agent()
        time.sleep(0.3)
        assert not first.stopped()
        old.start()
        wait_until(lambda: len(first.timeouts) == 2, "the next agent to take the device over", 5)
        assert second.heard() == "", "a standby runs no timer"
        wait_until(lambda: old.rest("GET", "/primary").status == 200, "an agent that resumed", 5)
        reply = old.rest("POST", "/switchover", {"leader": old.name, "candidate": taker.name}, timeout_s=30)
        assert reply.status == 200, reply
        assert first.stopped()
        wait_until(lambda: second.beats >= 2, "keepalives of the new primary", 5)
        assert second.heard().startswith(f"Ctimeout={cluster.settings.ttl - 1}\n")
        assert taker.stop() == 0
        assert second.stopped()
        taker.start()
        wait_until(lambda: taker.status().get("role") == "replica", "the old primary to be back", 20)
    cluster.wait_whole()


def test_orderly_stop_hands_over_at_once(cluster: Cluster) -> None:
    """Fault 12: SIGTERM ends PostgreSQL and gives the leader key up; nothing acknowledged is lost; exit code 0."""
    old = cluster.primary()
    with cluster.writing() as record:
        at = now()
        assert old.stop() == 0
        cluster.wait_acknowledged(record, at + 0.2, cluster.settings.ttl, "haproxy")
        assert old.postmaster_pid() is None
        member = cluster.key(f"members/{old.name}")
        assert member is None or json.loads(member.value)["state"] == "stopped"
        old.start()
        cluster.wait_whole()
    assert lost_rows(record, cluster.rows()) == []
