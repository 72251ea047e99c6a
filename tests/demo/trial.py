"""The cluster of the demonstration: every part on 127.0.0.1, on ports of its own, without special rights."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
from collections.abc import Iterable
from pathlib import Path

from tests.real.cluster import Cluster
from tests.real.etcd import EtcdCluster
from tests.real.hosts import MARK, LoopbackHost
from tests.real.node import Node
from tests.real.processes import descendants, every_pid, kill_all
from tests.real.programs import AgentProgram, postgres_bin
from tests.real.proxy import READS, WRITES, Proxy
from tests.real.settings import ClusterSettings, NodePlace

STATS = 7000
HOME = Path("/var/tmp") / f"haagent-demo-{os.geteuid()}"
"""One demonstration a user at a time; short, for PostgreSQL's socket lies in it."""


def free_ports(wanted: Iterable[int]) -> list[int]:
    """These ports where they are free, others where not."""
    held: list[socket.socket] = []
    try:
        for port in wanted:
            held.append(_bound(port))
        return [line.getsockname()[1] for line in held]
    finally:
        for line in held:
            line.close()


def _bound(port: int) -> socket.socket:
    line = socket.socket()
    line.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        line.bind(("127.0.0.1", port))
    except OSError:
        line.bind(("127.0.0.1", 0))
    return line


def on_loopback(program: AgentProgram, settings: ClusterSettings) -> Cluster:
    """Three etcd members, three nodes, HAProxy; nothing is started yet."""
    HOME.mkdir(mode=0o755)
    user = "postgres" if os.geteuid() == 0 else None
    if user is not None:
        pwd.getpwnam(user)
    ports = free_ports([2379, 2380, 22379, 22380, 32379, 32380, 5432, 5433, 5434, 8008, 8009, 8010, 5000, 5001, 7000])
    peers = list(zip(ports[0:6:2], ports[1:6:2], strict=True))
    etcd = EtcdCluster([LoopbackHost(str(HOME), f"etcd{number}") for number in (1, 2, 3)], HOME, peers)
    nodes = []
    for number, (postgres_port, rest_port) in enumerate(zip(ports[6:9], ports[9:12], strict=True), 1):
        host = LoopbackHost(str(HOME), f"node{number}")
        place = NodePlace(host.name, host.address, postgres_port, rest_port, HOME / host.name, postgres_bin())
        nodes.append(Node(host, place, settings, etcd.endpoints, program, user=user))
    client = LoopbackHost(str(HOME), "client")
    mapped = dict(zip((WRITES, READS, STATS), ports[12:], strict=True))
    proxy = Proxy(client, [node.place for node in nodes], HOME / "proxy", mapped)
    return Cluster(HOME, settings, etcd, nodes, client, proxy)


def leftovers() -> set[int]:
    """Every process of a demonstration of this user, of whatever run."""
    mark = f"{MARK}={HOME}/".encode()
    found = set()
    for pid in every_pid():
        try:
            environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if any(variable.startswith(mark) for variable in environment):
            found.add(pid)
    return descendants(found)


def remove() -> int:
    """End what an earlier run left, and its directory; how many processes that were."""
    pids = leftovers()
    kill_all(pids)
    shutil.rmtree(HOME, ignore_errors=True)
    return len(pids)
