"""A whole host goes, or all of them."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.checks import nothing_after_permit
from tests.chaos.freezer import Freezer
from tests.chaos.observer import Permit, read_page
from tests.real.checkers import lost_rows, refused_rows_are_absent, silent_after
from tests.real.cluster import Cluster, in_namespaces
from tests.real.node import Node
from tests.real.processes import alive
from tests.real.processor import starved
from tests.real.programs import AgentProgram
from tests.real.settings import PASSWORD, REPLICATION, ClusterSettings
from tests.real.waiting import now, wait_until


def test_power_loss_of_the_primary(cluster: Cluster) -> None:
    """Faults 14 and 21: one promotion within the bound; back after further changes it follows, never writable first."""
    old = cluster.primary()
    with cluster.writing() as record:
        at = now()
        old.power_off()
        taker = cluster.primary(cluster.settings.ttl + 10, other_than=old)
        for route in ("haproxy", "multihost"):
            cluster.wait_acknowledged(record, at + 1, 10, route)
        outage = cluster.outage(record, "multihost", at)
        cluster.wait_whole(expected=[node for node in cluster.nodes if node is not old])
        third = next(node for node in cluster.nodes if node not in (old, taker))
        reply = taker.rest("POST", "/switchover", {"leader": taker.name, "candidate": third.name}, timeout_s=30)
        assert reply.status == 200, reply
        old.power_on()
        for _ in range(40):
            assert old.rest("GET", "/primary").status != 200
            time.sleep(0.05)
        cluster.wait_whole()
    assert outage < 2 * cluster.settings.ttl  # of which a client may wait two seconds for the dead host
    assert cluster.primary() is third
    refused_rows_are_absent(record, cluster.rows())


def test_briefly_paused_host_changes_nothing(cluster: Cluster, freezer: Freezer) -> None:
    """Fault 19: as long as a live migration stops it, two fifths of the ttl: no demotion, no failover."""
    primary, before = cluster.primary(), cluster.key("leader")
    postmaster = primary.postmaster_pid()
    with cluster.writing() as record:
        at = now()
        freezer.freeze(primary.name, primary.pids)
        time.sleep(max(0.0, at + 0.4 * cluster.settings.ttl - now()))
        freezer.thaw(primary.name)
        cluster.wait_acknowledged(record, at + 0.4 * cluster.settings.ttl, 10, "haproxy")
        cluster.wait_whole()
    after = cluster.key("leader")
    assert before is not None
    assert after is not None
    assert (after.value, after.create_revision) == (primary.name, before.create_revision)
    assert primary.postmaster_pid() == postmaster
    assert lost_rows(record, cluster.rows()) == []


def test_paused_host_acknowledges_nothing_when_it_wakes(cluster: Cluster, freezer: Freezer) -> None:
    """Fault 17: every process of it stood still past the ttl; not one commit is acknowledged after the thaw."""
    old = cluster.primary()
    with cluster.writing() as record:
        at = now()
        freezer.freeze(old.name, old.pids)
        frozen_at = now()
        taker = cluster.primary_seen_by_clients(cluster.settings.ttl + 10, other_than=old)
        cluster.wait_acknowledged(record, at + cluster.settings.ttl, 10, "haproxy")
        thawed_at = now()
        freezer.thaw(old.name)
        for _ in range(20):
            assert old.rest("GET", "/primary").status != 200
            time.sleep(0.02)
        cluster.wait_whole()
    assert cluster.primary() is taker
    late = [one for one in record.acknowledged(since=thawed_at) if one.node == old.name]
    assert not late, f"{len(late)} rows, the last {late[-1].ended_at - thawed_at:.3f} s after the thaw"
    silent_after(record, old.name, frozen_at)
    refused_rows_are_absent(record, cluster.rows())


@contextlib.contextmanager
def permits_seen(cluster: Cluster) -> Iterator[list[Permit]]:
    """What PostgreSQL's commits are measured by on every node, read all the time."""
    asked = {node.name: node.sql("SELECT current_setting('haagent_fence.page')")[0][0] for node in cluster.nodes}
    pages = {name: Path(str(page)) for name, page in asked.items()}
    seen: list[Permit] = []
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.02):
            for name, page in pages.items():
                at = now()  # before the look: what is in force after this instant may be longer, and is seen next time
                if (until := read_page(page)) is not None:
                    seen.append(Permit(name, at, until))

    thread = threading.Thread(target=look, name="permits")
    thread.start()
    try:
        wait_until(lambda: seen, "a look at the leader's page", 5)
        yield seen
    finally:
        over.set()
        thread.join()


def stalls_told(node: Node, since: int) -> int:
    """How often its log tells of one behind that offset."""
    return node.log.read_text(errors="replace")[since:].count("the loop stood still")


@contextlib.contextmanager
def led_or_fenced(cluster: Cluster) -> Iterator[Node]:
    """Meanwhile the leader keeps its term and every row, or nobody acknowledges past a permit; its stalls are counted.

    Once the cluster is whole again, its metric has grown by just the stalls that its log tells of.
    """
    old, before = cluster.primary(), cluster.key("leader")
    said, stalls = old.log.stat().st_size, old.metric("haagent_stalls_total")
    with permits_seen(cluster) as permits, cluster.writing() as record:
        wait_until(lambda: record.acknowledged(f"direct {old.name}"), "a row written directly", 10)
        yield old
        cluster.wait_whole()
        cluster.wait_acknowledged(record, now(), 10, "haproxy")
    after = cluster.key("leader")
    assert before is not None
    assert after is not None
    kept = after.create_revision == before.create_revision
    counted = old.metric("haagent_stalls_total") - stalls
    print(f"{counted:g} stalls; the term of {old.name} was {'kept' if kept else 'lost'}")
    late = list(nothing_after_permit(record, permits))
    assert not late, "; ".join(map(str, late))
    wait_until(lambda: stalls_told(old, said) == old.metric("haagent_stalls_total") - stalls, "stalls told of", 10)
    rows = cluster.rows()
    refused_rows_are_absent(record, rows)
    if kept:
        assert after.value == old.name
        assert lost_rows(record, rows) == []


def test_starved_hosts(cluster: Cluster) -> None:
    """Fault 18: two busy loops a processor, all of higher priority: it renews all the same, or is fenced."""
    with led_or_fenced(cluster):
        loops = [
            subprocess.Popen(["nice", "-n", "-10", sys.executable, "-c", "while True: pass"])
            for _ in range(2 * (os.cpu_count() or 1))
        ]
        try:
            time.sleep(cluster.settings.ttl + 2)
        finally:
            for loop in loops:
                loop.kill()
                loop.wait(5)


@pytest.mark.parametrize("share", [0.2, 0.003])
def test_starved_host_of_the_leader(cluster: Cluster, share: float) -> None:
    """Fault 18: with a fifth of a processor for all of it, and with next to none, in which it can but stand still."""
    with led_or_fenced(cluster) as leader:
        stalls = leader.metric("haagent_stalls_total")
        with starved(leader.name, leader.pids, share):
            time.sleep(2 * cluster.settings.ttl)
    if share < 0.01:
        assert leader.metric("haagent_stalls_total") > stalls, "not one stall is to be seen"


def test_postgresql_started_by_other_hands_before_the_agent(cluster: Cluster) -> None:
    """Fault 20: the distribution's unit starts the old primary, writable, before its agent, who then stops it."""
    old = cluster.primary()
    with cluster.writing() as record:
        old.power_off()
        taker = cluster.primary(cluster.settings.ttl + 10, other_than=old)
        old.host.plug()
        log = str(old.place.directory / "by-hand.log")
        pg_ctl = [str(old.place.bin_dir / "pg_ctl"), "start", "-w", "-D", old.data, "-l", log]
        subprocess.run(old.host.command(pg_ctl, old.user), check=True, timeout=30, cwd=old.place.directory)
        by_hand = old.postmaster_pid()
        assert by_hand is not None
        assert old.sql("SELECT pg_is_in_recovery()") == [(False,)], "two are out of recovery, one of them is fenced"
        time.sleep(0.5)
        old.start()
        wait_until(lambda: not alive(by_hand), "the end of the second primary", 30)
        for _ in range(20):
            assert old.rest("GET", "/primary").status != 200
            time.sleep(0.05)
        cluster.wait_whole()
    assert cluster.primary() is taker
    refused_rows_are_absent(record, cluster.rows())


def test_all_hosts_restarted_in_random_order(cluster: Cluster) -> None:
    """Fault 16: what was confirmed is there; no new cluster is made."""
    initialize = cluster.key("initialize")
    with cluster.writing() as record:
        time.sleep(1)
    cluster.wait_received()
    for node in cluster.nodes:
        node.power_off()
    seed = time.time_ns()
    chance = random.Random(seed)
    print(f"order drawn from seed {seed}")
    for node in chance.sample(cluster.nodes, len(cluster.nodes)):
        node.power_on()
        time.sleep(chance.uniform(0, 2))
    cluster.wait_whole(60)
    assert cluster.key("initialize") == initialize
    assert lost_rows(record, cluster.rows()) == []


def test_power_loss_of_primary_and_etcd_leader_on_one_host(program: AgentProgram, settings: ClusterSettings) -> None:
    """Fault 14: the etcd leader went down with the primary; the outage is bounded all the same."""
    with in_namespaces(program, settings, colocated=True) as cluster:
        cluster.start()
        primary = cluster.primary()
        member = next(member for member in cluster.etcd.members if member.host is primary.host)
        cluster.etcd.move_leader(member)
        with cluster.writing() as record:
            at = now()
            primary.power_off()
            cluster.wait_acknowledged(record, at + 1, settings.ttl + 10, "multihost")
            outage = cluster.outage(record, "multihost", at)
            member.process.start()
            primary.power_on()
            cluster.wait_whole()
        assert outage < 2 * settings.ttl  # of which a client may wait two seconds for the dead host
        refused_rows_are_absent(record, cluster.rows())


def test_next_agent_feeds_a_standby_that_was_started_while_nobody_led(cluster: Cluster) -> None:
    """As pg_rewind leaves it, it lets nobody in before it has WAL that only a leader gives it; its agent is killed."""
    source, (waiting, _) = cluster.primary(), cluster.standbys()
    waiting.power_off()
    shutil.rmtree(waiting.data)
    conninfo = f"host={source.place.address} port={source.place.postgres_port} user={REPLICATION} password={PASSWORD}"
    program = str(source.place.bin_dir / "pg_basebackup")
    copy = [program, "-d", conninfo, "-D", waiting.data, "-X", "none", "-c", "fast", "--no-sync"]
    subprocess.run(source.host.command(copy, source.user), check=True, timeout=60, cwd=source.place.directory)
    signal_file = waiting.place.data_dir / "standby.signal"
    signal_file.touch()
    waiting.own(signal_file)
    others, said_before = [node for node in cluster.nodes if node is not waiting], waiting.log.stat().st_size
    for node in others:
        node.power_off()
    wait_until(lambda: cluster.key("leader") is None, "the leader key ends", cluster.settings.ttl + 15)
    waiting.power_on()
    wait_until(lambda: waiting.postmaster_pid() is not None, "PostgreSQL is started", 30)
    words = "waiting for WAL to become available"
    wait_until(lambda: words in waiting.log.read_text()[said_before:], "it waits", 15)
    postmaster = waiting.postmaster_pid()
    waiting.kill_agent()
    waiting.start()
    for node in others:
        node.power_on()
    cluster.wait_whole()
    assert waiting.postmaster_pid() == postmaster
