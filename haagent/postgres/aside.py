"""Moving a data directory out of the way: renamed, never deleted, but for two kinds that nobody can miss.

What a base backup left half-done: the directory was empty when that backup began, and its source has all of it; kept,
each failed try would take its room. And of bootstraps that failed, which never served anybody, all but the newest; such
a directory is told by a file of the agent's in it, written only while the marker says that the bootstrap was under way.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import shutil
import threading
import time
from pathlib import Path

from haagent.core.facts import IMMOVABLE
from haagent.ports import Refused
from haagent.postgres.files import clear_marker, read_marker, sync_directory, write_atomically
from haagent.postgres.settings import PostgresSettings

DISCARDED = ".unfinished-copy"
log = logging.getLogger(__name__)

NEVER_SERVED = "haagent.never-served"
KEPT = 3
"""How many directories of failed bootstraps are kept."""


def move_aside(settings: PostgresSettings, why: str) -> str:
    """Rename the data directory to ``<itself>.<why>.<UTC time>``; its new path. Blocking.

    Refused when it cannot be renamed, as when it is a mount point. WAL and tablespaces that lie elsewhere stay there
    and belong to the renamed directory.
    """
    real = Path(os.path.realpath(settings.data_dir))
    if not real.exists():
        raise Refused(f"{real} does not exist: there is nothing to move aside")
    _warn_of_outside(real)
    target = _free_name(real, why)
    try:
        os.rename(real, target)
    except OSError as error:
        raise _refusal(real, error) from error
    sync_directory(real.parent)
    marker = read_marker(settings)
    if marker is not None and marker.doing == "initializing":
        write_atomically(target / NEVER_SERVED, "a bootstrap began here and did not end; nobody was ever served\n")
        _forget_older(real)
    if settings.data_dir.is_symlink():
        real.mkdir(mode=0o700)
    clear_marker(settings)
    log.warning("%s was moved aside to %s", real, target)
    return str(target)


def begun_only(settings: PostgresSettings) -> bool:
    """Whether what lies there can only be a base backup that did not end: the control file comes last. Blocking.

    An operator may have put a whole backup there since. Source: perform_base_backup() in basebackup.c.
    """
    return not os.path.lexists(settings.data_dir / "global" / "pg_control")


def discard(settings: PostgresSettings) -> str:
    """Delete an unfinished base backup in the background; what became of it, in words. Blocking, but not for long."""
    real = Path(os.path.realpath(settings.data_dir))
    for leftover in real.parent.glob(f"{real.name}{DISCARDED}*"):
        _delete(leftover)
    if os.path.ismount(real):
        for entry in real.iterdir():
            _delete_now(entry)
    elif real.exists():
        _warn_of_outside(real)
        doomed = _free_name(real, DISCARDED.strip("."))
        os.rename(real, doomed)
        sync_directory(real.parent)
        if settings.data_dir.is_symlink():
            real.mkdir(mode=0o700)
        _delete(doomed)
    clear_marker(settings)
    return f"{real} is removed: it was an unfinished base backup"


def _delete(path: Path) -> None:
    threading.Thread(target=_delete_now, args=(path,), name="haagent-delete", daemon=True).start()


def _delete_now(path: Path) -> None:
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    except FileNotFoundError:
        return
    except OSError as error:
        log.warning("%s is of no use and can't be removed: %s", path, error)


def _forget_older(real: Path) -> None:
    """Keep the newest directories of failed bootstraps; older ones go, as each try leaves one."""
    beside = sorted(real.parent.glob(f"{real.name}.bootstrap-*/{NEVER_SERVED}"), key=lambda path: path.stat().st_mtime)
    for path in beside[:-KEPT]:
        log.warning("%s, of a bootstrap that failed, is removed: the newest %d are kept", path.parent, KEPT)
        _delete_now(path.parent)


def _free_name(real: Path, why: str) -> Path:
    slug = re.sub(r"[^a-z0-9]+", "-", why.lower()).strip("-")[:40] or "aside"
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    names = [
        real.with_name(f"{real.name}.{slug}.{stamp}{suffix}") for suffix in ("", *(f".{n}" for n in range(1, 100)))
    ]
    return next(name for name in names if not name.exists())


def _refusal(real: Path, error: OSError) -> Refused:
    if error.errno == errno.EBUSY or os.path.ismount(real):
        refusal = Refused(
            f"{real} is a mount point and can't be renamed. Move what it holds to another file system, and this node "
            f"is cloned anew by itself: find {real} -mindepth 1 -maxdepth 1 -exec mv -t ELSEWHERE {{}} + "
            f"(with a data_dir below the mount point this is never needed)"
        )
    else:
        refusal = Refused(f"{real} can't be renamed: {error.strerror}; the agent's user needs to own {real.parent}")
    if error.errno in (errno.EBUSY, errno.EACCES, errno.EPERM, errno.EROFS):
        refusal.reason = IMMOVABLE
    return refusal


def _warn_of_outside(real: Path) -> None:
    links = [real / "pg_wal"]
    if (real / "pg_tblspc").is_dir():
        links += (real / "pg_tblspc").iterdir()
    for link in links:
        if link.is_symlink():
            log.warning(
                "%s leads to %s, which stays where it is and must be emptied by hand before a new copy can use it",
                link,
                os.readlink(link),
            )
