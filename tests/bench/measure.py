"""One run with one agent program: every number the bench reports, from one fresh cluster."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from tests.real.cluster import Cluster, in_namespaces
from tests.real.node import Node
from tests.real.programs import AgentProgram, program
from tests.real.record import Record
from tests.real.settings import ClusterSettings
from tests.real.waiting import now

PATIENCE_S = 60.0
SETTLE_S = 3.0
IDLE_S = 30.0
"""How long an idle cluster is watched."""
REST_S = 5
ROUTES = ("haproxy", "multihost")
UNIT_S = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}

Numbers = dict[str, float]


def one_run(agent: AgentProgram, settings: ClusterSettings) -> Numbers:
    """Bootstrap, idle cost, REST speed, then each blow in turn, with the cluster whole between them."""
    with in_namespaces(agent, settings) as cluster:
        numbers = _bootstrap(cluster)
        time.sleep(SETTLE_S)
        numbers |= _idle(cluster)
        numbers |= _rest(cluster)
        for name, blow in (("postmaster killed", _kill_postmaster), ("switchover", _switch), ("host gone", _cut_power)):
            numbers |= _outage(cluster, name, blow)
        for route in ROUTES:
            numbers[f"host gone, beyond ttl, {route} (s)"] = numbers[f"host gone, {route} (s)"] - settings.ttl
        return numbers


def _bootstrap(cluster: Cluster) -> Numbers:
    cluster.etcd.start()
    for node in cluster.nodes:
        node.prepare()
    began_at = now()
    for node in cluster.nodes:
        node.start()
    cluster.wait_whole(PATIENCE_S)
    took_s = now() - began_at
    cluster.create_table()
    cluster.start_proxy()
    return {"bootstrap, three nodes (s)": took_s}


# --- what it costs --------------------------------------------------------------------------------------------------


def cpu_s(pid: int) -> float:
    """CPU time of a process so far; seconds, user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def pss_mb(pid: int) -> float:
    """Proportional share of memory of a process; megabytes."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    found = re.search(r"^Pss:\s+(\d+) kB", rollup, re.MULTILINE)
    assert found is not None
    return int(found[1]) / 1024


def _idle(cluster: Cluster) -> Numbers:
    helpers = {node.name: sorted(node.helpers()) for node in cluster.nodes}

    def spent() -> dict[str, float]:
        return {name: sum(map(cpu_s, pids)) for name, pids in helpers.items()}

    before, requests, began_at = spent(), cluster.etcd.requests_served(), now()
    time.sleep(IDLE_S)
    after, minutes = spent(), (now() - began_at) / 60
    leader = cluster.primary().name
    idle = {name: (after[name] - before[name]) / minutes for name in helpers}
    memory = [sum(map(pss_mb, pids)) for pids in helpers.values()]
    return {
        "idle CPU, leader (s/min)": idle[leader],
        "idle CPU, standby (s/min)": max(spent for name, spent in idle.items() if name != leader),
        "memory, agent and guard (MB)": max(memory),
        "etcd requests, cluster (1/min)": (cluster.etcd.requests_served() - requests) / minutes,
    }


def _rest(cluster: Cluster) -> Numbers:
    primary = cluster.primary()
    url = f"http://{primary.place.address}:{primary.place.rest_port}/primary"
    argv = cluster.client.command([program("wrk"), "-t1", "-c8", f"-d{REST_S}s", "--latency", url])
    said = subprocess.run(argv, capture_output=True, text=True, timeout=REST_S + 20, check=True).stdout
    rate, tail = re.search(r"Requests/sec:\s+([\d.]+)", said), re.search(r"99%\s+([\d.]+)(us|ms|s|m)", said)
    assert rate is not None, said
    assert tail is not None, said
    return {
        "GET /primary, 8 connections (1/s)": float(rate[1]),
        "GET /primary, p99 (ms)": float(tail[1]) * UNIT_S[tail[2]] * 1000,
    }


# --- how long nobody can write --------------------------------------------------------------------------------------


def _outage(cluster: Cluster, name: str, blow: Callable[[Cluster], Callable[[], None]]) -> Numbers:
    with cluster.writing(*ROUTES) as record:
        time.sleep(1)
        at = now()
        mend = blow(cluster)
        numbers = {f"{name}, {route} (s)": _gap(cluster, record, route, at) for route in ROUTES}
    mend()
    cluster.wait_whole(PATIENCE_S)
    time.sleep(SETTLE_S)
    return numbers


def _gap(cluster: Cluster, record: Record, route: str, at: float) -> float:
    cluster.wait_acknowledged(record, at + 0.1, PATIENCE_S, route)
    time.sleep(1.5)
    return cluster.outage(record, route, at)


def _nothing() -> None:
    """There is nothing to mend."""


def _kill_postmaster(cluster: Cluster) -> Callable[[], None]:
    cluster.primary().kill_postmaster()
    return _nothing


def _switch(cluster: Cluster) -> Callable[[], None]:
    old: Node = cluster.primary()
    candidate = cluster.standbys()[0]
    reply = old.rest("POST", "/switchover", {"leader": old.name, "candidate": candidate.name}, timeout_s=PATIENCE_S)
    assert reply.status == 200, reply
    return _nothing


def _cut_power(cluster: Cluster) -> Callable[[], None]:
    old: Node = cluster.primary()
    old.power_off()
    return old.power_on
