"""Questions to another server, over the replication protocol: who it is, its history, a slot for a clone."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from haagent.core.facts import HistoryLine, Upstream
from haagent.core.terms import Lsn, SystemId, Timeline
from haagent.core.timelines import History, history_of, parse_history
from haagent.ports import Refused, Unreachable
from haagent.postgres.settings import Login, PostgresSettings
from haagent.postgres.sql import told

ASK_TIMEOUT_S = 10.0
RESERVE_TRIES = 5
"""The source's own agent makes the slot of a member that it has heard of at the same moment."""


@dataclass(frozen=True, slots=True)
class Identity:
    """IDENTIFY_SYSTEM of another server, and whether it is in recovery."""

    system_id: SystemId
    timeline: Timeline
    lsn: Lsn
    in_recovery: bool


def conninfo_of(source: Upstream, login: Login) -> dict[str, str]:
    """libpq keywords, secrets included, that lead to another server."""
    words = {"sslmode": "prefer", **login.conninfo()}
    if len(source.hosts) > 1:
        words["target_session_attrs"] = "read-write"
    return {
        **words,
        "host": source.host,
        "port": str(source.port),
        "application_name": "haagent",
        "connect_timeout": "5",
    }


class Asked:
    """An open replication connection to another server."""

    def __init__(self, connection: psycopg.AsyncConnection[Any], source: Upstream) -> None:
        self._connection = connection
        self._source = source

    async def identify(self) -> Identity:
        """Source: manual, "Streaming Replication Protocol", IDENTIFY_SYSTEM."""
        cursor = psycopg.AsyncClientCursor(self._connection)
        await cursor.execute("IDENTIFY_SYSTEM")
        result = cursor.pgresult
        assert result is not None
        system_id, timeline, position = ((result.get_value(0, n) or b"").decode() for n in range(3))
        in_recovery = self._connection.info.parameter_status("in_hot_standby") == "on"
        return Identity(SystemId(system_id), Timeline(int(timeline)), Lsn.parse(position), in_recovery)

    async def history(self, timeline: Timeline) -> History:
        """The history of a timeline that the other server knows; the first one has none."""
        if timeline == 1:
            return History(timeline)
        cursor = psycopg.AsyncClientCursor(self._connection)
        await cursor.execute(sql.SQL("TIMELINE_HISTORY {}").format(sql.Literal(int(timeline))))
        raw = cursor.pgresult.get_value(0, 1) if cursor.pgresult is not None else None
        if raw is None:
            raise Refused(f"{self._source.name} sent no history of timeline {timeline}")
        try:
            return history_of(timeline, parse_history(raw.decode(errors="replace")))
        except ValueError as error:
            raise Refused(f"{self._source.name} sent a history that cannot be read: {error}") from error

    async def reserve(self, slot: str) -> None:
        """A fresh physical slot that holds WAL from now on; one left from before is replaced unless it is in use."""
        cursor = psycopg.AsyncClientCursor(self._connection)
        create = sql.SQL("CREATE_REPLICATION_SLOT {} PHYSICAL RESERVE_WAL").format(sql.Identifier(slot))
        for _ in range(RESERVE_TRIES):
            with contextlib.suppress(psycopg.errors.DuplicateObject):
                await cursor.execute(create)
                return
            await self.drop(slot)
        raise Refused(f"{self._source.name} has a slot {slot} again as soon as it is dropped: somebody else makes it")

    async def drop(self, slot: str) -> None:
        """Drop a physical slot, if it is there."""
        cursor = psycopg.AsyncClientCursor(self._connection)
        with contextlib.suppress(psycopg.errors.UndefinedObject):
            await cursor.execute(sql.SQL("DROP_REPLICATION_SLOT {}").format(sql.Identifier(slot)))


@asynccontextmanager
async def asking(settings: PostgresSettings, source: Upstream) -> AsyncIterator[Asked]:
    """Ask another server as the replication role; Unreachable when there is no connection, Refused when it refuses."""
    words = conninfo_of(source, settings.replication)
    try:
        async with asyncio.timeout(ASK_TIMEOUT_S):
            connection = await psycopg.AsyncConnection.connect(
                **words,  # type: ignore[arg-type]
                replication="true",
                autocommit=True,
            )
    except (psycopg.Error, TimeoutError, OSError) as error:
        where = f"{source.name} ({source.host}:{source.port})"
        raise Unreachable(f"no replication connection to {where}: {told(error)}") from error
    try:
        async with asyncio.timeout(ASK_TIMEOUT_S):
            yield Asked(connection, source)
    except (psycopg.Error, TimeoutError) as error:
        raise Refused(f"{source.name} did not answer as needed: {told(error)}") from error
    finally:
        await connection.close()


def known_lines(history: History, timeline: Timeline) -> tuple[HistoryLine, ...] | None:
    """The history of an ancestor, as a descendant's history tells it; None when it is no ancestor."""
    if timeline not in (known for known, _ in history.path()):
        return None
    return tuple(line for line in history.lines if line.timeline < timeline)
