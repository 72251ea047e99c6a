"""Moving a data directory out of the way: renamed, never deleted."""

from __future__ import annotations

import errno
import logging
import os
import re
import time
from pathlib import Path

from haagent.ports import Refused
from haagent.postgres.files import clear_marker, sync_directory
from haagent.postgres.settings import PostgresSettings

log = logging.getLogger(__name__)


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
        raise Refused(_refusal(real, error)) from error
    sync_directory(real.parent)
    if settings.data_dir.is_symlink():
        real.mkdir(mode=0o700)
    clear_marker(settings)
    log.warning("%s was moved aside to %s", real, target)
    return str(target)


def _free_name(real: Path, why: str) -> Path:
    slug = re.sub(r"[^a-z0-9]+", "-", why.lower()).strip("-")[:40] or "aside"
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    names = [
        real.with_name(f"{real.name}.{slug}.{stamp}{suffix}") for suffix in ("", *(f".{n}" for n in range(1, 100)))
    ]
    return next(name for name in names if not name.exists())


def _refusal(real: Path, error: OSError) -> str:
    if error.errno == errno.EBUSY or os.path.ismount(real):
        return (
            f"{real} is a mount point and cannot be renamed: empty it by hand after saving what it holds, and set "
            f"data_dir to a directory below the mount point"
        )
    return f"{real} cannot be renamed: {error.strerror}; the agent's user needs to own {real.parent}"


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
