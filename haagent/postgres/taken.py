"""Timeline numbers on disk: which are known here, and how PostgreSQL is made to count past those that others took.

PostgreSQL makes the timeline after the newest whose .history file it finds, probing one number after the other.
Numbers that were taken elsewhere are therefore held by .history files that hold nothing but a comment. A standby that
runs takes such a file for a timeline that is none of its own and stays on its own; one that starts would look for that
timeline's WAL and never find any, so what lies above its own timeline is put away before a start.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
from pathlib import Path

from haagent.core.terms import Timeline
from haagent.core.timelines import parse_history
from haagent.ports import Refused
from haagent.postgres.files import read_text, sync_directory
from haagent.postgres.settings import PostgresSettings

log = logging.getLogger(__name__)

UNREACHED = ".unreached"
"""What is added to the name of a real .history file of a timeline that this node never followed."""
_NAME = re.compile(rf"([0-9A-F]{{8}})\.history({re.escape(UNREACHED)})?")
_SEGMENT = re.compile(r"[0-9A-F]{24}")
HELD = "# haagent: a placeholder; this number may have been taken elsewhere (may be removed while PostgreSQL is down)\n"
MOST_HELD = 1000
"""So many numbers are skipped at most: more is no cluster's past but a wrong number in etcd."""


def newest_heard(data_dir: Path) -> Timeline:
    """The newest timeline of which a .history file lies in pg_wal; 0 if there is none. Blocking."""
    try:
        names = os.listdir(data_dir / "pg_wal")
    except OSError:
        return Timeline(0)
    return Timeline(max((int(match[1], 16) for name in names if (match := _NAME.fullmatch(name))), default=0))


def bound_for(data_dir: Path) -> Timeline:
    """The newest timeline of which pg_wal has a real .history file and no WAL; 0 if its WAL is there too. Blocking."""
    directory = data_dir / "pg_wal"
    try:
        names = os.listdir(directory)
        numbers = (int(match[1], 16) for name in names if (match := _NAME.fullmatch(name)) and not match[2])
        newest_first = sorted(numbers, reverse=True)
        real = next((n for n in newest_first if not _holds_nothing(directory / f"{n:08X}.history")), 0)
    except OSError:
        return Timeline(0)
    written = max((int(name[:8], 16) for name in names if _SEGMENT.match(name)), default=0)
    return Timeline(real if real > written else 0)


def hold(settings: PostgresSettings, present: Timeline, claimed: Timeline) -> None:
    """Hold every number between the two that has no .history file, so that a promotion makes ``claimed``. Blocking.

    Refused when they are so many that the number claimed can't be right.
    """
    if claimed - present > MOST_HELD:
        raise Refused(
            f"the timeline number claimed is {claimed}, this server is on {present}: no cluster is promoted so often; "
            f"see the key haagent_timeline in etcd, and delete it if it is wrong"
        )
    if _hold_all(settings, range(present + 1, claimed)):
        log.info("timeline %d comes after %d: others may have made those between", claimed, present)


def hold_below(settings: PostgresSettings, reached: Timeline) -> None:
    """Hold every number below a standby's own that has no .history file: a copy brings only the last. Blocking.

    Whoever comes from an earlier timeline asks its upstream for each number in between, and for ever if one is missing.
    """
    _hold_all(settings, range(max(2, reached - MOST_HELD), reached))


def _hold_all(settings: PostgresSettings, numbers: range) -> bool:
    """Whether any of them was free."""
    directory = settings.data_dir / "pg_wal"
    mode = 0o640 if settings.data_dir.stat().st_mode & 0o040 else 0o600
    paths = [directory / f"{number:08X}.history" for number in numbers]
    held = [path for path in paths if not path.exists() and _hold(path, mode)]
    if held:
        sync_directory(directory)
    return bool(held)


def _hold(path: Path, mode: int) -> bool:
    """Make the file unless there is one; whether it was made. It appears whole or not at all."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            os.fchmod(descriptor, mode)
            file.write(HELD)
            file.flush()
            os.fsync(descriptor)
        with contextlib.suppress(FileExistsError):
            os.link(scratch, path)
            return True
        return False
    finally:
        os.unlink(scratch)


def put_away(settings: PostgresSettings, reached: Timeline) -> None:
    """Take .history files of timelines past the one that the WAL here has reached out of PostgreSQL's sight. Blocking.

    Those that only hold a number are removed. Real ones get another name: they may be of a timeline that nobody leads
    any more, which PostgreSQL would wait for; if somebody does, they come again with its WAL.
    """
    directory = settings.data_dir / "pg_wal"
    changed = False
    for name in sorted(os.listdir(directory)):
        match = _NAME.fullmatch(name)
        if match is None or match[2] or int(match[1], 16) <= reached:
            continue
        if _holds_nothing(directory / name):
            os.unlink(directory / name)
        else:
            os.replace(directory / name, directory / (name + UNREACHED))
        changed = True
    if changed:
        sync_directory(directory)


def _holds_nothing(path: Path) -> bool:
    try:
        return not parse_history(read_text(path) or "")
    except ValueError:
        return False
