"""Clients that write numbered rows without rest, each by its own route, and record every answer."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import psycopg
from psycopg import errors

from tests.real.hosts import Host
from tests.real.record import Attempt, Outcome, Record
from tests.real.waiting import now

OBSERVER = "observer"
TABLE = """
CREATE TABLE IF NOT EXISTS journal (number bigint PRIMARY KEY, route text NOT NULL);
DO $$ BEGIN CREATE ROLE observer LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
GRANT ALL ON journal TO observer;
"""
INSERT = """
INSERT INTO journal VALUES (%s, %s) RETURNING host(inet_server_addr()), inet_server_port(),
('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::int
"""
DEADLINES = {
    "connect_timeout": "2",
    "tcp_user_timeout": "1500",
    "keepalives_idle": "1",
    "keepalives_interval": "1",
    "keepalives_count": "2",
}
LEFT_OPEN = (errors.AdminShutdown, errors.CrashShutdown, errors.CannotConnectNow, errors.IdleSessionTimeout)


@dataclass(frozen=True)
class Route:
    """How a writer comes to the database."""

    name: str
    origin: Host
    conninfo: Mapping[str, str]
    keep: bool
    """Whether the connection is kept while it works; else each row has its own."""
    pause_s: float


def direct(name: str, origin: Host, address: str, port: int, pause_s: float = 0.02) -> Route:
    """Straight to one node, over a kept connection: the client that would notice a second primary."""
    conninfo = {"host": address, "port": str(port)}
    return Route(f"direct {name}", origin, conninfo, True, pause_s)


def outside(name: str, origin: Host, address: str, port: int, pause_s: float) -> Route:
    """As ``direct``, from another host: what a node that is cut off still tells a client who never left it."""
    return replace(direct(name, origin, address, port, pause_s), name=f"outside {name}")


def multihost(origin: Host, places: Sequence[tuple[str, int]], number: int, pause_s: float = 0.03) -> Route:
    """By libpq's list of hosts, of which it takes the first that is writable."""
    turned = [*places[number % len(places) :], *places[: number % len(places)]]
    conninfo = {
        "host": ",".join(address for address, _ in turned),
        "port": ",".join(str(port) for _, port in turned),
        "target_session_attrs": "read-write",
    }
    return Route(f"multihost {number}", origin, conninfo, False, pause_s)


def proxied(origin: Host, address: str, port: int, number: int, pause_s: float = 0.03) -> Route:
    """Through HAProxy's port for writes."""
    return Route(f"haproxy {number}", origin, {"host": address, "port": str(port)}, False, pause_s)


class Writer(threading.Thread):
    """One client; its thread lives on the host it writes from."""

    def __init__(self, route: Route, record: Record, names: Mapping[tuple[str, int], str]) -> None:
        super().__init__(name=f"writer {route.name}", daemon=True)
        self._route, self._record, self._names = route, record, names
        self._connection: psycopg.Connection[tuple[Any, ...]] | None = None
        self._ended = threading.Event()

    def run(self) -> None:
        """Write until asked to end."""
        with self._route.origin.inside():
            while not self._ended.is_set():
                self._record.attempts.append(self._attempt())
                self._ended.wait(self._route.pause_s)
            self._leave()

    def end(self) -> None:
        """Ask it to end; a write that hangs is cut off."""
        self._ended.set()
        self.join(3)
        connection = self._connection
        if self.is_alive() and connection is not None:
            with contextlib.suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(connection.fileno())) as line:
                line.shutdown(socket.SHUT_RDWR)
        self.join(5)

    def _attempt(self) -> Attempt:
        number, started_at, sent = self._record.next_number(), now(), False
        outcome, node, timeline, reason = Outcome.ACKNOWLEDGED, None, None, ""
        try:
            connection = self._connect()
            sent = True
            row = connection.execute(INSERT, (number, self._route.name)).fetchone()
            assert row is not None
            node, timeline = self._names.get((row[0], row[1])), row[2]
        except psycopg.Error as error:
            surely_not = not sent or (error.sqlstate is not None and not isinstance(error, LEFT_OPEN))
            outcome = Outcome.REFUSED if surely_not else Outcome.UNKNOWN
            reason = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        ended_at = now()
        if not self._route.keep or (self._connection is not None and self._connection.broken):
            self._leave()
        return Attempt(number, self._route.name, started_at, ended_at, outcome, node, timeline, reason)

    def _connect(self) -> psycopg.Connection[tuple[Any, ...]]:
        if self._connection is None or self._connection.closed:
            options = {**DEADLINES, **self._route.conninfo, "user": OBSERVER, "dbname": "postgres"}
            self._connection = psycopg.connect(**options, autocommit=True, prepare_threshold=None)  # type: ignore[arg-type]
        return self._connection

    def _leave(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(psycopg.Error):
                self._connection.close()
            self._connection = None


class Writers:
    """All writers of a trial; a context manager."""

    def __init__(self, routes: Sequence[Route], names: Mapping[tuple[str, int], str]) -> None:
        self.record = Record()
        self._writers = [Writer(route, self.record, names) for route in routes]

    def __enter__(self) -> Record:
        for writer in self._writers:
            writer.start()
        return self.record

    def __exit__(self, *_: object) -> None:
        for writer in self._writers:
            writer.end()
