"""The scenes of the demonstration, and what each measures."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from tests.demo.screen import Screen
from tests.real.checkers import lost_rows
from tests.real.cluster import Cluster
from tests.real.node import Node
from tests.real.record import Record
from tests.real.waiting import now

BREATH_S = 3.0
"""How long the audience may look at a healthy cluster."""
PATIENCE_S = 60.0


@dataclass(frozen=True)
class Result:
    """One measured scene."""

    what: str
    outage_s: float
    healed_s: float


@dataclass(frozen=True)
class Outcome:
    """All that was measured."""

    results: list[Result]
    acknowledged: int
    lost: int


def play(cluster: Cluster, screen: Screen) -> Outcome:
    """Start the cluster, hurt it twice while a client writes, and say what that client saw."""
    screen.say("three etcd members are started")
    cluster.etcd.start()
    screen.say("three agents are started, with empty directories")
    began_at = now()
    for node in cluster.nodes:
        node.prepare()
        node.start()
    cluster.wait_whole(PATIENCE_S)
    screen.say(f"one primary, two streaming standbys after {now() - began_at:.1f} s")
    cluster.create_table()
    cluster.start_proxy()
    screen.say("a client writes through HAProxy, fifty rows a second, each over a new connection")
    with cluster.writing("haproxy 0") as record:
        screen.record = record
        time.sleep(BREATH_S)
        results = [
            _scene(cluster, screen, record, "PostgreSQL killed", _kill_postgresql),
            _scene(cluster, screen, record, "whole node killed", _kill_node),
        ]
        time.sleep(BREATH_S)
    return Outcome(results, len(record.acknowledged()), len(lost_rows(record, cluster.rows())))


def _scene(
    cluster: Cluster, screen: Screen, record: Record, what: str, hurt: Callable[[Node, Screen], Callable[[], None]]
) -> Result:
    primary, at = cluster.primary(), now()
    mend = hurt(primary, screen)
    cluster.wait_acknowledged(record, at + 0.2, PATIENCE_S)
    time.sleep(BREATH_S / 2)
    outage_s = cluster.outage(record, "haproxy", at)
    screen.say(f"{what}: no write was acknowledged for {outage_s:.2f} s; {cluster.primary().name} is primary")
    time.sleep(BREATH_S / 2)
    mend()
    cluster.wait_whole(PATIENCE_S)
    healed_s = now() - at
    screen.say(f"the cluster is whole again, {healed_s:.1f} s after the blow")
    time.sleep(BREATH_S / 2)
    return Result(what, outage_s, healed_s)


def _kill_postgresql(primary: Node, screen: Screen) -> Callable[[], None]:
    screen.say(f"kill -9 {primary.postmaster_pid()}: the postmaster of {primary.name}, the primary")
    primary.kill_postmaster()
    return lambda: None


def _kill_node(primary: Node, screen: Screen) -> Callable[[], None]:
    screen.say(f"kill -9 everything of {primary.name}, the primary: agent, guard and PostgreSQL")
    primary.power_off()

    def mend() -> None:
        screen.say(f"{primary.name} is started again")
        primary.power_on()

    return mend
