"""pg_rewind: undo the end of a diverged history, so that this node can follow another again."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable

import psycopg

from haagent.core.facts import Divergence, Progress, Upstream
from haagent.core.terms import Timeline
from haagent.ports import Refused, Report, Unreachable
from haagent.postgres import unfinished
from haagent.postgres.clone import progress_reader
from haagent.postgres.control import ControlData
from haagent.postgres.disk import on_disk
from haagent.postgres.files import service
from haagent.postgres.programs import run, run_checked, tool_environment, verdict
from haagent.postgres.settings import PostgresSettings, names, option_words
from haagent.postgres.sql import Connection, connect, told
from haagent.postgres.upstream import asking, conninfo_of

log = logging.getLogger(__name__)

OWN = names(
    "target-pgdata source-pgdata source-server restore-target-wal config-file progress dry-run "
    "write-recovery-conf version help"
)
SOURCE_CHECKPOINT_S = 60.0
CRASH_RECOVERY_S = 3600.0


def check_preconditions(settings: PostgresSettings, control: ControlData) -> None:
    """Refused, with the remedy, when pg_rewind cannot work on this data directory."""
    if not control.can_rewind:
        raise Refused(
            f"pg_rewind cannot work on {settings.data_dir}: it was written without wal_log_hints and without data "
            f"checksums; clone this node anew, and set wal_log_hints: on for the next time"
        )


def judge(divergence: Divergence) -> None:
    """Say what is given up, before it is; Refused when pg_rewind would find nothing to do and leave it diverged."""
    if not divergence.diverged:
        return
    if divergence.own_timeline == divergence.leader_timeline:
        raise Refused(
            f"pg_rewind cannot undo a divergence on one timeline ({divergence.reason}): save what is needed from this "
            f"node, then clone it anew"
        )
    commits = "an uncounted number of" if divergence.lost_commits is None else str(divergence.lost_commits)
    log.warning(
        "rewinding to %s: %d bytes of WAL and %s commits past %s on timeline %d are given up; %s",
        divergence.leader,
        divergence.lost_bytes,
        commits,
        divergence.fork_lsn,
        divergence.own_timeline,
        divergence.reason,
    )


async def rewind(
    settings: PostgresSettings, source: Upstream, control: ControlData, diverged: bool, report: Report
) -> None:
    """Run pg_rewind under a marker that stays until it has succeeded.

    Refused when it failed, or found nothing to do on a diverged history. If it changed no file before, the marker is
    taken away again.
    """
    check_preconditions(settings, control)
    words = conninfo_of(source, settings.rewinder) | {"dbname": "postgres"}
    async with asking(settings, source) as asked:
        timeline = (await asked.identify()).timeline
    await _source_checkpoint(words, source, timeline)
    note = await unfinished.begin(settings, "rewinding")
    if not control.clean:
        report(Progress("crash recovery"))
        await _recover_crash(settings, note)
    argv = [*_words(settings), *await _restore_words(settings)]
    async with service(settings, words) as extra:
        touched = idle = False

        def heard(line: str) -> None:
            nonlocal touched, idle
            idle |= "no rewind required" in line
            touched |= "need to copy" in line or "kB (" in line
            reader(line)

        reader = progress_reader("rewinding", report)
        ended = await run(argv, env=tool_environment(extra), on_line=heard, on_start=note)
    if ended.code == 0:
        await unfinished.finish(settings)
        if idle and diverged:
            raise Refused(
                "pg_rewind found nothing to do, though the histories have parted: before PostgreSQL 16 it knows the "
                "timeline of a standby by its last checkpoint only, and can't see one that was followed since; "
                "nothing was changed; clone this node anew"
            )
        return
    if not touched:
        await unfinished.finish(settings)
    state = "the data directory is no longer usable" if touched else "nothing was changed"
    raise Refused(f"pg_rewind {verdict(ended.code)}, {state}: {ended.said}")


async def _recover_crash(settings: PostgresSettings, note: Callable[[int], Awaitable[None]]) -> None:
    """Bring a crashed directory to a clean end in single-user mode, which refuses signal files.

    pg_rewind can do so too, but before version 15 not when the configuration lies outside the data directory.
    """

    def remove_signals() -> None:
        for name in ("standby.signal", "recovery.signal", "postmaster.pid"):
            (settings.data_dir / name).unlink(missing_ok=True)

    await on_disk(remove_signals)
    conf = settings.conf / "postgresql.conf"
    argv = [settings.program("postgres"), "--single", "-F", "-D", str(settings.data_dir)]
    argv += ["-c", f"config_file={conf}"] if await on_disk(conf.exists) else []
    await run_checked([*argv, "template1"], env=tool_environment(), timeout=CRASH_RECOVERY_S, on_start=note)


def _words(settings: PostgresSettings) -> list[str]:
    words, refused = option_words(settings.rewind_options, OWN)
    if refused:
        log.warning("postgresql.rewind: the agent sets %s itself; what is configured is ignored", ", ".join(refused))
    own = [f"--target-pgdata={settings.data_dir}", "--source-server=service=source", "--progress"]
    return [settings.program("pg_rewind"), *own, *words]


async def _restore_words(settings: PostgresSettings) -> list[str]:
    """WAL from the archive if there is one; and where the configuration is, which pg_rewind knows from 15 on."""
    conf = settings.conf / "postgresql.conf"
    if not await on_disk(conf.exists):
        return []
    argv = (
        settings.program("postgres"),
        "-D",
        str(settings.data_dir),
        "-c",
        f"config_file={conf}",
        "-C",
        "restore_command",
    )
    shown = await run(argv, env=tool_environment(), timeout=20.0)
    words = ["--restore-target-wal"] if shown.code == 0 and shown.tail else []
    if settings.conf != settings.data_dir:
        major = int((await on_disk((settings.data_dir / "PG_VERSION").read_text)).split(".")[0])
        words = [*words, f"--config-file={conf}"] if major >= 15 else []
    return words


async def _source_checkpoint(words: dict[str, str], source: Upstream, timeline: Timeline) -> None:
    """Before its first checkpoint after promotion the source's control file shows the old timeline, which would make
    pg_rewind believe that there is nothing to do."""
    try:
        connection = await connect(words, 10.0)
    except (psycopg.Error, TimeoutError) as error:
        raise Unreachable(f"{source.name} cannot be asked before the rewind: {told(error)}") from error
    try:
        await _wait_checkpoint(connection, source, timeline)
    except (psycopg.Error, TimeoutError) as error:
        raise Refused(f"{source.name} cannot be read by pg_rewind: {told(error)}") from error
    finally:
        await connection.close()


async def _wait_checkpoint(connection: Connection, source: Upstream, timeline: Timeline) -> None:
    asked = False
    async with asyncio.timeout(SOURCE_CHECKPOINT_S):
        while True:
            found = await connection.execute(
                "SELECT pg_is_in_recovery() AS recovering, timeline_id AS timeline FROM pg_control_checkpoint()"
            )
            row = await found.fetchone()
            assert row is not None
            if row["timeline"] >= timeline:
                return
            if row["recovering"]:
                raise Refused(f"{source.name} is in recovery on timeline {row['timeline']}: it is no source yet")
            if not asked:
                asked = True
                with contextlib.suppress(psycopg.errors.InsufficientPrivilege):
                    await connection.execute("CHECKPOINT")
                continue
            await asyncio.sleep(0.2)
