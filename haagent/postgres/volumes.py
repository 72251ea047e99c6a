"""Whether the file systems under PostgreSQL take writes and have room: tried in a thread that nobody waits for.

Reads and SQL go on working on a file system that was remounted read-only or hangs: only a write tells. The sample is
written beside the data directory where that is the same file system, else into it, and is removed at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from haagent.core.facts import DiskFacts
from haagent.core.terms import Instant
from haagent.postgres.settings import PostgresSettings

log = logging.getLogger(__name__)

EVERY_S = 3.0
AGAIN_S = 0.4
"""How soon a write that was refused is tried again."""
SAMPLE = bytes(8192)
NAME = "pgsql_tmp.haagent"
"""Left out of base backups by its beginning. Source: manual, "Streaming Replication Protocol", BASE_BACKUP."""
LEAST_SEGMENTS, ENOUGH_SEGMENTS = 2, 3
"""Below so many segments of WAL in bytes a file system lacks room; with so many it has room again."""
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
FAILED = (
    errno.EROFS,
    errno.EIO,
    errno.ENXIO,
    errno.ENODEV,
    errno.ESTALE,
    errno.EUCLEAN,
    errno.ESHUTDOWN,
    errno.EREMOTEIO,
    errno.ENOMEDIUM,
    errno.ENOTCONN,
)
"""What a file system says that is read-only, broken or gone; other errors are the agent's own trouble."""


@dataclass(frozen=True, slots=True)
class Volume:
    """One file system: where, how many bytes may still be written there, and whether they are too few."""

    path: Path
    free: int
    full: bool = False


@dataclass(frozen=True, slots=True)
class Tried:
    """What the last completed sample told; ``began`` is the start of the one under way."""

    refusal: str = ""
    refusing_since: Instant | None = None
    no_room: str = ""
    """A sample found no room where free bytes are shown, as under a quota."""
    began: Instant | None = None


class VolumeWatch:
    """Writes samples every few seconds from a thread of its own; ``facts`` never blocks."""

    def __init__(self, now: Callable[[], Instant]) -> None:
        self._now = now
        self._tried = Tried()
        self._room: dict[Path, Volume] = {}
        self._settings: PostgresSettings | None = None
        self._segment = 16 * 1024 * 1024
        self._paused = False
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wakes: list[Callable[[str], None]] = []

    def on_change(self, wake: Callable[[str], None]) -> None:
        """Call ``wake`` with a reason when a file system begins or ceases to refuse writes."""
        self._wakes.append(wake)

    def measure(self, settings: PostgresSettings) -> None:
        """Count the free bytes now. Blocking; OSError when they can't be asked."""
        volumes = {}
        for path in _volumes(settings):
            stat = os.statvfs(path)
            before = self._room.get(path)
            segments = ENOUGH_SEGMENTS if before is not None and before.full else LEAST_SEGMENTS
            free = stat.f_bavail * stat.f_frsize
            volumes[path] = Volume(path, free, free < segments * self._segment)
        self._room = volumes

    @property
    def room(self) -> tuple[Volume, ...]:
        """As last measured: data, then WAL if that has a file system of its own."""
        return tuple(self._room.values())

    def facts(self, settings: PostgresSettings, segment_bytes: int | None, *, at_work: bool) -> DiskFacts:
        """As last seen; ``at_work``: the directory is being built, and no sample is to be found in it."""
        self._settings, self._paused = settings, at_work
        self._segment = segment_bytes or self._segment
        if self._thread is None:
            self._loop = asyncio.get_running_loop()
            self._thread = threading.Thread(target=self._run, name="haagent-volumes", daemon=True)
            self._thread.start()
        tried, room = self._tried, self.room
        lacking = [_lack(volume, LEAST_SEGMENTS * self._segment) for volume in room if volume.full]
        return DiskFacts(
            full="; ".join(lacking) or tried.no_room,
            refusing_since=tried.refusing_since,
            waiting_since=tried.began,
            why=tried.refusal,
            data_free=room[0].free if room else None,
            wal_free=room[-1].free if room else None,
        )

    def close(self) -> None:
        """Try no more."""
        self._over.set()

    # --- in the thread ---

    def _run(self) -> None:
        while not self._over.is_set():
            before = self._tried
            if not self._paused:
                self._tried = replace(before, began=self._now())
                self._tried = self._try(before)
                self._tell(before, self._tried)
            self._over.wait(EVERY_S if self._tried.refusing_since is None else AGAIN_S)

    def _try(self, before: Tried) -> Tried:
        """Write a sample to each file system."""
        settings = self._settings
        assert settings is not None
        try:
            if not (settings.data_dir / "PG_VERSION").exists():
                return Tried()
            for path in _volumes(settings):
                if os.statvfs(path).f_flag & os.ST_RDONLY:
                    raise OSError(errno.EROFS, os.strerror(errno.EROFS), os.fspath(path))
                _write_sample(_place(settings, path) / NAME)
        except OSError as error:
            said = f"a small write was refused: {error.filename or settings.data_dir}: {error.strerror}"
            if error.errno in NO_ROOM:
                return Tried(no_room=said)
            if error.errno in FAILED:
                return Tried(said, before.refusing_since or self._now())
            log.debug("no sample was written, which says nothing of the disk: %s", said)
        return Tried()

    def _tell(self, before: Tried, after: Tried) -> None:
        same = (before.refusing_since is None, before.no_room) == (after.refusing_since is None, after.no_room)
        if same or self._loop is None:
            return
        for wake in self._wakes:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(wake, after.refusal or "the file systems take writes again")


def _volumes(settings: PostgresSettings) -> tuple[Path, ...]:
    """The data directory, and pg_wal where that lies on another file system."""
    data, wal = settings.data_dir, settings.data_dir / "pg_wal"
    if not wal.exists() or os.stat(wal).st_dev == os.stat(data).st_dev:
        return (data,)
    return (data, Path(os.path.realpath(wal)))


def _place(settings: PostgresSettings, path: Path) -> Path:
    """Where the sample is written: beside the data directory if that is the same file system, lest it lie in it."""
    state = settings.state_dir
    same = path == settings.data_dir and state.exists() and os.stat(state).st_dev == os.stat(path).st_dev
    return state if same else path


def _write_sample(path: Path) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(path, flags, 0o600)
    try:
        os.write(descriptor, SAMPLE)
        os.fdatasync(descriptor)
    finally:
        os.close(descriptor)
        with contextlib.suppress(OSError):
            os.unlink(path)


def _lack(volume: Volume, least: int) -> str:
    return f"{volume.path} has {volume.free} bytes free, PostgreSQL needs {least}"
