"""SQL to the local server over one kept connection, which goes on working when no new one would be let in."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, LiteralString

import psycopg
from psycopg.rows import DictRow, dict_row

from haagent.core.facts import Process
from haagent.postgres.process import PidFile
from haagent.postgres.settings import PostgresSettings

Connection = psycopg.AsyncConnection[DictRow]
GUC = (
    "-c statement_timeout=5s -c lock_timeout=0 -c synchronous_commit=local -c search_path=pg_catalog "
    "-c idle_session_timeout=0"
)
"""What operators set for roles and databases is not meant for the agent."""
EVERYWHERE = {"*": "localhost", "0.0.0.0": "127.0.0.1", "::": "::1"}


@dataclass(frozen=True, slots=True)
class Address:
    """Where the local server answers; the process is part of it, since a new postmaster means a new connection."""

    process: Process
    host: str
    port: int


def address_of(settings: PostgresSettings, process: Process, pid_file: PidFile | None) -> Address:
    """Where a postmaster answers, by what it wrote into postmaster.pid; by the settings until then."""
    port = (pid_file.port if pid_file else 0) or settings.port
    socket_dir = pid_file.socket_dir if pid_file else next(iter(settings.unix_socket_directories), "")
    listen = (pid_file.listen_address if pid_file else "") or settings.listen_addresses.partition(",")[0].strip()
    host = EVERYWHERE.get(listen, listen)
    if socket_dir and (settings.by_socket or not host):
        host = socket_dir
    return Address(process, host or "localhost", port)


def conninfo_of(settings: PostgresSettings, address: Address, dbname: str = "postgres") -> dict[str, str]:
    """Connection parameters of the superuser at an address."""
    words = {"sslmode": "prefer", **settings.superuser.conninfo()}
    if address.host.startswith(("/", "@")):
        words["sslmode"] = "disable"
    return {
        **words,
        "host": address.host,
        "port": str(address.port),
        "dbname": dbname,
        "application_name": "haagent",
        "client_encoding": "UTF8",
        "options": GUC,
    }


async def connect(conninfo: Mapping[str, str], timeout: float) -> Connection:
    """Open an autocommit connection within ``timeout`` seconds; psycopg.Error or TimeoutError."""
    async with asyncio.timeout(timeout):
        words: dict[str, Any] = dict(conninfo)
        return await psycopg.AsyncConnection.connect(autocommit=True, row_factory=dict_row, **words)


class Client:
    """The kept connection. One statement at a time; one that overruns is left behind to end by itself."""

    def __init__(self) -> None:
        self._connection: Connection | None = None
        self._address: Address | None = None
        self._turn = asyncio.Lock()
        self._overrun: asyncio.Task[list[DictRow]] | None = None

    @property
    def server_version(self) -> int:
        """server_version_num of the server last connected to; 0 before that."""
        return 0 if self._connection is None else self._connection.info.server_version

    async def fetch(
        self,
        settings: PostgresSettings,
        address: Address,
        sql: LiteralString,
        parameters: Sequence[Any] = (),
        *,
        timeout: float,
    ) -> list[DictRow]:
        """Rows of one statement; psycopg.Error, or TimeoutError after ``timeout`` seconds.

        It must bear repetition: it is sent once more over a new connection when the kept one turns out to be lost.
        """
        async with asyncio.timeout(timeout), self._turn:
            if self._overrun is not None:
                await asyncio.wait((self._overrun,))
                self._overrun = None
            work = asyncio.create_task(self._fetch(settings, address, sql, parameters, timeout))
            try:
                return await asyncio.shield(work)
            except asyncio.CancelledError:
                self._leave_behind(work)
                raise

    def _leave_behind(self, work: asyncio.Task[list[DictRow]]) -> None:
        """Let an overrun end in the background: psycopg asks the server to cancel, then gives up within seconds."""
        self._overrun = work
        work.add_done_callback(lambda done: done.cancelled() or done.exception())
        work.cancel()

    async def _fetch(
        self,
        settings: PostgresSettings,
        address: Address,
        sql: LiteralString,
        parameters: Sequence[Any],
        timeout: float,
    ) -> list[DictRow]:
        kept = self._connection
        connection = await self._connected(settings, address, timeout)
        try:
            return await _rows(connection, sql, parameters)
        except psycopg.OperationalError:
            if not (connection.broken or connection.closed) or connection is not kept:
                raise
        return await _rows(await self._connected(settings, address, timeout), sql, parameters)

    async def _connected(self, settings: PostgresSettings, address: Address, timeout: float) -> Connection:
        kept = self._connection
        if kept is not None and self._address == address and not (kept.closed or kept.broken):
            return kept
        await self.close()
        self._connection = await connect(conninfo_of(settings, address), timeout)
        self._address = address
        return self._connection

    async def close(self) -> None:
        """Give the connection up."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(psycopg.Error):
                await connection.close()


async def _rows(connection: Connection, sql: LiteralString, parameters: Sequence[Any]) -> list[DictRow]:
    async with connection.cursor() as cursor:
        await cursor.execute(sql, parameters or None, prepare=not parameters)
        return [] if cursor.description is None else await cursor.fetchall()


def told(error: BaseException) -> str:
    """An error of libpq or the server in one line."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return " ".join(str(error).split()) or type(error).__name__
