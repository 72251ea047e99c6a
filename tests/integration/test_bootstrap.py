"""A cluster comes into being: from nothing, from a running PostgreSQL, or not at all."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.real.cluster import Cluster, make_node
from tests.real.node import Node
from tests.real.programs import AgentProgram
from tests.real.settings import PASSWORD, REPLICATION, REWIND, SUPERUSER
from tests.real.waiting import wait_until


@contextlib.contextmanager
def lone_node(cluster: Cluster, program: AgentProgram, name: str, scope: str, **settings: Any) -> Iterator[Cluster]:
    """A node on a new host beside the shared cluster, on the same etcd, of another scope or of the same."""
    assert cluster.network is not None
    beside = replace(cluster, settings=replace(cluster.settings, scope=scope, **settings), nodes=[], proxy=None)
    node = make_node(beside, cluster.network.host(name), program)
    beside.nodes.append(node)
    node.prepare()
    try:
        yield beside
    finally:
        node.end()


def initdb(node: Node) -> None:
    """Make a database as an administrator would, by hand."""
    secret = node.place.directory / "password"
    secret.write_text(PASSWORD)
    node.own(secret)
    _run(node, "initdb", "--no-sync", "-U", SUPERUSER, f"--pwfile={secret}", "-A", "scram-sha-256", "-D", node.data)
    with (node.place.data_dir / "pg_hba.conf").open("a") as rules:
        rules.write("host all all 0.0.0.0/0 scram-sha-256\nhost replication all 0.0.0.0/0 scram-sha-256\n")


def _run(node: Node, name: str, *arguments: str) -> str:
    argv = node.host.command([str(node.place.bin_dir / name), *arguments], node.user)
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False, cwd=node.place.directory)
    assert done.returncode == 0, f"{name}: {done.stdout}{done.stderr}"
    return done.stdout


def system_identifier(node: Node) -> str:
    """As pg_controldata prints it."""
    lines = _run(node, "pg_controldata", "-D", node.data).splitlines()
    return next(line.split()[-1] for line in lines if line.startswith("Database system identifier"))


def fingerprint(directory: Path) -> dict[str, tuple[int, int]]:
    """Every file with size and time of change."""
    return {
        str(path.relative_to(directory)): (path.stat().st_size, path.stat().st_mtime_ns)
        for path in directory.rglob("*")
        if path.is_file()
    }


def test_three_nodes_from_nothing(cluster: Cluster) -> None:
    """From empty directories to one primary and two streaming standbys, with its roles, slots and keys."""
    primary = cluster.primary()
    identifier = primary.status()["database_system_identifier"]
    initialize, config = cluster.key("initialize"), cluster.key("config")
    assert initialize is not None
    assert initialize.value == identifier
    assert {node.status()["database_system_identifier"] for node in cluster.nodes} == {identifier}
    assert config is not None
    assert json.loads(config.value)["ttl"] == cluster.settings.ttl
    roles = dict(primary.sql("SELECT rolname, rolreplication FROM pg_roles WHERE rolcanlogin"))
    assert {SUPERUSER, REPLICATION, REWIND} <= set(roles)
    assert roles[REPLICATION]
    standbys = {(node.name,) for node in cluster.standbys()}
    query = "SELECT slot_name FROM pg_replication_slots WHERE active"
    wait_until(lambda: set(primary.sql(query)) == standbys, "standbys that stream from their slots", 10)
    for node in cluster.nodes:
        member = cluster.key(f"members/{node.name}")
        assert member is not None
        assert json.loads(member.value)["api_url"] == f"http://{node.place.address}:8008/patroni"


def test_a_failed_bootstrap_makes_room_for_another(cluster: Cluster, program: AgentProgram) -> None:
    """``initialize`` is released, the reason stands in the log, the directory is moved aside and not deleted."""
    with lone_node(cluster, program, "failing", "failing", bootstrap={"post_bootstrap": "/bin/false"}) as beside:
        node = beside.nodes[0]
        node.start()
        wait_until(lambda: beside.key("initialize"), "a bootstrap that began", 20, 0.02)

        def aside() -> list[Path]:
            return [path for path in node.place.directory.glob("data?*") if (path / "PG_VERSION").exists()]

        wait_until(aside, "a directory moved aside", 30)
        wait_until(lambda: beside.key("initialize") is None, "a released initialize key", 10, 0.02)
        wait_until(lambda: "false ended with exit code 1" in node.log.read_text(), "the reason in the log", 10)
        assert beside.writable() == []


def test_a_foreign_database_is_refused(cluster: Cluster, program: AgentProgram) -> None:
    """Fault 92: a directory of another system joins nothing; both numbers are named and no file is touched."""
    initialize = cluster.key("initialize")
    assert initialize is not None
    with lone_node(cluster, program, "foreign", cluster.settings.scope) as beside:
        node = beside.nodes[0]
        initdb(node)
        before, own = fingerprint(node.place.data_dir), system_identifier(node)
        node.start()
        assert node.agent is not None
        assert node.agent.reap(30) != 0
        said = node.log.read_text()
        assert own in said
        assert initialize.value in said
        assert fingerprint(node.place.data_dir) == before
    cluster.wait_whole()


def test_a_name_that_is_taken_is_refused(cluster: Cluster, program: AgentProgram) -> None:
    """Fault 44: a second node of a running member's name ends before it makes or touches anything."""
    with lone_node(cluster, program, "twin", cluster.settings.scope) as beside:
        twin, taken = beside.nodes[0], cluster.standbys()[0]
        initdb(twin)
        before = fingerprint(twin.place.data_dir)
        config = twin.config_file.read_text()
        twin.config_file.write_text(config.replace("name: twin\n", f"name: {taken.name}\n"))
        twin.start()
        assert twin.agent is not None
        assert twin.agent.reap(30) != 0
        said = twin.log.read_text()
        assert f"a member named {taken.name} of cluster {cluster.settings.scope} is running already" in said
        assert f"{taken.place.address}:{taken.place.rest_port}" in said
        assert fingerprint(twin.place.data_dir) == before
    cluster.wait_whole()


def test_a_running_postgresql_is_adopted(cluster: Cluster, program: AgentProgram) -> None:
    """A database that runs already goes on running: the same postmaster, now with a leader key."""
    with lone_node(cluster, program, "adopted", "adopted") as beside:
        node = beside.nodes[0]
        initdb(node)
        options = f"-c listen_addresses={node.place.address} -c unix_socket_directories={node.place.directory}"
        log = str(node.place.directory / "postgres.log")
        _run(node, "pg_ctl", "start", "-w", "-D", node.data, "-l", log, "-o", options)
        node.sql(f"CREATE ROLE {REPLICATION} LOGIN REPLICATION PASSWORD '{PASSWORD}'")
        pid, own = node.postmaster_pid(), system_identifier(node)
        node.start()
        assert beside.primary() is node
        assert node.postmaster_pid() == pid
        initialize = wait_until(lambda: beside.key("initialize"), "the initialize key", 15)
        leader = beside.key("leader")
        assert initialize.value == own
        assert leader is not None
        assert leader.value == node.name
        assert node.sql("SELECT pg_is_in_recovery()") == [(False,)]
