"""A copy of another node in an empty data directory: a base backup with its progress, or an operator's program."""

from __future__ import annotations

import asyncio
import logging
import os
import re
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from urllib.parse import quote, urlencode

from haagent.core.facts import Progress, Upstream
from haagent.core.methods import ReplicaMethod
from haagent.ports import PortError, Refused, Report
from haagent.postgres import unfinished
from haagent.postgres.aside import discard
from haagent.postgres.control import read_control
from haagent.postgres.custom import command_words, path_with_programs
from haagent.postgres.disk import on_disk
from haagent.postgres.files import passfile_line, private_directory, service, write_atomically
from haagent.postgres.programs import clean_environment, run_checked, tool_environment
from haagent.postgres.server import os_user
from haagent.postgres.settings import PostgresSettings, names, option_words
from haagent.postgres.upstream import asking, conninfo_of

log = logging.getLogger(__name__)

OWN = names(
    "pgdata format wal-method xlog-method gzip compress version help dbname host port username password "
    "no-password slot no-slot create-slot progress target write-recovery-conf"
)
SECRET_OPTIONS = ("sslpassword",)
Note = Callable[[int], Awaitable[None]]
COPIED = re.compile(r"(\d+)/(\d+) kB \((\d+)%\)")


async def clone(
    settings: PostgresSettings,
    source: Upstream | None,
    slot: str | None,
    report: Report,
    methods: Sequence[ReplicaMethod],
) -> None:
    """Try the methods in order, by default pg_basebackup alone; Refused with what all of them said when none works.

    With ``slot``, that physical slot is made at the source first and holds WAL from then on. A failed or cancelled
    clone leaves its marker: the directory is never started.
    """
    await on_disk(lambda: _check_empty(settings))
    await unfinished.begin(settings, "cloning")
    if slot is not None and source is not None:
        async with asking(settings, source) as asked:
            await asked.reserve(slot)
    try:
        await _by_turns(settings, source, slot, report, methods or (ReplicaMethod(),))
    except Refused as error:
        if slot is not None and source is not None:
            await _let_go(settings, source, slot)
        if any(method.command for method in methods):
            # It may look whole, and would be kept: with each new try one more, until the disk is full.
            await on_disk(lambda: discard(settings))
        raise Refused(f"{error}; {await on_disk(lambda: _room(settings.data_dir))}") from error
    await on_disk(lambda: _tighten(settings.data_dir))
    await unfinished.finish(settings)


async def _by_turns(
    settings: PostgresSettings,
    source: Upstream | None,
    slot: str | None,
    report: Report,
    methods: Sequence[ReplicaMethod],
) -> None:
    """The first method that works; what an earlier one left is removed, unless the next asks for it."""
    usable = [method for method in methods if source is not None or (method.command and method.no_leader)]
    told: list[str] = []
    for method in usable:
        if told and not method.keep_data:
            await on_disk(lambda: discard(settings))
        note = await unfinished.begin(settings, "cloning")
        try:
            if method.command:
                await _by_program(settings, method, source, report, note)
            else:
                assert source is not None
                await _base_backup(settings, source, slot, report, note)
        except Refused as error:
            told.append(f"{method.name}: {error}" if len(usable) > 1 else str(error))
            log.warning("no copy by %s: %s", method.name, error)
        else:
            return
    raise Refused("; ".join(told) or "nobody leads, and no method can make a copy without a leader")


async def _base_backup(
    settings: PostgresSettings, source: Upstream, slot: str | None, report: Report, note: Note
) -> None:
    async with service(settings, conninfo_of(source, settings.replication)) as extra:
        await run_checked(
            _words(settings, slot),
            env=tool_environment(extra),
            on_line=progress_reader("copying", report),
            on_start=note,
        )


async def _by_program(
    settings: PostgresSettings, method: ReplicaMethod, source: Upstream | None, report: Report, note: Note
) -> None:
    """Run an operator's program; Refused also when it says that it is done and there is no data."""
    report(Progress(method.name))
    own = {"scope": settings.cluster_name, "role": "replica", "datadir": str(settings.data_dir)}
    async with private_directory(settings) as private:
        env = {"PATH": path_with_programs(settings)}
        if source is not None and settings.replication.password:
            lines = [passfile_line(host, source.port, settings.replication) for host in source.hosts]
            await on_disk(lambda: write_atomically(private / "pgpass", "".join(f"{line}\n" for line in lines)))
            env["PGPASSFILE"] = str(private / "pgpass")
        await run_checked(
            command_words(method, {**own, "connstring": _url(settings, source)}),
            env=clean_environment(env),
            on_line=lambda said: log.info("%s: %s", method.name, said),
            on_start=note,
        )
    await read_control(settings)


def _url(settings: PostgresSettings, source: Upstream | None) -> str:
    """How an operator's program reaches the source, without secrets; empty when there is none."""
    if source is None:
        return ""
    ends = [f"[{host}]:{source.port}" if ":" in host else f"{host}:{source.port}" for host in source.hosts]
    user = quote(settings.replication.username or os_user(), safe="")
    options = {name: value for name, value in settings.replication.options.items() if name not in SECRET_OPTIONS}
    if len(ends) > 1:
        options["target_session_attrs"] = "read-write"
    url = f"postgres://{user}@{','.join(ends)}/postgres"
    return f"{url}?{urlencode(options, quote_via=quote)}" if options else url


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
