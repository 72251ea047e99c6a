"""One look at the data directory and its processes: blocking, so it runs off the event loop, and asking nobody."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from haagent.core.facts import DataKind, Process
from haagent.core.terms import Timeline
from haagent.postgres.files import Marker, read_marker
from haagent.postgres.process import PidFile, find_postmaster, is_stopped, serving_in
from haagent.postgres.settings import PostgresSettings
from haagent.postgres.taken import bound_for, newest_heard

ControlKey = tuple[int, int, int]
"""Inode, size and modification time of the control file: when they are the same, so is its content."""


@dataclass(frozen=True, slots=True)
class Look:
    """What lies and what runs there. ``kind`` is VALID when it looks so; pg_controldata has the last word."""

    kind: DataKind
    detail: str = ""
    marker: Marker | None = None
    standby_signal: bool = False
    heard: Timeline = Timeline(0)
    bound: Timeline = Timeline(0)
    """The newest of the .history files: of all (0 under a primary), and of those that a standby has no WAL of."""
    control_key: ControlKey | None = None
    postmaster: Process | None = None
    pid_file: PidFile | None = None
    stopped: bool = False
    """The postmaster stands still (SIGSTOP)."""
    orphans: int = 0
    real: str = ""
    """The real path of the data directory."""
    mount_point: bool = False


def look(settings: PostgresSettings) -> Look:
    """Look once."""
    marker = read_marker(settings)
    data_dir = settings.data_dir
    real = os.path.realpath(data_dir)
    try:
        names = os.listdir(data_dir)
    except FileNotFoundError:
        return Look(DataKind.ABSENT, orphans=len(serving_in(real)), real=real)
    except OSError as error:
        return Look(DataKind.UNREADABLE, f"{data_dir} cannot be read: {error.strerror}", marker, real=real)
    if not names:
        return Look(DataKind.EMPTY, orphans=len(serving_in(real)), real=real)
    postmaster, pid_file = find_postmaster(data_dir)
    kind, detail, key = _kind(data_dir, names)
    if marker is not None:
        kind, detail = DataKind.UNFINISHED, f"{marker.doing} was interrupted"
    standby = "standby.signal" in names or "recovery.signal" in names
    return Look(
        kind=kind,
        detail=detail,
        marker=marker,
        standby_signal=standby,
        heard=newest_heard(data_dir) if standby or postmaster is None else Timeline(0),
        bound=bound_for(data_dir) if standby else Timeline(0),
        control_key=key,
        postmaster=postmaster,
        pid_file=pid_file,
        stopped=postmaster is not None and is_stopped(postmaster),
        orphans=len(serving_in(real)) if postmaster is None else 0,
        real=real,
        mount_point=os.path.ismount(real),
    )


def _kind(data_dir: Path, names: list[str]) -> tuple[DataKind, str, ControlKey | None]:
    try:
        stat = os.stat(data_dir / "global" / "pg_control")
    except OSError as error:
        what = "it is not empty, but has no control file" if isinstance(error, FileNotFoundError) else error.strerror
        hint = "; it is a mount point: use a directory below it" if names == ["lost+found"] else ""
        return DataKind.UNREADABLE, f"{data_dir} is no data directory: {what}{hint}", None
    key = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
    if "PG_VERSION" not in names:
        return DataKind.UNREADABLE, f"{data_dir} has no PG_VERSION file", key
    return DataKind.VALID, "", key
