"""Asks PostgreSQL, here and at the other members, what the doctor wants to know; over connections of its own."""

from __future__ import annotations

import asyncio
import threading
from typing import LiteralString

import psycopg

from haagent.core.facts import Upstream
from haagent.core.health.facts import Archiver, Login, SqlFacts
from haagent.host.threads import in_thread
from haagent.ports import PortError, Unreachable
from haagent.postgres import settings as known
from haagent.postgres.process import find_postmaster
from haagent.postgres.programs import run, tool_environment
from haagent.postgres.sql import address_of, connect, conninfo_of, told
from haagent.postgres.upstream import conninfo_of as conninfo_at

LOGIN_TIMEOUT_S = 3.0
_looking: set[threading.Thread] = set()
"""The question to the disk that is under way."""
SETTINGS: LiteralString = "SELECT name, setting FROM pg_settings"
ARCHIVER: LiteralString = """
SELECT failed_count AS failed, coalesce(last_failed_wal, '') AS failed_wal,
    extract(epoch FROM now() - last_failed_time)::float8 AS failed_age_s,
    extract(epoch FROM now() - last_archived_time)::float8 AS archived_age_s
FROM pg_stat_archiver
"""
CONNECTIONS: LiteralString = "SELECT count(*)::int AS n FROM pg_stat_activity WHERE backend_type = 'client backend'"
RETAINED: LiteralString = """
SELECT slot_name, pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()
    ELSE pg_current_wal_lsn() END, restart_lsn)::bigint AS bytes
FROM pg_replication_slots WHERE NOT active AND restart_lsn IS NOT NULL
"""


async def asked_here(settings: known.PostgresSettings, timeout: float) -> SqlFacts:
    """The local server's answers; PortError when it does not run or does not answer."""
    if _looking:
        raise Unreachable("the disk has not answered the question of before")
    process, pid_file = await in_thread(lambda: find_postmaster(settings.data_dir), _looking)
    if process is None:
        raise Unreachable("PostgreSQL does not run here")
    try:
        async with asyncio.timeout(timeout):
            async with await connect(conninfo_of(settings, address_of(settings, process, pid_file)), timeout) as link:
                settings_of = {row["name"]: row["setting"] for row in await (await link.execute(SETTINGS)).fetchall()}
                archiver = await (await link.execute(ARCHIVER)).fetchone()
                connections = await (await link.execute(CONNECTIONS)).fetchone()
                retained = await (await link.execute(RETAINED)).fetchall()
    except (psycopg.Error, TimeoutError, OSError) as error:
        raise Unreachable(f"PostgreSQL does not answer here: {told(error)}") from error
    return SqlFacts(
        settings=settings_of,
        archiver=Archiver(**archiver) if archiver else Archiver(),
        connections=connections["n"] if connections else 0,
        retained={row["slot_name"]: max(0, row["bytes"] or 0) for row in retained},
    )


async def logged_in(settings: known.PostgresSettings, peer: Upstream, address: str) -> tuple[Login, ...]:
    """What came of logging in at another member's address in each of the three roles, one after the other."""
    roles = {"superuser": settings.superuser, "replication": settings.replication, "rewind": settings.rewinder}
    return tuple([await _log_in(peer, address, role, login) for role, login in roles.items()])


async def _log_in(peer: Upstream, address: str, role: str, login: known.Login) -> Login:
    user = login.username or "(the default user)"
    words = {**conninfo_at(peer, login), "hostaddr": address}
    where = {"replication": "true"} if role == "replication" else {"dbname": "postgres"}
    try:
        async with asyncio.timeout(LOGIN_TIMEOUT_S):
            connection = await psycopg.AsyncConnection.connect(**words, **where, autocommit=True)  # type: ignore[arg-type]
            async with connection:
                system_id = await _system_id(connection) if role == "replication" else ""
    except (psycopg.Error, TimeoutError, OSError) as error:
        return Login(peer.name, role, user, why=told(error))
    return Login(peer.name, role, user, system_id=system_id)


async def _system_id(connection: psycopg.AsyncConnection[tuple[object, ...]]) -> str:
    cursor = psycopg.AsyncClientCursor(connection)
    await cursor.execute("IDENTIFY_SYSTEM")
    result = cursor.pgresult
    return (result.get_value(0, 0) or b"").decode() if result is not None else ""


async def version_of_programs(settings: known.PostgresSettings, timeout: float) -> str:
    """The major version of the ``postgres`` that would be started; empty when it can't be run."""
    lines: list[str] = []
    argv = (settings.program("postgres"), "--version")
    try:
        await run(argv, env=tool_environment(), timeout=timeout, on_line=lines.append)
    except (PortError, OSError):
        return ""
    number = lines[-1].rpartition(") ")[2].split()[0] if lines and ") " in lines[-1] else ""
    return number.partition(".")[0]
