"""Lock files that an ended postmaster has left behind, and that would keep the next one from starting.

PostgreSQL believes such a file while any process has its pid: another program after the pid came round, or the dead
postmaster itself while nobody has collected its exit status.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from haagent.postgres.files import read_text
from haagent.postgres.process import PidFile, find_postmaster, parse_pid_file
from haagent.postgres.settings import PostgresSettings


def remove_stale_locks(settings: PostgresSettings) -> None:
    """Remove postmaster.pid and the sockets' lock files when no postmaster serves this data directory."""
    postmaster, left = find_postmaster(settings.data_dir)
    if postmaster is not None:
        return
    for lock in _socket_locks(settings, left):
        if _names(lock, settings.data_dir):
            lock.unlink(missing_ok=True)
    if left is not None:
        (settings.data_dir / "postmaster.pid").unlink(missing_ok=True)


def _socket_locks(settings: PostgresSettings, left: PidFile | None) -> Iterator[Path]:
    """Where the last postmaster, and the next, have theirs. Source: PostgreSQL, src/backend/libpq/pqcomm.c."""
    places = {(directory, settings.port) for directory in settings.unix_socket_directories}
    if left is not None:
        places.add((left.socket_dir, left.port))
    for directory, port in sorted(places):
        if directory.startswith("/"):
            yield Path(directory) / f".s.PGSQL.{port}.lock"


def _names(lock: Path, data_dir: Path) -> bool:
    """Whether a lock file was written by a postmaster of this data directory, which its second line tells."""
    lines = (read_text(lock) or "").splitlines()
    return (
        parse_pid_file("\n".join(lines)) is not None
        and len(lines) > 1
        and os.path.realpath(lines[1].strip()) == os.path.realpath(data_dir)
    )
