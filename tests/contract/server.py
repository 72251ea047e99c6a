"""A real PostgreSQL server under test, with a load on it, made from one template so that each test has its own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import LiteralString

import psycopg
from psycopg.rows import TupleRow

from haagent.guard import tree
from tests.real import programs
from tests.real.hosts import as_user
from tests.real.processes import signal_all
from tests.real.waiting import wait_until

USER = "postgres"
PORT = 54321


def postgres_bin() -> Path:
    """The PostgreSQL under test: HAAGENT_TEST_POSTGRES_BIN, or the newest one installed."""
    given = os.environ.get("HAAGENT_TEST_POSTGRES_BIN")
    return Path(given) if given else programs.postgres_bin()


def place() -> Path:
    """A new directory that belongs to the user PostgreSQL runs as."""
    path = Path(tempfile.mkdtemp(prefix="haagent-contract-"))
    if os.geteuid() == 0:
        shutil.chown(path, USER, USER)
    return path


@dataclass
class Server:
    """A data directory and the postmaster on it; clients come through a Unix socket beside it."""

    home: Path
    bin_dir: Path = field(default_factory=postgres_bin)
    children: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        """Its clients know where to connect, and a PostgreSQL in a place of its own finds its own libpq."""
        place = {"PGHOST": str(self.home), "PGPORT": str(PORT), "PGUSER": USER}
        return {"PATH": os.environ["PATH"], "LD_LIBRARY_PATH": str(self.bin_dir.parent / "lib"), **place}

    @property
    def data_dir(self) -> Path:
        return self.home / "data"

    @property
    def log(self) -> Path:
        return self.home / "log"

    def spawn(self, program: str, *arguments: str) -> subprocess.Popen[bytes]:
        """Start one of PostgreSQL's programs as its user; ended with the server."""
        with self.log.open("ab") as out:
            child = subprocess.Popen(
                as_user([str(self.bin_dir / program), *arguments], USER),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                cwd=self.home,
                env=self.environment,
                start_new_session=True,
            )
        self.children.append(child)
        return child

    def run(self, program: str, *arguments: str) -> None:
        """Run one of PostgreSQL's programs to its end; AssertionError with its output when it fails."""
        code = self.spawn(program, *arguments).wait(120)
        assert code == 0, f"{program} {arguments} ended with {code}: {self.log.read_text()[-3000:]}"

    def initialize(self, *options: str) -> None:
        self.run(
            "initdb", "-D", str(self.data_dir), "-A", "trust", "-U", USER, "-N", "-E", "UTF8", "--no-locale", *options
        )

    def configure(self, settings: Mapping[str, str]) -> None:
        with (self.data_dir / "postgresql.conf").open("a") as file:
            file.writelines(f"{name} = '{value}'\n" for name, value in settings.items())

    def start(self, *, answering: bool = True) -> int:
        """Start the postmaster and, unless told otherwise, wait until it answers; its process id."""
        for child in self.children:
            child.poll()  # a dead postmaster that nobody has reaped still counts as running to its lock file
        common = ("-c", f"unix_socket_directories={self.home}", "-c", "listen_addresses=", "-c", f"port={PORT}")
        child = self.spawn("postgres", "-D", str(self.data_dir), *common)
        if answering:
            wait_until(lambda: self._answers(child), f"PostgreSQL in {self.data_dir} to answer", 30, 0.05)
        return child.pid

    def stop(self, mode: signal.Signals = signal.SIGINT) -> None:
        """A fast shutdown, or the mode that the signal means."""
        os.kill(self.postmaster, mode)
        wait_until(lambda: not self.members(), "PostgreSQL to stop", 30, 0.02)

    def reload(self) -> None:
        """Have the configuration read again."""
        os.kill(self.postmaster, signal.SIGHUP)

    @property
    def postmaster(self) -> int:
        return int((self.data_dir / "postmaster.pid").read_text().split()[0])

    def connect(self) -> psycopg.Connection[TupleRow]:
        """A client that commits each statement by itself."""
        return psycopg.connect(host=str(self.home), port=PORT, user=USER, dbname=USER, autocommit=True)

    def sql(self, query: LiteralString) -> list[TupleRow]:
        """What a query answers, over a connection of its own."""
        with self.connect() as client:
            cursor = client.execute(query)
            return cursor.fetchall() if cursor.description else []

    def load(self, clients: int, seconds: int = 60) -> subprocess.Popen[bytes]:
        """Clients that commit as fast as they can."""
        load = self.spawn("pgbench", *f"-n -N -c {clients} -j 1 -T {seconds} postgres".split())
        wait_until(lambda: len(self.members()) >= clients + 5, "the load to have begun", 30)
        return load

    def members(self) -> set[int]:
        """All processes of the data directory."""
        return tree.members(str(self.data_dir))[0]

    def end(self) -> None:
        """Leave nothing behind."""
        signal_all(self.members(), signal.SIGKILL)
        for child in self.children:
            if child.poll() is None:
                child.kill()
            child.wait(10)
        shutil.rmtree(self.home, ignore_errors=True)

    def _answers(self, child: subprocess.Popen[bytes]) -> bool:
        assert child.poll() is None, f"PostgreSQL ended with {child.poll()}: {self.log.read_text()[-3000:]}"
        return subprocess.run([self.bin_dir / "pg_isready", "-q"], check=False, env=self.environment).returncode == 0


@contextmanager
def template() -> Iterator[Path]:
    """A stopped data directory with pgbench's tables."""
    server = Server(place())
    try:
        server.initialize()
        server.configure({"fsync": "off", "shared_buffers": "32MB", "max_connections": "30"})
        server.start()
        server.run("pgbench", "-i", "-q", "postgres")
        server.stop()
        yield server.data_dir
    finally:
        server.end()


@contextmanager
def copy_of(data_dir: Path) -> Iterator[Server]:
    """A server of its own on a copy of a template."""
    server = Server(place())
    try:
        subprocess.run(["cp", "-a", str(data_dir), str(server.data_dir)], check=True)
        yield server
    finally:
        server.end()
