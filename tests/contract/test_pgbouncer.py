"""The real PgBouncer with the project's configuration, before ports where nobody or somebody answers."""

from __future__ import annotations

import os
import re
import shutil
import socket
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import psycopg
import pytest

from tests.contract.ports import free_ports
from tests.real.hosts import as_user
from tests.real.processes import Process
from tests.real.programs import program
from tests.real.waiting import now, wait_until

SAMPLE = Path(__file__).parents[2] / "config" / "pgbouncer.ini"
USER, PASSWORD = "postgres", "only-for-trials"


@dataclass
class Pool:
    """A PgBouncer on this port, and where it looks for the primary."""

    port: int
    writes: int

    def listens(self) -> bool:
        with socket.create_connection(("127.0.0.1", self.port), 1):
            return True

    def connect(self, database: str) -> psycopg.Connection[tuple[object, ...]]:
        where = f"host=127.0.0.1 port={self.port} user={USER} password={PASSWORD} dbname={database}"
        return psycopg.connect(where, autocommit=True, connect_timeout=10, cursor_factory=psycopg.ClientCursor)


@pytest.fixture
def pool() -> Iterator[Pool]:
    port, writes, reads = free_ports(3)
    directory = Path(tempfile.mkdtemp(prefix="haagent-pgbouncer-", dir="/tmp"))
    text = SAMPLE.read_text()
    for place in ("/run/postgresql", "/var/log/postgresql", "/etc/pgbouncer"):
        text = text.replace(place, str(directory))
    for old, new in ((6432, port), (5000, writes), (5001, reads)):
        text = re.sub(rf"\b{old}\b", str(new), text)
    (directory / "pgbouncer.ini").write_text(text)
    (directory / "userlist.txt").write_text(f'"{USER}" "{PASSWORD}"\n')
    if os.geteuid() == 0:
        for path in (directory, *directory.iterdir()):
            shutil.chown(path, "postgres", "postgres")
    argv = as_user([program("pgbouncer"), str(directory / "pgbouncer.ini")], "postgres")
    process = Process(argv, directory / "out.log")
    process.start()
    try:
        one = Pool(port, writes)
        wait_until(one.listens, "PgBouncer listens", 10)
        yield one
    finally:
        process.kill()
        shutil.rmtree(directory)


def test_it_takes_every_setting_as_written(pool: Pool) -> None:
    section = SAMPLE.read_text().split("[pgbouncer]")[1]
    written = dict(re.findall(r"^(\w+) = (.+)$", section, re.MULTILINE))
    with pool.connect("pgbouncer") as connection:
        in_force = {str(row[0]): str(row[1]) for row in connection.execute("SHOW CONFIG").fetchall()}
        databases = {str(row[0]) for row in connection.execute("SHOW DATABASES").fetchall()}
    moved = {"listen_port", "unix_socket_dir", "logfile", "pidfile", "auth_file"}
    assert {name: in_force[name] for name in written if name not in moved} == {
        name: value for name, value in written.items() if name not in moved
    }
    assert "postgres_ro" in databases


def test_a_client_waits_for_a_primary_and_the_server_is_looked_for_twice_a_second(pool: Pool) -> None:
    """Fault 99: clients wait by themselves: no agent pauses the pool, so that none can die before it resumes it."""
    ends: list[str] = []

    def client() -> None:
        try:
            pool.connect("app").close()
        except psycopg.OperationalError as error:
            ends.append(str(error))

    waiting = threading.Thread(target=client)
    with socket.create_server(("127.0.0.1", pool.writes)) as primary:
        primary.settimeout(10)
        waiting.start()
        tried = []
        for _ in range(4):
            # As HAProxy does while there is no primary: accept, and close.
            primary.accept()[0].close()
            tried.append(now())
        assert waiting.is_alive(), f"the client was not kept waiting: {ends}"
    waiting.join(30)
    assert min(later - earlier for earlier, later in pairwise(tried)) < 2.0, tried
    assert "timeout" in ends[0], "it was the client who gave up"
