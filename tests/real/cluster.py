"""A whole trial: etcd, nodes, HAProxy and clients, put together, looked at and taken down."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.real.checkers import one_node_at_a_time
from tests.real.etcd import EtcdCluster, KeyValue
from tests.real.hosts import Host
from tests.real.http import request
from tests.real.network import Network
from tests.real.node import Node
from tests.real.programs import AgentProgram, postgres_bin
from tests.real.proxy import Proxy
from tests.real.record import Record
from tests.real.settings import ClusterSettings, NodePlace
from tests.real.waiting import now, wait_until
from tests.real.writers import TABLE, Route, Writers, direct, multihost, outside, proxied


@dataclass(eq=False)
class Cluster:
    """The parts of a trial and what is asked of them together."""

    home: Path
    settings: ClusterSettings
    etcd: EtcdCluster
    nodes: list[Node]
    client: Host
    """Where clients and HAProxy are."""
    proxy: Proxy | None = None
    network: Network | None = None
    extra: list[Node] = field(default_factory=list)
    """Nodes that tests add and that are ended with the rest."""

    # --- life ----------------------------------------------------------------------------------------------------

    def start(self, timeout_s: float = 60) -> None:
        """Start etcd, agents and HAProxy, and wait until the cluster is whole and has its table."""
        self.etcd.start()
        for node in self.nodes:
            node.prepare()
            node.start()
        self.wait_whole(timeout_s)
        self.create_table()
        self.start_proxy()

    def create_table(self) -> None:
        """Make the table and the role of the writers."""
        self.primary().sql(TABLE)

    def start_proxy(self) -> None:
        """Start HAProxy, if there is one."""
        if self.proxy is not None:
            self.proxy.process.start()

    def end(self) -> None:
        """End every process of the trial."""
        if self.proxy is not None:
            self.proxy.process.kill()
        for node in [*self.nodes, *self.extra]:
            node.end()
        self.etcd.stop()

    def mend(self) -> None:
        """Undo what a test may have left: cables, filters, dead etcd members, dead or frozen agents."""
        hosts = self.network.hosts.values() if self.network else ()
        for host in hosts:
            host.plug()
            host.heal()
        processes = [member.process for member in self.etcd.members]
        processes += [self.proxy.process] if self.proxy else []
        for process in processes:
            process.send(signal.SIGCONT)
            if not process.running:
                process.start()
        for node in self.nodes:
            node.thaw_agent()
            if node.agent is None or not node.agent.running:
                node.start()

    # --- what the cluster says of itself -------------------------------------------------------------------------

    def key(self, name: str) -> KeyValue | None:
        """A key of this cluster in etcd."""
        return self.etcd.get(f"/service/{self.settings.scope}/{name}")

    def node(self, name: str) -> Node:
        """The node of that name."""
        return next(node for node in [*self.nodes, *self.extra] if node.name == name)

    def leader(self) -> Node | None:
        """The node named by the leader key."""
        key = self.key("leader")
        return self.node(key.value) if key else None

    def writable(self) -> list[Node]:
        """The nodes that answer 200 to GET /primary."""
        return [node for node in self.nodes if node.rest("GET", "/primary").status == 200]

    def primary(self, timeout_s: float = 30, other_than: Node | None = None) -> Node:
        """The one primary; waited for."""

        def found() -> Node | None:
            nodes = [node for node in self.writable() if node is not other_than]
            return nodes[0] if len(nodes) == 1 else None

        return wait_until(found, f"a primary{f' other than {other_than.name}' if other_than else ''}", timeout_s)

    def primary_seen_by_clients(self, timeout_s: float, other_than: Node) -> Node:
        """As ``primary``, asked from where the clients are: a node that is cut off is not seen."""

        def found() -> Node | None:
            for node in self.nodes:
                place = node.place
                if node is not other_than and node.rest("GET", "/primary").status == 200:
                    reply = request(self.client, place.address, place.rest_port, "GET", "/primary")
                    return node if reply.status == 200 else None
            return None

        return wait_until(found, f"a primary other than {other_than.name}", timeout_s)

    def standbys(self) -> list[Node]:
        """All but the primary."""
        primary = self.primary()
        return [node for node in self.nodes if node is not primary]

    def complaints(self, expected: Sequence[Node] | None = None) -> list[str]:
        """What keeps the cluster from being whole: one primary, all others streaming on its timeline, all agreed.

        And nobody paused: a test that fails in maintenance mode must not leave that to the next.
        """
        nodes = list(self.nodes if expected is None else expected)
        statuses = {node: node.status() for node in nodes}
        found = [f"{node.name} does not answer" for node, status in statuses.items() if not status]
        primaries = [node for node, status in statuses.items() if status.get("role") in ("primary", "master")]
        if len(primaries) != 1:
            return [*found, f"primaries: {[node.name for node in primaries]}"]
        primary, key = primaries[0], self.key("leader")
        if key is None or key.value != primary.name:
            found.append(f"{primary.name} is primary, the leader key says {key.value if key else 'nothing'}")
        for node, status in statuses.items():
            found += _unlike(node, status, statuses[primary], node is primary)
            code = node.rest("GET", "/primary").status
            if (code == 200) != (node is primary):
                found.append(f"{node.name} answers {code} to GET /primary")
            found += _disagreements(node, primary, nodes)
        if not found:
            streaming = primary.sql("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'")[0][0]
            if streaming < len(nodes) - 1:
                found.append(f"{streaming} of {len(nodes) - 1} standbys stream")
        return found

    def wait_whole(
        self, timeout_s: float = 60, expected: Sequence[Node] | None = None, restarted: bool = False
    ) -> None:
        """Wait until there is no complaint left; AssertionError that lists them, at once when an agent has ended.

        ``restarted``: somebody starts agents again that have ended.
        """
        nodes = list(self.nodes if expected is None else expected)
        complaints: list[str] = []

        def whole() -> bool:
            ended = [f"the agent of {node.name} has ended" for node in nodes if not node.agent_runs]
            complaints[:] = ended or ["etcd or PostgreSQL does not answer"]
            if not ended:
                complaints[:] = self.complaints(nodes)
            return (bool(ended) and not restarted) or not complaints

        with contextlib.suppress(AssertionError):
            wait_until(whole, "a whole cluster", timeout_s, 0.1)
        if complaints:
            words = "".join(f"\n{node.name} said last: {node.last_words()}" for node in nodes)
            raise AssertionError(f"not whole in {timeout_s:g} s: {'; '.join(complaints)}{words}")

    # --- clients -------------------------------------------------------------------------------------------------

    def routes(self, pause_s: float = 0.03) -> list[Route]:
        """Two writers through HAProxy, three by libpq's list of hosts, two straight to every node.

        One of these two writes from the node itself, the other, which takes its time, from where the clients are.
        """
        places = [(node.place.address, node.place.postgres_port) for node in self.nodes]
        chosen = [multihost(self.client, places, number, pause_s) for number in range(len(places))]
        chosen += [
            direct(node.name, node.host, *place, pause_s) for node, place in zip(self.nodes, places, strict=True)
        ]
        if self.network is not None:
            chosen += [
                outside(node.name, self.client, *place, 3 * pause_s)
                for node, place in zip(self.nodes, places, strict=True)
            ]
        if self.proxy is not None:
            chosen += [
                proxied(self.client, self.client.address, self.proxy.writes, number, pause_s) for number in range(2)
            ]
        return chosen

    @contextlib.contextmanager
    def writing(self, *routes: str) -> Iterator[Record]:
        """Write by all routes (or those whose name begins so) meanwhile; at the end one node at a time must have."""
        names = {(node.place.address, node.place.postgres_port): node.name for node in self.nodes}
        chosen = [route for route in self.routes() if not routes or route.name.startswith(routes)]
        with Writers(chosen, names) as record:
            wait_until(record.acknowledged, "the first acknowledged row", 10, 0.02)
            yield record
        one_node_at_a_time(record)

    def wait_received(self, timeout_s: float = 10) -> None:
        """Wait until every standby has all the WAL that there is."""
        query = "SELECT count(*) FROM pg_stat_replication WHERE flush_lsn >= pg_current_wal_lsn()"
        others = len(self.nodes) - 1
        wait_until(lambda: self.primary().sql(query)[0][0] == others, "standbys that lack no WAL", timeout_s)

    def rows(self) -> set[int]:
        """The numbers on the primary's disk."""
        return {row[0] for row in self.primary().sql("SELECT number FROM journal")}

    def wait_acknowledged(self, record: Record, since: float, timeout_s: float, route: str = "") -> float:
        """Wait for a row begun after the instant to be acknowledged; when that was."""

        def answered() -> list[Any]:
            return [attempt for attempt in record.acknowledged(route, since) if attempt.started_at >= since]

        return float(wait_until(answered, f"a write acknowledged {route}", timeout_s, 0.02)[0].ended_at)

    def outage(self, record: Record, route: str, since: float) -> float:
        """The longest time without acknowledged writes from shortly before an instant until now; seconds."""
        return record.longest_gap(route, since - 0.5, now()).length_s


def _unlike(node: Node, status: dict[str, Any], leader: dict[str, Any], leads: bool) -> list[str]:
    if not status:
        return []
    found = []
    if status.get("state") not in ("running", "streaming"):
        found.append(f"{node.name} is {status.get('state')}")
    if status.get("pause"):
        found.append(f"{node.name} is paused")
    if not leads and status.get("replication_state") != "streaming":
        found.append(f"{node.name} replicates: {status.get('replication_state')}")
    if status.get("timeline") != leader.get("timeline"):
        found.append(f"{node.name} is on timeline {status.get('timeline')}, the primary on {leader.get('timeline')}")
    return found


def _disagreements(node: Node, primary: Node, nodes: Sequence[Node]) -> list[str]:
    reply = node.rest("GET", "/cluster")
    if reply.status != 200:
        return [f"{node.name} answers {reply.status} to GET /cluster"]
    members = {member["name"]: member for member in reply.json["members"]}
    expected = {other.name: "leader" if other is primary else "replica" for other in nodes}
    roles = {"sync_standby": "replica", "quorum_standby": "replica"}
    seen = {name: roles.get(member["role"], member["role"]) for name, member in members.items() if name in expected}
    if seen != expected:
        return [f"{node.name} sees {seen}"]
    idle = [name for name in expected if members[name]["state"] not in ("running", "streaming")]
    return [f"{node.name} sees {name} {members[name]['state']}" for name in idle]


@contextlib.contextmanager
def temporary_home() -> Iterator[Path]:
    """A directory that user postgres can reach; removed at the end unless HAAGENT_TRIAL_KEEP is set."""
    home = Path(tempfile.mkdtemp(prefix="haagent-trial-", dir="/var/tmp"))
    home.chmod(0o755)
    try:
        yield home
    finally:
        if not os.environ.get("HAAGENT_TRIAL_KEEP"):
            shutil.rmtree(home, ignore_errors=True)


def make_node(cluster: Cluster, host: Host, program: AgentProgram, **more: Any) -> Node:
    """A further node for a cluster in namespaces, on the usual ports; ended with the cluster."""
    place = NodePlace(host.name, host.address, 5432, 8008, cluster.home / host.name, postgres_bin())
    return Node(host, place, cluster.settings, cluster.etcd.endpoints, program, **more)


@contextlib.contextmanager
def in_namespaces(
    program: AgentProgram, settings: ClusterSettings, *, nodes: int = 3, colocated: bool = False
) -> Iterator[Cluster]:
    """A cluster with a network namespace for each host; etcd on hosts of its own, or on those of the nodes."""
    with temporary_home() as home, Network() as network:
        hosts = [network.host(f"node{number}") for number in range(1, nodes + 1)]
        etcd_hosts = hosts if colocated else [network.host(f"etcd{number}") for number in range(1, 4)]
        cluster = Cluster(home, settings, EtcdCluster(etcd_hosts, home), [], network.host("client"), network=network)
        cluster.nodes = [make_node(cluster, host, program) for host in hosts]
        cluster.proxy = Proxy(cluster.client, [node.place for node in cluster.nodes], home / "proxy")
        try:
            yield cluster
        finally:
            cluster.end()
