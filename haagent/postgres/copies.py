"""Logical slots of PostgreSQL 16 and older on a standby: copied from the primary, taken up at a start, proven usable.

A copy is the slot's state file; PostgreSQL reads those only while it starts. A copy is usable after a promotion once
nothing that it needs can have been removed. It has come that far when the primary keeps, for this standby's physical
slot, the rows from the copy's catalog_xmin on (hot_standby_feedback), and the original itself, asked after that, needs
none that are older.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path

import psycopg

from haagent.core.facts import ServerFacts, Upstream
from haagent.core.terms import Instant, Lsn
from haagent.postgres.disk import on_disk
from haagent.postgres.files import sync_directory
from haagent.postgres.settings import PostgresSettings
from haagent.postgres.sql import Address, Connection, connect, conninfo_of, told
from haagent.postgres.upstream import conninfo_of as conninfo_there

log = logging.getLogger(__name__)

TIMEOUT_S = 10.0
AGAIN_S, AGAIN_LONGEST_S = 15.0, 600.0
FRESH_S = 300.0
"""An older copy is not taken up any more: the primary may not keep what it needs."""
ORIGINALS = """
SELECT slot_name, restart_lsn::text AS restart_lsn,
       pg_read_binary_file('pg_replslot/' || slot_name || '/state') AS state
  FROM pg_replication_slots WHERE slot_type = 'logical' AND slot_name = ANY(%s)
"""
OLDEST_WAL = """
SELECT min(right(name, 16)) AS oldest, pg_size_bytes(current_setting('wal_segment_size')) AS segment
  FROM pg_ls_waldir() WHERE name ~ '^[0-9A-F]{24}$'
"""
NEEDED = "SELECT slot_name, catalog_xmin::text AS xmin FROM pg_replication_slots WHERE slot_name = ANY(%s)"


class SlotCopies:
    """What is copied and proven, in the background, one round at a time."""

    def __init__(self, now: Callable[[], Instant]) -> None:
        self._now = now
        self._work: asyncio.Task[None] | None = None
        self._again_at, self._tries = Instant(0.0), 0
        self._proven: frozenset[str] = frozenset()
        self.staged_at: Instant | None = None
        """Since when copies wait for PostgreSQL to be started."""

    def mark(self, server: ServerFacts) -> ServerFacts:
        """The facts with the proven copies marked like PostgreSQL's own."""
        there = {slot.name for slot in server.slots if slot.kind == "logical" and server.in_recovery}
        self._proven &= there
        if not self._proven:
            return server
        slots = (replace(slot, synced=True) if slot.name in self._proven else slot for slot in server.slots)
        return replace(server, slots=tuple(slots))

    def begin(
        self,
        settings: PostgresSettings,
        address: Address,
        source: Upstream,
        own_slot: str,
        fetch: Collection[str],
        prove: Collection[str],
    ) -> None:
        """Begin a round, unless one is under way: copy slots from the source, or try to prove those that are here."""
        self._tries = self._tries if fetch else 0
        due = fetch if self._now() >= self._again_at or not self._tries else ()
        if (due or prove) and (self._work is None or self._work.done()):
            self._work = asyncio.create_task(
                self._round(settings, address, source, own_slot, due, prove), name="copies"
            )

    async def close(self) -> None:
        """Give up what is under way."""
        if self._work is not None:
            self._work.cancel()
            await asyncio.wait((self._work,))

    def forget(self) -> None:
        """PostgreSQL was started: copies that waited for it are taken up, or given up."""
        self.staged_at = None

    async def _round(
        self,
        settings: PostgresSettings,
        address: Address,
        source: Upstream,
        own_slot: str,
        fetch: Collection[str],
        prove: Collection[str],
    ) -> None:
        try:
            async with asyncio.timeout(TIMEOUT_S):
                there = await connect({**conninfo_there(source, settings.rewinder), "dbname": "postgres"}, TIMEOUT_S)
                async with there, await connect(conninfo_of(settings, address), TIMEOUT_S) as here:
                    if prove:
                        self._proven |= await proven(here, there, own_slot, prove)
                    if fetch:
                        await self._fetch(settings, here, there, fetch)
        except (psycopg.Error, TimeoutError, OSError) as error:
            log.warning("logical slots could not be copied from %s: %s", source.name, told(error))

    async def _fetch(
        self, settings: PostgresSettings, here: Connection, there: Connection, names: Collection[str]
    ) -> None:
        self._again_at = Instant(self._now() + min(AGAIN_LONGEST_S, AGAIN_S * 2.0**self._tries))
        self._tries += 1
        found = await (await there.execute(ORIGINALS, (list(names),))).fetchall()
        wal = (await (await here.execute(OLDEST_WAL)).fetchall())[0]
        oldest = int(wal["oldest"][:8], 16) << 32 | int(wal["oldest"][8:], 16) * wal["segment"]
        usable = {row["slot_name"]: bytes(row["state"]) for row in found if Lsn.parse(row["restart_lsn"]) >= oldest}
        for row in found:
            if row["slot_name"] not in usable:
                log.warning(
                    "logical slot %s needs WAL from %s on, which this node no longer has: it is copied once its "
                    "subscriber has come further",
                    row["slot_name"],
                    row["restart_lsn"],
                )
        if usable:
            await on_disk(lambda: stage(settings, usable))
            self.staged_at = self._now()
            log.info("logical slots %s were copied; PostgreSQL takes them up when it starts", ", ".join(usable))


async def proven(here: Connection, there: Connection, own_slot: str, names: Collection[str]) -> frozenset[str]:
    """Those of the copies here that lack nothing: the primary keeps all from their catalog_xmin on, and did before."""
    rows = await (await here.execute(NEEDED, (list(names),))).fetchall()
    ours = {row["slot_name"]: row["xmin"] for row in rows}
    held = (await (await there.execute(NEEDED, ([own_slot],))).fetchall() or [{"xmin": None}])[0]["xmin"]
    rows = await (await there.execute(NEEDED, (list(names),))).fetchall()
    original = {row["slot_name"]: row["xmin"] for row in rows}
    return frozenset(
        name
        for name, xmin in ours.items()
        if xmin and held and original.get(name) and not_before(xmin, held) and not_before(xmin, original[name])
    )


def not_before(xid: str, other: str) -> bool:
    """Whether a transaction id is the same as another, or later: they count in a circle of 2^32."""
    return (int(xid) - int(other)) % 2**32 < 2**31


# --- files; all blocking ---


def _waiting(settings: PostgresSettings) -> Path:
    return settings.state_dir / "slots"


def stage(settings: PostgresSettings, states: Mapping[str, bytes]) -> None:
    """Keep copies until PostgreSQL is started."""
    _waiting(settings).mkdir(mode=0o700, parents=True, exist_ok=True)
    for name, state in states.items():
        (_waiting(settings) / name).write_bytes(state)


def take_up(settings: PostgresSettings, *, primary: bool) -> None:
    """Put the copies that wait into the data directory of a stopped standby; elsewhere they are of no use any more."""
    waiting = _waiting(settings)
    if not waiting.exists():
        return
    for copy in () if primary else waiting.iterdir():
        target = settings.data_dir / "pg_replslot" / copy.name
        if time.time() - copy.stat().st_mtime <= FRESH_S and not target.exists():
            fresh = target.with_name(f"{copy.name}.tmp")  # PostgreSQL removes such a one when it starts
            fresh.mkdir(mode=0o700, exist_ok=True)
            _write(fresh / "state", copy.read_bytes())
            os.rename(fresh, target)
            sync_directory(target.parent)
    shutil.rmtree(waiting)


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    sync_directory(path.parent)


DATABASE_AT = 16 + 64
"""In a state file: after four words and the name. Source: src/backend/replication/slot.c, ReplicationSlotOnDisk."""


def discard_logical(settings: PostgresSettings) -> None:
    """Remove the logical slots of a rewound data directory: they point into a history that is no longer its own."""
    for state in (settings.data_dir / "pg_replslot").glob("*/state"):
        if state.read_bytes()[DATABASE_AT : DATABASE_AT + 4] not in (b"", bytes(4)):
            shutil.rmtree(state.parent)
            log.info("logical slot %s belongs to the history that was given up: it is removed", state.parent.name)
