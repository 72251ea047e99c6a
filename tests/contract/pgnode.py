"""Nodes for the tests of the Postgres port: the adapter on a data directory of its own, run as an ordinary user."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import psycopg

from haagent.core.facts import PostgresFacts, Progress, ServerConfig, Upstream
from haagent.postgres.adapter import PostgresAdapter
from haagent.postgres.process import serving
from haagent.postgres.settings import Login, PostgresSettings
from tests.real.programs import postgres_bin

USER = "postgres"
SUPERUSER = Login("postgres", "super:secret\\1")
REPLICATION = Login("replicator", "copy:secret 2")
REWIND = Login("rewinder", "rewind'secret3")
SECRETS = tuple(login.password or "" for login in (SUPERUSER, REPLICATION, REWIND))
AGENTS: list[PostgresAdapter] = []
"""All that were made, to be closed at the end of a test."""


@contextlib.contextmanager
def ordinary_user() -> Iterator[None]:
    """Become ``postgres`` while inside, as PostgreSQL refuses root; nothing to do for whoever is not root."""
    if os.geteuid() != 0:
        yield
        return
    user = pwd.getpwnam(USER)
    groups, home = os.getgroups(), os.environ.get("HOME", "/root")
    os.initgroups(USER, user.pw_gid)
    os.setresgid(user.pw_gid, user.pw_gid, 0)
    os.setresuid(user.pw_uid, user.pw_uid, 0)
    os.environ["HOME"] = user.pw_dir
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)
        os.setresgid(0, 0, 0)
        os.setgroups(groups)
        os.environ["HOME"] = home


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(eq=False)
class PgNode:
    """An adapter, the configuration it is asked for, and what it told."""

    name: str
    home: Path
    settings: PostgresSettings
    config: ServerConfig
    adapter: PostgresAdapter = field(init=False)
    progress: list[Progress] = field(default_factory=list)
    ends: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.adapter = self.agent()

    def agent(self) -> PostgresAdapter:
        """A newly started agent's adapter on the same directory."""
        adapter = PostgresAdapter(self.settings, self.kill)
        adapter.on_end(self.ends.append)
        AGENTS.append(adapter)
        return adapter

    async def kill(self) -> int:
        """The guard's part: SIGKILL to all processes of the data directory."""
        pids = serving(self.settings.data_dir)
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return len(pids)

    @property
    def upstream(self) -> Upstream:
        return Upstream(self.name, "127.0.0.1", self.settings.port)

    def following(self, other: PgNode, slot: str | None = None) -> ServerConfig:
        return replace(self.config, upstream=other.upstream, slot_name=slot)

    async def connect(self, login: Login = SUPERUSER) -> psycopg.AsyncConnection[tuple[object, ...]]:
        return await psycopg.AsyncConnection.connect(
            host="127.0.0.1",
            port=self.settings.port,
            dbname="postgres",
            user=login.username,
            password=login.password,
            autocommit=True,
        )

    async def sql(self, statement: str) -> list[tuple[object, ...]]:
        async with await self.connect() as connection:
            cursor = await connection.execute(statement.encode())
            return [] if cursor.description is None else await cursor.fetchall()

    async def until(self, holds: Callable[[PostgresFacts], bool], timeout: float = 20.0) -> PostgresFacts:
        """Probe until something holds; AssertionError with the last facts when it never does."""
        facts = await self.adapter.probe(2.0)
        deadline = asyncio.get_running_loop().time() + timeout
        while not holds(facts):
            assert asyncio.get_running_loop().time() < deadline, facts
            await asyncio.sleep(0.03)
            facts = await self.adapter.probe(2.0)
        return facts

    async def until_shows(self, name: str, value: str, timeout: float = 20.0) -> None:
        """Wait until the server obeys a setting: it reads its files anew in its own time."""
        async with asyncio.timeout(timeout):
            while await self.sql(f"SHOW {name}") != [(value,)]:
                await asyncio.sleep(0.03)

    async def stop(self) -> None:
        await self.adapter.stop("fast")
        await self.until(lambda facts: facts.postmaster is None)


def a_node(home: Path, name: str, **changes: object) -> PgNode:
    """A node below ``home`` with passwords for all roles and little WAL, synced to no disk."""
    place = home / name
    place.mkdir(mode=0o700)
    settings = PostgresSettings(
        data_dir=place / "data",
        state_dir=place / "state",
        bin_dir=bin_dir(),
        cluster_name="contract",
        listen_addresses="127.0.0.1",
        port=free_port(),
        unix_socket_directories=(str(place),),
        superuser=SUPERUSER,
        replication=REPLICATION,
        rewind=REWIND,
        initdb=(("data-checksums", None), ("encoding", "UTF8"), ("wal-segsize", "1"), ("no-sync", None)),
        basebackup=(("no-sync", None),),
        rewind_options=(("no-sync", None),),
        server_log=place / "log",
    )
    parameters: Mapping[str, str] = {"shared_buffers": "16MB", "fsync": "off", "max_connections": "20"}
    config = ServerConfig(application_name=name, parameters=parameters)
    return PgNode(name, place, replace(settings, **changes), config)  # type: ignore[arg-type]


def bin_dir() -> Path:
    """The programs of HAAGENT_TEST_POSTGRES_BIN, else of the newest PostgreSQL on this machine."""
    given = os.environ.get("HAAGENT_TEST_POSTGRES_BIN")
    return Path(given) if given else postgres_bin()


def without_checksums() -> tuple[tuple[str, str | None], ...]:
    """The options of initdb for a cluster without data checksums, which are the default from version 18 on."""
    told = subprocess.run([bin_dir() / "postgres", "--version"], capture_output=True, text=True, check=True, timeout=10)
    newer = int(told.stdout.split()[2].split(".")[0]) >= 18
    return (("no-sync", None), ("wal-segsize", "1"), *((("no-data-checksums", None),) if newer else ()))


@contextlib.asynccontextmanager
async def a_home() -> AsyncIterator[Path]:
    """A directory for nodes; afterwards their servers are ended, their agents closed, and it is gone."""
    home = Path(tempfile.mkdtemp(prefix="haagent-pg-", dir="/tmp"))
    try:
        yield home
    finally:
        for data_dir in home.glob("*/data*"):
            for pid in serving(data_dir):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        await asyncio.sleep(0.02)
        while AGENTS:
            await AGENTS.pop().close()
        shutil.rmtree(home, ignore_errors=True)


@contextlib.contextmanager
def as_root() -> Iterator[None]:
    """Root again for a moment, inside ``ordinary_user``."""
    user = os.geteuid()
    os.setresuid(0, 0, 0)
    try:
        yield
    finally:
        os.setresuid(user, user, 0)


@contextlib.contextmanager
def tmpfs(at: Path, options: str) -> Iterator[Callable[[str], None]]:
    """A small file system of its own at a directory; what is given can change its size."""
    stat = at.stat()
    owner = f"uid={stat.st_uid},gid={stat.st_gid},mode=700"

    def mount(*words: str) -> None:
        with as_root():
            subprocess.run(["mount", *words, str(at)], check=True, timeout=10)

    mount("-t", "tmpfs", "-o", f"{owner},{options}", "tmpfs")
    try:
        yield lambda changed: mount("-o", f"remount,{changed}")
    finally:
        with as_root():
            subprocess.run(["umount", "-l", str(at)], check=True, timeout=10)
