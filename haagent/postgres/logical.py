"""Logical replication slots: made, advanced and marked for copying, in the background, because each may take long.

A new one waits for all transactions that run, an advance reads WAL.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any

import psycopg
from psycopg import sql

from haagent.core.facts import SlotFacts
from haagent.core.slots import SYNCHRONIZES
from haagent.core.terms import Lsn
from haagent.postgres.settings import PostgresSettings
from haagent.postgres.sql import Address, connect, conninfo_of, told

log = logging.getLogger(__name__)

CONNECT_S = 5.0
LONGEST_S = 60.0
"""For one slot; what waits longer is tried again."""
WITHOUT_LIMIT = "-c statement_timeout=0 -c search_path=pg_catalog -c synchronous_commit=local"
CREATE = "SELECT pg_create_logical_replication_slot(%s, %s)"
CREATE_COPIED = "SELECT pg_create_logical_replication_slot(%s, %s, false, false, true)"
BEHIND = """
SELECT slot_name, database FROM pg_replication_slots s
 WHERE slot_name = ANY(%s) AND slot_type = 'logical' AND NOT active AND NOT temporary
   AND coalesce(to_json(s) ->> 'synced', 'false') = 'false'
"""
ADVANCE = """
SELECT pg_replication_slot_advance(slot_name, least(%s::pg_lsn, CASE WHEN pg_is_in_recovery()
           THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_flush_lsn() END))
  FROM pg_replication_slots WHERE slot_name = %s AND confirmed_flush_lsn < %s::pg_lsn
"""


class LogicalSlots:
    """One round of work at a time; what comes meanwhile is left to the next decision."""

    def __init__(self) -> None:
        self._work: asyncio.Task[None] | None = None

    def begin(
        self,
        settings: PostgresSettings,
        address: Address,
        create: Sequence[SlotFacts],
        protect: Sequence[str],
        advance: Mapping[str, Lsn],
    ) -> None:
        """Begin a round, unless one is under way."""
        if self._work is None or self._work.done():
            words = conninfo_of(settings, address) | {"options": WITHOUT_LIMIT}
            self._work = asyncio.create_task(_round(words, create, protect, advance), name="logical slots")

    async def close(self) -> None:
        """Give up what is under way; the server undoes it."""
        if self._work is not None:
            self._work.cancel()
            await asyncio.wait((self._work,))


async def _round(
    words: Mapping[str, str], create: Sequence[SlotFacts], protect: Sequence[str], advance: Mapping[str, Lsn]
) -> None:
    """Each slot by itself: one that fails is told of, and keeps no other from being done."""
    for slot in create:
        await _try(f"create logical slot {slot.name}", _create(words, slot))
    for name in protect:
        await _try(f"have standbys copy logical slot {name}", _protect(words, name))
    if advance:
        await _try("advance logical slots", _advance(words, advance))


async def _try(what: str, work: Coroutine[Any, Any, None]) -> None:
    try:
        async with asyncio.timeout(LONGEST_S):
            await work
    except psycopg.errors.DuplicateObject:
        return
    except TimeoutError:
        log.warning("could not %s within %g s: a transaction that runs for long may be waited for", what, LONGEST_S)
    except psycopg.Error as error:
        log.warning("could not %s: %s", what, told(error))


async def _create(words: Mapping[str, str], slot: SlotFacts) -> None:
    """In the slot's own database, and from PostgreSQL 17 on so that standbys copy it."""
    async with await connect({**words, "dbname": slot.database or ""}, CONNECT_S) as connection:
        copied = connection.info.server_version >= SYNCHRONIZES
        await connection.execute(CREATE_COPIED if copied else CREATE, (slot.name, slot.plugin))
    log.info("logical slot %s was created in database %s", slot.name, slot.database)


async def _protect(words: Mapping[str, str], name: str) -> None:
    """Source: manual, "Streaming Replication Protocol", ALTER_REPLICATION_SLOT."""
    replicating = {**words, "replication": "database", "options": ""}
    async with await connect(replicating, CONNECT_S) as connection:
        command = sql.SQL("ALTER_REPLICATION_SLOT {} (FAILOVER true)").format(sql.Identifier(name))
        await psycopg.AsyncClientCursor(connection).execute(command)
    log.info("standbys copy logical slot %s from now on", name)


async def _advance(words: Mapping[str, str], goals: Mapping[str, Lsn]) -> None:
    """Those of the slots that are logical and no copies of PostgreSQL's own."""
    async with await connect(words, CONNECT_S) as connection:
        behind = await (await connection.execute(BEHIND, (list(goals),))).fetchall()
    for row in behind:
        name, goal = row["slot_name"], str(goals[row["slot_name"]])
        async with await connect({**words, "dbname": row["database"]}, CONNECT_S) as connection:
            await connection.execute(ADVANCE, (goal, name, goal))
