"""The local write-ahead log on disk: its timelines, and what pg_waldump finds past a position."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from haagent.core.facts import HistoryLine
from haagent.core.terms import Lsn, Timeline
from haagent.core.timelines import parse_history
from haagent.ports import PortError
from haagent.postgres.disk import on_disk
from haagent.postgres.files import read_text
from haagent.postgres.programs import run, tool_environment
from haagent.postgres.settings import PostgresSettings

SEGMENT = re.compile(r"[0-9A-F]{24}(\.partial)?")
HISTORY = re.compile(r"([0-9A-F]{8})\.history")
RECORD = re.compile(r"len \(rec/tot\): +\d+/ *(\d+), .*lsn: ([0-9A-F]+/[0-9A-F]+)")
ENDS_AT = re.compile(r"error in WAL record at [0-9A-F]+/[0-9A-F]+: .* at ([0-9A-F]+/[0-9A-F]+)")
FIRST_LOOK_S = 10.0


@dataclass(frozen=True, slots=True)
class Past:
    """What lies at or past a position: up to where, and how many commits; ``end`` None when no record is there."""

    end: Lsn | None = None
    commits: int | None = None


def newest_timeline(settings: PostgresSettings, since: Lsn, segment_bytes: int) -> Timeline:
    """The newest timeline with a segment that reaches past ``since``; 0 if there is none. Blocking."""
    first = int(since) // segment_bytes
    per_high = (1 << 32) // segment_bytes
    timelines = [0]
    for name in os.listdir(settings.data_dir / "pg_wal"):
        if SEGMENT.fullmatch(name) and int(name[8:16], 16) * per_high + int(name[16:24], 16) >= first:
            timelines.append(int(name[:8], 16))
    return Timeline(max(timelines))


def read_history(settings: PostgresSettings, timeline: Timeline) -> tuple[HistoryLine, ...] | None:
    """A timeline's .history file in pg_wal; None when it is not there. Blocking; ValueError when unreadable."""
    text = read_text(settings.data_dir / "pg_wal" / f"{timeline:08X}.history")
    return None if text is None else parse_history(text)


def newest_history(settings: PostgresSettings) -> tuple[HistoryLine, ...]:
    """The .history file of the newest timeline in pg_wal. Blocking; ValueError when unreadable."""
    names = os.listdir(settings.data_dir / "pg_wal")
    found = [int(match[1], 16) for name in names if (match := HISTORY.fullmatch(name))]
    return (read_history(settings, Timeline(max(found))) or ()) if found else ()


def segments_end(settings: PostgresSettings, timeline: Timeline, start: Lsn, segment_bytes: int) -> Lsn | None:
    """Up to where a timeline's segments lie in pg_wal without a gap, from the one that holds ``start`` on. Blocking.

    None when that one is not there. pg_waldump must not be sent past it: it waits 5 s for a segment to appear.
    """
    per_high = (1 << 32) // segment_bytes
    first = number = int(start) // segment_bytes
    while (settings.data_dir / "pg_wal" / f"{timeline:08X}{number // per_high:08X}{number % per_high:08X}").exists():
        number += 1
    return None if number == first else Lsn(number * segment_bytes)


async def past(
    settings: PostgresSettings, segment_bytes: int, timeline: Timeline, start: Lsn, left_at: Lsn | None = None
) -> Past:
    """Look for whole records at or past ``start`` on a timeline, before ``left_at``; commits None if too many."""
    end = await on_disk(lambda: segments_end(settings, timeline, start, segment_bytes))
    if end is None:
        return Past()
    end = end if left_at is None else min(end, left_at)
    if end <= start:
        return Past()
    words = [settings.program("pg_waldump"), "-p", str(settings.data_dir / "pg_wal"), "-t", str(int(timeline))]
    words += ["-s", str(start), "-e", str(end)]
    first = await run([*words, "-n", "1"], env=tool_environment(), timeout=FIRST_LOOK_S)
    records = [match for line in first.tail if (match := RECORD.search(line))]
    if not records:
        return Past()
    reached = Lsn(Lsn.parse(records[0][2]) + int(records[0][1]))
    commits = 0

    def count(line: str) -> None:
        nonlocal commits, reached
        if match := RECORD.search(line):
            commits += "desc: COMMIT" in line
            reached = Lsn(max(reached, Lsn.parse(match[2]) + int(match[1])))

    try:
        seen = await run(
            [*words, "--rmgr=Transaction"],
            env=tool_environment(),
            timeout=settings.lost_commits_timeout,
            on_line=count,
        )
    except PortError:
        return Past(reached, None)
    stops = [Lsn.parse(match[1]) for line in seen.tail if (match := ENDS_AT.search(line))]
    return Past(max([reached, *stops]), commits)
