"""The server's life: its files on disk, its start, its signals."""

from __future__ import annotations

import asyncio
import logging
import os
import pwd
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from haagent.core.facts import ServerConfig
from haagent.core.terms import Timeline
from haagent.ports import Refused, allowed
from haagent.postgres import render
from haagent.postgres.control import ControlData
from haagent.postgres.copies import take_up
from haagent.postgres.disk import on_disk
from haagent.postgres.files import (
    merge_passfile,
    passfile_line,
    read_marker,
    read_text,
    write_atomically,
    write_if_changed,
)
from haagent.postgres.leftovers import remove_stale_locks
from haagent.postgres.postmaster import Postmaster
from haagent.postgres.process import find_postmaster, serving
from haagent.postgres.settings import PostgresSettings
from haagent.postgres.taken import hold, hold_below, put_away
from haagent.postgres.wal import newest_timeline

log = logging.getLogger(__name__)

ORPHANS_GONE_S = 3.0
BASE = "postgresql.base.conf"


def os_user() -> str:
    """The operating system's name of the user that PostgreSQL runs as."""
    return pwd.getpwuid(os.geteuid()).pw_name


# --- files ----------------------------------------------------------------------------------------------------


def write_files(settings: PostgresSettings, config: ServerConfig) -> bool:
    """Write the configuration files that differ; whether the server has something to reload. Blocking."""
    settings.conf.mkdir(mode=0o700, parents=True, exist_ok=True)
    text = render.postgresql_conf(settings, config, _include(settings), _major(settings))
    changed = write_if_changed(settings.conf / "postgresql.conf", text)
    changed |= _write_hba(settings, config)
    changed |= _write_ident(settings, config)
    write_passfile(settings, config)
    return changed


def _major(settings: PostgresSettings) -> int:
    """The major version of the data directory; 0 when there is none."""
    return int((read_text(settings.data_dir / "PG_VERSION") or "0").strip().partition(".")[0])


def _include(settings: PostgresSettings) -> str | None:
    """The base configuration: the operator's own, or what stood in postgresql.conf before the agent came."""
    if settings.custom_conf is not None:
        return str(settings.custom_conf)
    base = settings.conf / BASE
    if base.exists():
        return BASE
    for candidate in (settings.conf / "postgresql.conf", settings.data_dir / "postgresql.conf"):
        text = read_text(candidate)
        if text is not None and not text.startswith(render.HEADER):
            write_atomically(base, text)
            return BASE
    return None


def _write_hba(settings: PostgresSettings, config: ServerConfig) -> bool:
    path = settings.conf / "pg_hba.conf"
    if config.pg_hba:
        return write_if_changed(path, render.lines_file(config.pg_hba))
    if path.exists():
        return False
    method = render.password_method(config)
    lines = render.default_hba(settings.superuser, settings.replication, os_user(), method)
    found = read_text(settings.data_dir / "pg_hba.conf")
    return write_if_changed(path, found or render.lines_file(lines))


def _write_ident(settings: PostgresSettings, config: ServerConfig) -> bool:
    path = settings.conf / "pg_ident.conf"
    if config.pg_ident:
        return write_if_changed(path, render.lines_file(config.pg_ident))
    if path.exists():
        return False
    found = read_text(settings.data_dir / "pg_ident.conf")
    return write_if_changed(path, found or render.lines_file(render.default_ident(settings.superuser, os_user())))


def write_passfile(settings: PostgresSettings, config: ServerConfig) -> None:
    """The WAL receiver's password for its upstream, beside what others keep in that file."""
    if config.upstream is None or not settings.replication.password:
        return
    upstream = config.upstream
    lines = tuple(passfile_line(host, upstream.port, settings.replication) for host in upstream.hosts)
    settings.passfile.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_if_changed(settings.passfile, merge_passfile(read_text(settings.passfile), lines))


def _set_role(settings: PostgresSettings, *, primary: bool) -> None:
    """The signal files that make it a standby or not, and nothing in ALTER SYSTEM's file that says otherwise."""
    signal_file = settings.data_dir / "standby.signal"
    (settings.data_dir / "recovery.signal").unlink(missing_ok=True)
    if primary:
        signal_file.unlink(missing_ok=True)
    elif not signal_file.exists():
        write_atomically(signal_file, "")
    auto = settings.data_dir / "postgresql.auto.conf"
    text = read_text(auto)
    if text is not None:
        write_if_changed(auto, render.without_recovery(text))


# --- start, signals -------------------------------------------------------------------------------------------


async def clear_orphans(settings: PostgresSettings, kill_tree: Callable[[], Awaitable[int]]) -> None:
    """End the processes that outlived their postmaster; Refused when they do not go, or when the postmaster lives.

    What serves an unfinished data directory is left over from building it, its postmaster too.
    """
    orphans = await on_disk(lambda: serving(settings.data_dir))
    if not orphans:
        return
    postmaster, _ = await on_disk(lambda: find_postmaster(settings.data_dir))
    if postmaster is not None and await on_disk(lambda: read_marker(settings)) is None:
        raise Refused(f"PostgreSQL runs on {settings.data_dir} as process {postmaster.pid}")
    log.warning("%d processes outlived the postmaster of %s and are killed", len(orphans), settings.data_dir)
    await kill_tree()
    deadline = asyncio.get_running_loop().time() + ORPHANS_GONE_S
    while orphans := await on_disk(lambda: serving(settings.data_dir)):
        if asyncio.get_running_loop().time() > deadline:
            raise Refused(
                f"processes {orphans} of {settings.data_dir} do not end even when killed (a hanging disk?): PostgreSQL "
                f"is not started beside them; see: ps -o pid,stat,wchan,cmd -p {','.join(map(str, orphans))}"
            )
        await asyncio.sleep(0.02)


@dataclass(frozen=True, slots=True)
class Role:
    """What a server is started as; ``permitted`` raises Refused once it must not run as that any more."""

    primary: bool
    permitted: Callable[[], None] = allowed


async def start(
    settings: PostgresSettings,
    config: ServerConfig,
    postmaster: Postmaster,
    kill_tree: Callable[[], Awaitable[int]],
    control: ControlData,
    role: Role,
) -> None:
    """Start the postmaster on a finished data directory; Refused when one runs or the directory is unfinished.

    Permission is asked for once more when it runs: this process may have stood still in between, and whoever ends what
    has no permit may have found nothing to end yet.
    """
    primary = role.primary
    if postmaster.process is not None:
        raise Refused(f"PostgreSQL already runs as process {postmaster.process.pid}")
    marker = await on_disk(lambda: read_marker(settings))
    if marker is not None:
        raise Refused(f"{settings.data_dir} is unfinished ({marker.doing} was interrupted) and is never started")
    await clear_orphans(settings, kill_tree)

    def prepare() -> None:
        remove_stale_locks(settings)
        write_files(settings, config)
        if not primary:
            written = newest_timeline(settings, control.redo, control.segment_bytes)
            put_away(settings, max(control.timeline, written))
            hold_below(settings, control.timeline)
        _set_role(settings, primary=primary)
        take_up(settings, primary=primary)

    await on_disk(prepare)
    words = render.command_line(settings, config, None if primary else control.least)
    role.permitted()
    process = await postmaster.spawn([settings.program("postgres"), *words], settings.server_log)
    try:
        role.permitted()
    except Refused:
        # A process this young is not known by its working directory yet, and has no backends that could go on.
        postmaster.signal(signal.SIGQUIT)
        await kill_tree()
        raise
    log.info("PostgreSQL started as a %s, process %d", "primary" if primary else "standby", process.pid)


async def promote(settings: PostgresSettings, postmaster: Postmaster, present: Timeline, claimed: Timeline) -> None:
    """Tell a standby to leave recovery for the timeline claimed, without SQL, which may hang; Refused when it is none.

    Source: the manual of pg_ctl and src/backend/postmaster/postmaster.c: a file ``promote`` and SIGUSR1.
    """

    def write() -> None:
        in_recovery = (settings.data_dir / "standby.signal", settings.data_dir / "recovery.signal")
        if not any(path.exists() for path in in_recovery):
            raise Refused(f"{settings.data_dir} has no standby.signal: it is not in recovery")
        hold(settings, present, claimed)
        (settings.data_dir / "promote").touch(mode=0o600)

    if postmaster.process is None:
        raise Refused("PostgreSQL does not run and cannot be promoted")
    await on_disk(write)
    postmaster.signal(signal.SIGUSR1)


def stop(postmaster: Postmaster, mode: str) -> None:
    """Signal the postmaster to stop: ``fast`` in good order, ``immediate`` without a checkpoint."""
    postmaster.signal(signal.SIGQUIT if mode == "immediate" else signal.SIGINT)
