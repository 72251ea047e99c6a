"""What must change no leader: name servers that hang, a full log disk, no connection left, timeouts of some other."""

from __future__ import annotations

import contextlib
import re
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.sql import SQL, Literal

from tests.contract.dcs.nameserver import NameServer
from tests.real.checkers import lost_rows, refused_rows_are_absent
from tests.real.cluster import Cluster
from tests.real.disks import Disk
from tests.real.node import Node
from tests.real.waiting import now, wait_until
from tests.real.writers import OBSERVER

Fault = Callable[[Cluster, Node], AbstractContextManager[None]]
Connection = psycopg.Connection[tuple[Any, ...]]
FRESH_S = 10.0
"""How long an agent asks no name server again for what it knows."""
LEAVE = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'haagent'"
"""Waits for the end of the connection: until then it would be taken for the agent's next one."""


def said(node: Node, text: str, since: int) -> bool:
    """Whether the text stands in its log behind that offset."""
    return text in node.log.read_text(errors="replace")[since:]


def reloaded(node: Node, text: str) -> None:
    """Write its configuration, let it read that again, and wait until it says so."""
    before = node.log.stat().st_size
    node.write_config()
    node.reload()
    wait_until(lambda: said(node, text, before), f"{node.name} to say '{text}'", 10)


def agent_in(operator: Connection) -> bool:
    """Whether the agent has its connection."""
    return bool(operator.execute("SELECT 1 FROM pg_stat_activity WHERE application_name = 'haagent'").fetchall())


@contextlib.contextmanager
def hanging_names(cluster: Cluster, leader: Node) -> Iterator[None]:
    """Every agent has etcd's members by names; their name server hangs, and the leader's own etcd member dies."""
    (at, *_) = re.findall(r"^nameserver\s+([\d.]+)", Path("/etc/resolv.conf").read_text(), re.MULTILINE) or [
        "127.0.0.1"
    ]
    addresses = {f"{member.host.name}.example": member.host.address for member in cluster.etcd.members}
    given, servers = {node: list(node.etcd) for node in cluster.nodes}, []
    with contextlib.ExitStack() as stack:
        for node in cluster.nodes:
            # A name server of that address is what the machine's resolv.conf sends every process to, and in this
            # network there is none yet.
            stack.enter_context(extra_address(node, at))
            with node.host.inside():
                server = NameServer({}, addresses, (at, 53))
            servers.append(stack.enter_context(server.serving()))
        try:
            for node in cluster.nodes:
                node.etcd[:] = [f"{name}:2379" for name in addresses]
                reloaded(node, "etcd is reached by new settings")
            wait_until(lambda: all(server.asked for server in servers), "the name servers to be asked", 10)
            for server in servers:
                server.hangs = True
            time.sleep(FRESH_S)
            member = wait_until(cluster.etcd.leader, "an etcd leader", 10)
            member.process.kill()
            yield
            member.process.start()
        finally:
            for server in servers:
                server.hangs = False
            for node, hosts in given.items():
                node.etcd[:] = hosts
                reloaded(node, "etcd is reached by new settings")


@contextlib.contextmanager
def extra_address(node: Node, address: str) -> Iterator[None]:
    """Its own loopback answers for that address too."""

    def ip(what: str) -> None:
        argv = node.host.command(["ip", "address", what, f"{address}/32", "dev", "lo"])
        subprocess.run(argv, check=True, timeout=10)

    ip("add")
    try:
        yield
    finally:
        ip("del")


@contextlib.contextmanager
def full_log_disk(cluster: Cluster, leader: Node) -> Iterator[None]:
    """Every agent's log lies on a disk without room for another line."""
    place = Path(tempfile.mkdtemp(prefix="logs-", dir=cluster.home))
    place.chmod(0o755)
    disk = Disk(place / "image", place / "mounted", mib=8)
    own = {node: disk.at / node.name for node in cluster.nodes}
    try:
        for node, directory in own.items():
            directory.mkdir()
            node.own(directory)
            node.sections["log"] = {"level": "DEBUG", "deduplicate_heartbeat_logs": False, "dir": str(directory)}
            node.write_config()
            node.reload()
        wait_until(lambda: all(any(one.glob("*.log")) for one in own.values()), "their log files", 10)
        disk.fill(leave=0)
        for file in disk.at.glob("*/*.log"):
            fill_last_block(file)
        before = {node: node.log.stat().st_size for node in own}
        wait_until(lambda: all(said(node, "No space left", before[node]) for node in own), "their complaints", 10)
        yield
    finally:
        disk.empty()
        for node in own:
            node.sections.pop("log", None)
            node.write_config()
            node.reload()
        disk.end()


def fill_last_block(file: Path) -> None:
    """Append to it on a full disk until not one byte more fits."""
    with contextlib.suppress(OSError), file.open("ab", buffering=0) as end:
        while True:
            end.write(b"\n")


@contextlib.contextmanager
def no_connection_left(cluster: Cluster, leader: Node) -> Iterator[None]:
    """Clients have every slot of the leader, superusers' too, and the agent's own connection is lost."""
    over = threading.Event()

    def crowd() -> None:
        with contextlib.ExitStack() as stack:
            users = [OBSERVER, "postgres"]
            while not over.is_set():
                try:
                    stack.enter_context(leader.connect(users[0]))
                except OSError as error:
                    # Whoever lets a slot go gets it back as little as the agent does.
                    over.wait(0.05)
                    users = users[1:] if "reserved" in str(error) else users

    def shut_out() -> bool:
        operator.execute(LEAVE)
        time.sleep(2 * cluster.settings.loop_wait)
        return not agent_in(operator)

    with leader.connect() as operator:
        thread = threading.Thread(target=crowd, name="crowd")
        thread.start()
        try:
            wait_until(shut_out, "the agent to be shut out", 60)
            yield
            assert not agent_in(operator), "the agent had a way in after all"
        finally:
            over.set()
            thread.join()


TIMEOUTS = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")


def limited(*names: str, locked: bool = False) -> Fault:
    """The agents' role and database have those timeouts of a millisecond; and what they read may be locked."""

    @contextlib.contextmanager
    def fault(cluster: Cluster, leader: Node) -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            operators = {node: stack.enter_context(node.connect()) for node in cluster.nodes}
            stack.callback(unlimited, cluster)
            for name in names:
                for who, value in (("ROLE postgres", "1ms"), ("DATABASE postgres", "1ms"), (f"ROLE {OBSERVER}", "0")):
                    operators[leader].execute(SQL("ALTER {} SET {} = {}").format(SQL(who), SQL(name), Literal(value)))
            for operator in operators.values():
                operator.execute(LEAVE)
            wait_until(lambda: all(map(agent_in, operators.values())), "the agents' new connections", 10)
            if locked:
                with operators[leader].transaction():
                    operators[leader].execute("LOCK TABLE pg_authid IN ACCESS EXCLUSIVE MODE")
                    yield
            else:
                yield

    return fault


def unlimited(cluster: Cluster) -> None:
    """Take the limits away, under which this too may have to be tried more than once."""

    def done() -> bool:
        try:
            with cluster.primary().connect() as operator:
                operator.execute("SET statement_timeout = 0")
                for who in ("ROLE postgres", "DATABASE postgres", f"ROLE {OBSERVER}"):
                    operator.execute(SQL("ALTER {} RESET ALL").format(SQL(who)))
        except psycopg.OperationalError as error:
            raise OSError(str(error)) from error
        return True

    wait_until(done, "no limits", 20)
    for node in cluster.nodes:
        with contextlib.suppress(OSError):  # a standby may still have the limits
            node.sql(LEAVE)


@pytest.mark.parametrize(
    "faults",
    [
        pytest.param([hanging_names], id="hanging name servers"),
        pytest.param([full_log_disk], id="full log disk"),
        pytest.param([no_connection_left], id="no connection left"),
        pytest.param([limited(*TIMEOUTS)], id="timeouts"),
        pytest.param([limited("statement_timeout", locked=True)], id="statement timeout and a lock"),
        pytest.param([hanging_names, full_log_disk, limited(*TIMEOUTS)], id="three at once"),
        pytest.param([limited("lock_timeout", locked=True)], id="lock timeout and a lock"),
    ],
)
def test_leader_leads_on(cluster: Cluster, faults: list[Fault]) -> None:
    """Faults 31, 50, 76, 77: nobody is demoted, the leader key keeps its term, and clients go on committing."""
    leader, term, past = cluster.primary(), cluster.key("leader"), cluster.key("history")
    postmaster, timeline = leader.postmaster_pid(), leader.status()["timeline"]
    with cluster.writing() as record:
        # A writer that keeps its connection is what goes on when no new one is let in.
        wait_until(lambda: record.acknowledged(f"direct {leader.name}"), "a row written directly", 10)
        at = now()
        with contextlib.ExitStack() as stack:
            for fault in faults:
                stack.enter_context(fault(cluster, leader))
            time.sleep(2 * cluster.settings.ttl)
            assert leader.rest("GET", "/primary").status == 200
        cluster.wait_acknowledged(record, now(), 10, "haproxy")
        gap_s = record.longest_gap(f"direct {leader.name}", at, now()).length_s
        cluster.wait_whole()
    after = cluster.key("leader")
    assert term is not None
    assert after is not None
    assert (after.value, after.create_revision) == (leader.name, term.create_revision)
    assert (leader.postmaster_pid(), leader.status()["timeline"]) == (postmaster, timeline)
    assert cluster.key("history") == past
    assert gap_s < 3
    rows = cluster.rows()
    assert lost_rows(record, rows) == []
    refused_rows_are_absent(record, rows)
