"""Programs that find the leader by themselves: vip-manager by its key, HAProxy by checks, Prometheus by scraping."""

from __future__ import annotations

import contextlib
import csv
import io
import re
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest

from tests.compat.clients import Patronictl, place
from tests.real.cluster import Cluster
from tests.real.http import request
from tests.real.node import Node
from tests.real.processes import Process
from tests.real.programs import program
from tests.real.settings import PASSWORD
from tests.real.shared import Shared
from tests.real.waiting import now, wait_until
from tests.real.writers import OBSERVER

ADDRESS = "10.10.0.100"
PROMETHEUS = 9090
FIELD = {
    "by_options": ("option httpchk OPTIONS /primary", "inter 3s fall 3 rise 2 on-marked-down shutdown-sessions"),
    "by_lag": ("option httpchk GET /replica?lag=10MB", "inter 1s fall 2 rise 3"),
    "by_port": ("option httpchk OPTIONS /primary", "check port 8008 inter 5s rise 3 fall 3"),
}
"""Checks as people have them in their files: by name of the section, its option and what stands at its servers."""
PORTS = dict(zip(FIELD, (5100, 5101, 5102), strict=True))
METRICS = """
patroni_version patroni_postgres_running patroni_postmaster_start_time patroni_primary patroni_xlog_location
patroni_standby_leader patroni_replica patroni_sync_standby patroni_quorum_standby patroni_xlog_received_location
patroni_xlog_replayed_location patroni_xlog_replayed_timestamp patroni_xlog_paused patroni_postgres_streaming
patroni_postgres_in_archive_recovery patroni_postgres_server_version patroni_cluster_unlocked
patroni_failsafe_mode_is_active patroni_postgres_timeline patroni_dcs_last_seen patroni_pending_restart
patroni_is_paused patroni_postgres_state
""".split()  # noqa: SIM905
"""Every metric of Patroni's documentation."""


@dataclass(frozen=True)
class Followers:
    """The programs at work beside a cluster."""

    cluster: Cluster
    directory: Path

    def proxied(self, section: str) -> set[str]:
        """The servers that HAProxy sends a section's clients to."""
        with socket.socket(socket.AF_UNIX) as line:
            line.connect(str(self.directory / "haproxy.sock"))
            line.sendall(b"show stat\n")
            text = b"".join(iter(lambda: line.recv(65536), b"")).decode()
        rows = csv.DictReader(io.StringIO(text.removeprefix("# ")))
        known = {node.name for node in self.cluster.nodes}
        up = {row["svname"] for row in rows if row["pxname"] == section and row["status"].startswith("UP")}
        return up & known

    def measured(self, query: str) -> Mapping[str, float]:
        """Prometheus' answer, by node."""
        path = f"/api/v1/query?query={quote(query)}"
        reply = request(self.cluster.client, "127.0.0.1", PROMETHEUS, "GET", path)
        if reply.status != 200:
            return {}
        return {one["metric"].get("instance", ""): float(one["value"][1]) for one in reply.json["data"]["result"]}

    def holders(self) -> list[Node]:
        """The hosts that have the virtual address."""
        return [node for node in self.cluster.nodes if _has_address(node)]


def _has_address(node: Node) -> bool:
    with node.host.inside(), contextlib.suppress(OSError), socket.socket() as one:
        one.bind((ADDRESS, 0))
        return True
    return False


def _vip_managers(cluster: Cluster, directory: Path) -> list[Process]:
    binary = place() / "vip-manager/usr/bin/vip-manager"
    endpoints = ",".join(f"http://{endpoint}" for endpoint in cluster.etcd.endpoints)
    made = []
    for node in cluster.nodes:
        argv = [
            str(binary),
            f"--ip={ADDRESS}",
            "--netmask=24",
            "--interface=eth0",
            f"--trigger-key=/service/{cluster.settings.scope}/leader",
            f"--trigger-value={node.name}",
            "--dcs-type=etcd",
            f"--dcs-endpoints={endpoints}",
            "--interval=200",
        ]
        made.append(Process(node.host.command(argv), directory / f"vip-{node.name}.log"))
    return made


def _haproxy(cluster: Cluster, directory: Path) -> Process:
    lines = ["global", f"  stats socket {directory}/haproxy.sock", "defaults", "  mode tcp"]
    lines += [f"  timeout {name} 30s" for name in ("client", "server", "connect", "check")]
    for section, (option, check) in FIELD.items():
        check = check if "port" in check else f"check port 8008 {check}"
        lines += [f"listen {section}", f"  bind *:{PORTS[section]}", f"  {option}", "  http-check expect status 200"]
        lines += [f"  server {node.name} {node.place.address}:5432 maxconn 100 {check}" for node in cluster.nodes]
    file = directory / "field.cfg"
    file.write_text("\n".join(lines) + "\n")
    argv = cluster.client.command([program("haproxy"), "-db", "-f", str(file)])
    return Process(argv, directory / "haproxy.log")


def _prometheus(cluster: Cluster, directory: Path) -> Process:
    targets = ", ".join(f"'{node.place.address}:8008'" for node in cluster.nodes)
    names = "".join(
        f"    - {{source_labels: [__address__], regex: '{re.escape(node.place.address)}:.*', target_label: instance, "
        f"replacement: {node.name}}}\n"
        for node in cluster.nodes
    )
    file = directory / "prometheus.yml"
    file.write_text(
        "global: {scrape_interval: 1s, scrape_timeout: 1s}\n"
        "scrape_configs:\n"
        f"  - job_name: ha\n    static_configs: [{{targets: [{targets}]}}]\n    relabel_configs:\n{names}"
    )
    listen, data = f"--web.listen-address=127.0.0.1:{PROMETHEUS}", f"--storage.tsdb.path={directory}/prometheus"
    argv = cluster.client.command([program("prometheus"), f"--config.file={file}", listen, data])
    return Process(argv, directory / "prometheus.log")


@pytest.fixture(scope="module")
def at_work(shared: Shared) -> Iterator[Followers]:
    """All of them, started side by side."""
    cluster = shared.whole()
    directory = cluster.home / "followers"
    directory.mkdir()
    directory.chmod(0o755)
    processes = [*_vip_managers(cluster, directory), _haproxy(cluster, directory), _prometheus(cluster, directory)]
    try:
        for process in processes:
            process.start()
        yield Followers(cluster, directory)
    finally:
        for process in processes:
            process.kill()


@pytest.fixture
def followers(at_work: Followers, cluster: Cluster) -> Followers:
    """Beside a cluster that is whole; it must still be the one they were started beside."""
    assert cluster is at_work.cluster, "another cluster took the place of the first, which was not whole any more"
    return at_work


def _in_recovery(cluster: Cluster, host: str, port: int = 5432) -> object:
    """What PostgreSQL there says, in a row; OSError when it lets nobody in."""
    try:
        with (
            cluster.client.inside(),
            psycopg.connect(host=host, port=port, user=OBSERVER, dbname="postgres", connect_timeout=5) as connection,
        ):
            return connection.execute("SELECT pg_is_in_recovery()").fetchone()
    except psycopg.OperationalError as error:
        raise OSError(str(error)) from error


def _agree(followers: Followers, primary: Node, timeout_s: float = 30) -> None:
    standbys = {node.name for node in followers.cluster.nodes} - {primary.name}
    wait_until(lambda: followers.holders() == [primary], f"the address on {primary.name} alone", timeout_s)
    for section, expected in (("by_options", {primary.name}), ("by_lag", standbys), ("by_port", {primary.name})):
        wait_until(lambda s=section, e=expected: followers.proxied(s) == e, f"{expected} in {section}", timeout_s)  # type: ignore[misc]
    leads = {name: float(name == primary.name) for name in {primary.name, *standbys}}
    wait_until(lambda: followers.measured("patroni_primary") == leads, f"{primary.name} in patroni_primary", timeout_s)


def test_they_find_the_leader(followers: Followers, cluster: Cluster) -> None:
    """The address leads to the primary, each section of HAProxy to the right servers, and every metric is there."""
    primary = cluster.primary()
    _agree(followers, primary)
    assert wait_until(lambda: _in_recovery(cluster, ADDRESS), "an answer at the address", 10) == (False,)
    by_lag = PORTS["by_lag"]
    assert wait_until(lambda: _in_recovery(cluster, "127.0.0.1", by_lag), "an answer by HAProxy", 10) == (True,)
    everybody = {node.name for node in cluster.nodes}

    def measured_of(query: str, names: set[str]) -> None:
        # A scrape that took more than its second leaves its node out until the next.
        wait_until(lambda: set(followers.measured(query)) == names, f"{query} of {sorted(names)}", 15)

    measured_of("up == 1", everybody)
    for name in METRICS:
        measured_of(f'{name}{{scope="{cluster.settings.scope}"}}', everybody)
    measured_of("patroni_postgres_state == 5", everybody)
    measured_of("patroni_postgres_streaming == 1", everybody - {primary.name})
    measured_of("patroni_version >= 40100", everybody)


def test_they_follow_a_switchover(followers: Followers, cluster: Cluster, patronictl: Patronictl) -> None:
    """Fault 95: a session on the old primary is closed, and all find the new one."""
    old, new = cluster.primary(), cluster.standbys()[0]
    _agree(followers, old)
    with cluster.client.inside():
        session = psycopg.connect(
            host="127.0.0.1",
            port=PORTS["by_options"],
            user=OBSERVER,
            password=PASSWORD,
            dbname="postgres",
            autocommit=True,
        )
    with contextlib.closing(session):
        patronictl("switchover", "--leader", old.name, "--candidate", new.name, "--force")
        switched_at = now()
        with pytest.raises(psycopg.OperationalError):
            session.execute("SELECT 1")
    cluster.wait_whole()
    _agree(followers, new)
    print(f"all follow {now() - switched_at:.1f} s after the switchover")


def test_a_standby_that_is_far_behind_gets_no_reads(followers: Followers, cluster: Cluster) -> None:
    """Fault 102: more than 10 MB not replayed: out of the section, and in again after three good checks in a row."""
    primary, late, near = cluster.primary(), *cluster.standbys()
    _agree(followers, primary)
    late.sql("SELECT pg_wal_replay_pause()")
    try:
        primary.sql("CREATE TABLE ballast AS SELECT repeat(md5(i::text), 40) FROM generate_series(1, 12000) AS i")
        wait_until(lambda: followers.proxied("by_lag") == {near.name}, f"{late.name} out of by_lag", 30)
    finally:
        late.sql("SELECT pg_wal_replay_resume()")
        primary.sql("DROP TABLE IF EXISTS ballast")
    wait_until(lambda: followers.proxied("by_lag") == {late.name, near.name}, f"{late.name} back in by_lag", 30)


def _withstands_a_storm(cluster: Cluster, leader: Node) -> None:
    """Fault 100: ten times max_connections come at once; the leader keeps its key and answers its checks."""
    startup = b"\0\3\0\0user\0" + OBSERVER.encode() + b"\0database\0postgres\0\0"
    before, slowest = cluster.key("leader"), 0.0
    with contextlib.ExitStack() as stack:
        for number in range(10 * int(leader.sql("SHOW max_connections")[0][0])):
            with cluster.client.inside(), contextlib.suppress(OSError):
                one = stack.enter_context(socket.create_connection((ADDRESS, 5432), timeout=1))
                one.sendall((len(startup) + 4).to_bytes(4) + startup)
            if number % 50 == 0:
                asked_at = now()
                assert leader.rest("GET", "/primary", timeout_s=cluster.settings.ttl).status == 200
                slowest = max(slowest, now() - asked_at)
    after = cluster.key("leader")
    assert before is not None
    assert after is not None
    assert after.create_revision == before.create_revision
    assert slowest < cluster.settings.ttl - 1, f"GET /primary took {slowest:.2f} s in the storm"


def test_the_address_leaves_a_leader_whose_agent_died(followers: Followers, cluster: Cluster) -> None:
    """Fault 98: the guard ends PostgreSQL, the key goes to another, and the address with it.

    Two hosts may have it for a moment: each vip-manager hears of the key by itself. By then the old one has no
    PostgreSQL any more that could answer there.
    """
    old = cluster.primary()
    wait_until(lambda: followers.holders() == [old], f"the address on {old.name}", 15)
    old.kill_agent()
    killed_at = looked_at = now()
    on_both_s = 0.0

    def moved() -> bool:
        nonlocal looked_at, on_both_s
        holders, before, looked_at = followers.holders(), looked_at, now()
        on_both_s += looked_at - before if len(holders) > 1 else 0.0
        return len(holders) == 1 and holders != [old]

    wait_until(moved, f"the address on another node than {old.name}", cluster.settings.ttl * 3, 0.02)
    new = cluster.primary_seen_by_clients(15, other_than=old)
    assert followers.holders() == [new]
    _withstands_a_storm(cluster, new)
    # The sessions of the storm end when PostgreSQL notices that their clients have gone.
    assert wait_until(lambda: _in_recovery(cluster, ADDRESS), "room for a client after the storm", 15) == (False,)
    assert on_both_s < 3, f"two hosts had the address for {on_both_s:.2f} s"
    print(f"the address moved {now() - killed_at:.1f} s after the agent's death")
