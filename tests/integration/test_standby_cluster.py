"""A standby cluster beside the cluster that it follows: it begins, follows, changes its leader, and stands alone."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from tests.real.cluster import Cluster, make_node
from tests.real.node import Node
from tests.real.programs import AgentProgram
from tests.real.settings import PASSWORD, SUPERUSER
from tests.real.waiting import wait_until

SCOPE = "elsewhere"


@contextlib.contextmanager
def beside(cluster: Cluster, program: AgentProgram) -> Iterator[Cluster]:
    """Two nodes of another scope that follow the shared cluster, whichever of its nodes is the primary."""
    assert cluster.network is not None
    remote = {"host": ",".join(node.place.address for node in cluster.nodes), "port": 5432}
    settings = replace(cluster.settings, scope=SCOPE, dcs={"standby_cluster": remote}, grpc=())
    found = replace(cluster, settings=settings, nodes=[], proxy=None)
    found.nodes = [make_node(found, cluster.network.host(name), program) for name in ("far1", "far2")]
    for node in found.nodes:
        node.place = replace(node.place, bin_dir=cluster.nodes[0].place.bin_dir)
        node.prepare()
    try:
        yield found
    finally:
        for node in found.nodes:
            node.end()


def ctl(cluster: Cluster, *words: str) -> str:
    program = Path(sys.prefix) / "bin" / "haagent-ctl"
    argv = cluster.client.command([str(program), "-c", str(cluster.nodes[0].config_file), *words])
    environment = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "PGUSER": SUPERUSER, "PGPASSWORD": PASSWORD}
    found = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=90, check=False)
    assert found.returncode == 0, f"{words}: {found.stdout}{found.stderr}"
    return found.stdout + found.stderr


def standby_leader(far: Cluster, other_than: Node | None = None) -> Node:
    """The node that leads the standby cluster and streams; waited for."""

    def found() -> Node | None:
        for node in far.nodes:
            if node is not other_than and node.rest("GET", "/standby-leader").status == 200:
                return node if node.status().get("replication_state") == "streaming" else None
        return None

    return wait_until(found, "a standby leader that streams", 40)


def codes(node: Node) -> dict[str, int]:
    paths = ("primary", "leader", "standby-leader", "standby_leader", "replica", "read-only")
    return {path: node.rest("GET", f"/{path}").status for path in paths}


def wait_row(nodes: list[Node], text: str) -> None:
    """Wait until all of them have the row."""

    def there() -> bool:
        with contextlib.suppress(OSError):
            return all(node.sql(f"SELECT count(*) FROM far WHERE word = '{text}'")[0][0] for node in nodes)
        return False

    wait_until(there, f"the row {text} on {[node.name for node in nodes]}", 40)


def insert(node: Node, text: str) -> None:
    node.sql(f"INSERT INTO far VALUES ('{text}')")


def test_a_standby_cluster_follows_changes_its_leader_and_stands_alone(cluster: Cluster, program: AgentProgram) -> None:
    cluster.primary().sql("CREATE TABLE IF NOT EXISTS far (word text); TRUNCATE far")
    with beside(cluster, program) as far:
        for node in far.nodes:
            node.start()
        leader = standby_leader(far)
        other = next(node for node in far.nodes if node is not leader)
        insert(cluster.primary(), "begun")
        wait_row(far.nodes, "begun")
        wait_until(lambda: other.status().get("replication_state") == "streaming", "a standby that cascades", 20)
        assert codes(leader) == {
            "primary": 503,
            "leader": 200,
            "standby-leader": 200,
            "standby_leader": 200,
            "replica": 503,
            "read-only": 200,
        }
        assert codes(other)["replica"] == 200
        assert leader.metric("patroni_standby_leader") == 1
        assert "Standby Leader" in ctl(far, "list")
        senders = "SELECT application_name FROM pg_stat_replication"  # who asks for histories is there for a moment
        wait_until(lambda: leader.sql(senders) == [(other.name,)], "nobody but the standby that cascades", 10)

        old = cluster.primary()
        wish = {"leader": old.name}
        assert old.rest("POST", "/switchover", wish, timeout_s=30).status == 200
        insert(cluster.primary(), "switched")
        wait_row(far.nodes, "switched")

        leader.power_off()
        new = standby_leader(far, other_than=leader)
        insert(cluster.primary(), "survived")
        wait_row([new], "survived")
        leader.power_on()
        wait_row([leader], "survived")

        assert "completed" in ctl(far, "promote-cluster", "--force")
        insert(far.primary(), "alone")
        far.wait_whole()
        insert(cluster.primary(), "parted")

        remote = cluster.primary().place.address
        assert "completed" in ctl(far, "demote-cluster", "--host", remote, "--port", "5432", "--force")
        standby_leader(far)
        wait_row(far.nodes, "parted")
        assert not far.writable()
        assert not standby_leader(far).sql("SELECT 1 FROM far WHERE word = 'alone'")
