"""A base backup of another node into an empty data directory, with its progress."""

from __future__ import annotations

import asyncio
import logging
import os
import re
from collections.abc import Callable
from pathlib import Path

from haagent.core.facts import Progress, Upstream
from haagent.ports import PortError, Refused, Report
from haagent.postgres import unfinished
from haagent.postgres.disk import on_disk
from haagent.postgres.files import service
from haagent.postgres.programs import run_checked, tool_environment
from haagent.postgres.settings import PostgresSettings, names, option_words
from haagent.postgres.upstream import asking, conninfo_of

log = logging.getLogger(__name__)

OWN = names(
    "pgdata format wal-method xlog-method gzip compress version help dbname host port username password "
    "no-password slot no-slot create-slot progress target write-recovery-conf"
)
COPIED = re.compile(r"(\d+)/(\d+) kB \((\d+)%\)")


async def clone(settings: PostgresSettings, source: Upstream, slot: str | None, report: Report) -> None:
    """Run pg_basebackup; with ``slot``, that physical slot is made at the source first and holds WAL from then on.

    A failed or cancelled clone leaves its marker: the directory is never started.
    """
    await on_disk(lambda: _check_empty(settings))
    note = await unfinished.begin(settings, "cloning")
    if slot is not None:
        async with asking(settings, source) as asked:
            await asked.reserve(slot)
    try:
        async with service(settings, conninfo_of(source, settings.replication)) as extra:
            await run_checked(
                _words(settings, slot),
                env=tool_environment(extra),
                on_line=progress_reader("copying", report),
                on_start=note,
            )
    except Refused as error:
        if slot is not None:
            await _let_go(settings, source, slot)
        raise Refused(f"{error}; {await on_disk(lambda: _room(settings.data_dir))}") from error
    await on_disk(lambda: _tighten(settings.data_dir))
    await unfinished.finish(settings)


async def _let_go(settings: PostgresSettings, source: Upstream, slot: str) -> None:
    """A slot that nobody streams from would hold WAL at the source until it is full as well."""
    try:
        async with asking(settings, source) as asked:
            await asked.drop(slot)
    except PortError as error:
        log.warning("slot %s at %s could not be dropped after the failed base backup: %s", slot, source.name, error)


def _room(data_dir: Path) -> str:
    there = data_dir if data_dir.exists() else data_dir.parent
    stat = os.statvfs(there)
    return f"{stat.f_bavail * stat.f_frsize} bytes are free in {there}"


def _check_empty(settings: PostgresSettings) -> None:
    unfinished.end_leftover(settings)
    if settings.data_dir.exists() and os.listdir(settings.data_dir):
        raise Refused(f"{settings.data_dir} is not empty: it is not cloned over")


def _tighten(data_dir: Path) -> None:
    """PostgreSQL refuses a data directory open to others; group access stays as the source has it."""
    data_dir.chmod(0o750 if data_dir.stat().st_mode & 0o050 == 0o050 else 0o700)


def _words(settings: PostgresSettings, slot: str | None) -> list[str]:
    words, refused = option_words(settings.basebackup, OWN)
    if refused:
        log.warning(
            "postgresql.basebackup: the agent sets %s itself; what is configured is ignored", ", ".join(refused)
        )
    if not any(word.startswith("--checkpoint") for word in words):
        words.append("--checkpoint=fast")
    own = ["--dbname=service=source", "-D", str(settings.data_dir), "-X", "stream", "--progress", "--no-password"]
    return [settings.program("pg_basebackup"), *own, *([] if slot is None else [f"--slot={slot}"]), *words]


def progress_reader(phase: str, report: Report) -> Callable[[str], None]:
    """Turn ``done/total kB (n%)`` lines, as pg_basebackup and pg_rewind print them, into progress."""
    started = asyncio.get_running_loop().time()

    def read(line: str) -> None:
        match = COPIED.search(line)
        if match is None:
            log.info("%s: %s", phase, line)
            return
        done, total = int(match[1]) * 1024, int(match[2]) * 1024
        elapsed = asyncio.get_running_loop().time() - started
        rate = done / elapsed if elapsed > 0 else 0.0
        eta = max(0, total - done) / rate if rate > 0 else None
        report(Progress(phase, done, max(done, total), rate, eta))

    return read
