"""A PostgreSQL of the trial's own beside the installed one: the same programs, the commit fence as wanted."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.contract.fence import build, pg_config
from tests.real.programs import postgres_bin

LIBRARY = "haagent_fence.so"


def own_postgres(home: Path, fence: bool) -> tuple[Path, bool]:
    """Its directory of programs, and whether it has the commit fence, built from this source; nothing else is changed.

    PostgreSQL finds libraries and shared files by where its programs lie, so the layout below ``/usr`` is kept.
    """
    installed = postgres_bin().resolve().parent
    own = home / "postgres" / installed.relative_to("/")
    own.mkdir(parents=True)
    shutil.copytree(installed / "bin", own / "bin", symlinks=True)
    (own / "lib").mkdir()
    for entry in (installed / "lib").iterdir():
        if entry.name != LIBRARY:
            (own / "lib" / entry.name).symlink_to(entry)
    share = home / "postgres" / "usr" / "share"
    share.mkdir(parents=True, exist_ok=True)
    (share / "postgresql").symlink_to("/usr/share/postgresql")
    fenced = fence and _headers()
    if fenced:
        work = home / "fence"
        work.mkdir()
        shutil.copy(build(work), own / "lib" / LIBRARY)
    return own / "bin", fenced


def _headers() -> bool:
    """Whether extensions can be built here."""
    return shutil.which(pg_config()) is not None and (postgres_bin().parent / "lib/pgxs/src/makefiles/pgxs.mk").exists()
