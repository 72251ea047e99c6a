"""Directories that are moved aside stay; only old ones of bootstraps that came to nothing go."""

from __future__ import annotations

import os
from pathlib import Path

from haagent.postgres.aside import KEPT, NEVER_SERVED, move_aside
from haagent.postgres.files import Marker, set_marker
from haagent.postgres.settings import PostgresSettings


def moved(settings: PostgresSettings, why: str, doing: str | None) -> Path:
    settings.data_dir.mkdir()
    (settings.data_dir / "PG_VERSION").write_text("15\n")
    if doing is not None:
        set_marker(settings, Marker(doing))
    return Path(move_aside(settings, why))


def test_of_failed_bootstraps_a_few_are_kept_and_of_everything_else_all(tmp_path: Path) -> None:
    settings = PostgresSettings(data_dir=tmp_path / "data", state_dir=tmp_path / "state")
    served = [moved(settings, "diverged", None), moved(settings, "clone failed", "cloning")]
    named_so = moved(settings, "bootstrap failed", None)
    failed = []
    for number in range(KEPT + 2):
        failed.append(moved(settings, "bootstrap failed" if number % 2 else "bootstrap interrupted", "initializing"))
        os.utime(failed[-1] / NEVER_SERVED, (number, number))
    assert all(path.is_dir() for path in [*served, named_so, *failed[-KEPT:]])
    assert len(list(tmp_path.glob(f"*/{NEVER_SERVED}"))) == KEPT
