"""Whether another server's WAL is this one's: compared by content, since two may have written on one timeline."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import LiteralString

import psycopg

from haagent.core.facts import Upstream
from haagent.core.terms import Lsn, Timeline
from haagent.ports import Unreachable
from haagent.postgres.disk import on_disk
from haagent.postgres.settings import PostgresSettings
from haagent.postgres.sql import Connection, connect, told
from haagent.postgres.upstream import conninfo_of

log = logging.getLogger(__name__)

TIMEOUT_S = 30.0
DIGEST = "SELECT md5(pg_read_binary_file('pg_wal/' || %s, 0, %s, true)) AS digest"
STILL_THERE = """
SELECT coalesce(bool_or(suffix = %s) OR NOT bool_or(suffix > %s), true) AS there
  FROM (SELECT right(name, 16) COLLATE "C" AS suffix FROM pg_ls_dir('pg_wal', true, false) name
         WHERE length(name) = 24) AS segments
"""
"""Both are granted to the rewind role. Source: manual, pg_rewind, Notes.

A segment past the end of all WAL was not removed: it is made with the first record in it.
"""


@dataclass(frozen=True, slots=True)
class Piece:
    """The beginning of one WAL segment."""

    timeline: Timeline
    number: int
    segment_bytes: int
    length: int

    @property
    def suffix(self) -> str:
        """The part of its file's name that says which bytes of WAL it holds."""
        per_high = (1 << 32) // self.segment_bytes
        return f"{self.number // per_high:08X}{self.number % per_high:08X}"

    @property
    def name(self) -> str:
        return f"{self.timeline:08X}{self.suffix}"

    @property
    def start(self) -> Lsn:
        return Lsn(self.number * self.segment_bytes)


def pieces(timeline: Timeline, began: Lsn, end: Lsn, segment_bytes: int) -> tuple[Piece, ...]:
    """What to compare of a timeline: its first segment, where twins part, and the last two up to ``end``."""
    first, last = int(began) // segment_bytes, int(end) // segment_bytes
    numbers = sorted({first, max(first, last - 1), last})
    found = (
        Piece(timeline, number, segment_bytes, min(segment_bytes, int(end) - number * segment_bytes))
        for number in numbers
    )
    return tuple(piece for piece in found if piece.length > 0)


async def first_difference(settings: PostgresSettings, source: Upstream, wanted: tuple[Piece, ...]) -> Piece | None:
    """The first piece that the other server has in another wording; None where all agree, or it can't be asked.

    A segment that either of the two no longer has says nothing.
    """
    try:
        async with await _connect(settings, source) as connection:
            for piece in wanted:
                own = await on_disk(lambda piece=piece: _digest(settings, piece), TIMEOUT_S)  # type: ignore[misc]
                theirs = None if own is None else await _ask(connection, DIGEST, piece.name, piece.length)
                if theirs is not None and theirs != own:
                    return piece
    except (psycopg.Error, TimeoutError) as error:
        log.warning("the WAL of %s could not be compared by content: %s", source.name, told(error))
    return None


async def gone_from(settings: PostgresSettings, source: Upstream, next_lsn: Lsn, segment_bytes: int) -> str:
    """That the other server has removed the WAL from a position on, in words; empty when it has it."""
    piece = Piece(Timeline(1), int(next_lsn) // segment_bytes, segment_bytes, segment_bytes)
    try:
        async with await _connect(settings, source) as connection:
            there = await _ask(connection, STILL_THERE, piece.suffix, piece.suffix)
    except psycopg.errors.InsufficientPrivilege as error:
        log.warning("%s may not be asked for the WAL that it has: %s", source.name, told(error))
        return ""
    except (psycopg.Error, TimeoutError) as error:
        raise Unreachable(f"{source.name} at {source.host}:{source.port} can't be asked: {told(error)}") from error
    if there:
        return ""
    return (
        f"this standby ends at {next_lsn}, and {source.name} has removed the WAL from there on (segment "
        f"{piece.suffix}); no archive gave it either"
    )


async def _connect(settings: PostgresSettings, source: Upstream) -> Connection:
    return await connect(conninfo_of(source, settings.rewinder) | {"dbname": "postgres"}, 5.0)


async def _ask(connection: Connection, question: LiteralString, *parameters: object) -> object:
    found = await connection.execute(question, parameters)
    row = await found.fetchone()
    return None if row is None else next(iter(row.values()))


def _digest(settings: PostgresSettings, piece: Piece) -> str | None:
    try:
        with Path(settings.data_dir, "pg_wal", piece.name).open("rb") as file:
            return hashlib.md5(file.read(piece.length), usedforsecurity=False).hexdigest()
    except FileNotFoundError:
        return None
