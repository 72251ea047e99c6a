"""The first data directory of a new cluster: initdb or an operator's program, roles, a script, a clean stop.

All of it happens on a server that listens on no network, with a socket in a directory only this user can enter.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import shlex
import signal
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import psycopg
from psycopg import sql

from haagent.core.facts import Progress, ServerConfig
from haagent.core.terms import SystemId
from haagent.ports import Refused, Report
from haagent.postgres import render, restored, unfinished
from haagent.postgres.control import read_control
from haagent.postgres.custom import path_with_programs
from haagent.postgres.disk import on_disk
from haagent.postgres.files import passfile_line, private_directory, write_atomically
from haagent.postgres.postmaster import Postmaster
from haagent.postgres.process import find_postmaster, serving
from haagent.postgres.programs import clean_environment, run_checked
from haagent.postgres.server import os_user, write_files
from haagent.postgres.settings import Login, PostgresSettings, option_words
from haagent.postgres.sql import Connection, connect, told

log = logging.getLogger(__name__)

INITDB_OWN = frozenset({"pgdata", "username", "pwfile", "pwprompt"})
REWIND_FUNCTIONS = (
    "pg_ls_dir(text, boolean, boolean)",
    "pg_stat_file(text, boolean)",
    "pg_read_binary_file(text)",
    "pg_read_binary_file(text, bigint, bigint, boolean)",
)
"""What a role needs to be read from by pg_rewind. Source: manual, pg_rewind, Notes."""


async def initialize(settings: PostgresSettings, config: ServerConfig, report: Report) -> SystemId:
    """Make a new cluster; its system identifier. Refused with the reason when any step failed."""
    named = replace(settings, superuser=replace(settings.superuser, username=_superuser(settings)))
    note = await unfinished.begin(settings, "initializing")
    async with private_directory(settings) as private:
        if named.bootstrap is None:
            report(Progress("initdb"))
            words = await on_disk(lambda: _initdb_words(named, private))
            await run_checked(words, env=clean_environment(), on_start=note)
            begun = restored.INITIAL
        else:
            begun = await restored.make(named, named.bootstrap, note, report)
        await on_disk(lambda: write_files(named, _with_hba(named, config)))
        await _with_server(named, config, begun, private, report)
    control = await read_control(settings)
    if not control.clean:
        raise Refused(f"the new cluster was not shut down cleanly: its state is {control.state!r}")
    await unfinished.finish(settings)
    return control.system_id


def _superuser(settings: PostgresSettings) -> str:
    return settings.superuser.username or os_user()


def _with_hba(settings: PostgresSettings, config: ServerConfig) -> ServerConfig:
    """A new cluster in which the operator lets nobody in gets rules that make it usable, not initdb's ``trust``."""
    method = render.password_method(config)
    usual = render.default_hba(settings.superuser, settings.replication, os_user(), method)
    hba = config.pg_hba or settings.bootstrap_hba or usual
    ident = config.pg_ident or render.default_ident(settings.superuser, os_user())
    return replace(config, upstream=None, pg_hba=hba, pg_ident=ident)


def _initdb_words(settings: PostgresSettings, private: Path) -> list[str]:
    words, refused = option_words(settings.initdb, INITDB_OWN)
    if refused:
        log.warning("bootstrap.initdb: the agent sets %s itself; what is configured is ignored", ", ".join(refused))
    own = ["-D", str(settings.data_dir), f"--username={settings.superuser.username}"]
    if settings.superuser.password:
        write_atomically(private / "pwfile", settings.superuser.password + "\n")
        own.append(f"--pwfile={private / 'pwfile'}")
        if not any(word.startswith(("--auth", "-A")) for word in words):
            own.append("--auth=scram-sha-256")
    elif not any(word.startswith(("--auth", "-A")) for word in words):
        own += ["--auth-local=peer", "--auth-host=scram-sha-256"]
    return [settings.program("initdb"), *own, *words]


async def _with_server(
    settings: PostgresSettings, config: ServerConfig, begun: restored.Start, private: Path, report: Report
) -> None:
    """Start a server that nobody else can reach, fill it, stop it cleanly."""
    hba = private / "pg_hba.conf"
    await on_disk(lambda: write_atomically(hba, "local all all trust\nlocal replication all trust\n"))
    overrides = {
        **begun.parameters,
        "listen_addresses": "",
        "unix_socket_directories": str(private),
        "hba_file": str(hba),
        "synchronous_standby_names": "",
        "log_min_error_statement": "panic",
        "log_statement": "none",
    }
    words = render.command_line(settings, config, begun.least)
    for name, value in overrides.items():
        words += ["-c", f"{name}={value}"]
    postmaster = Postmaster()
    with unfinished.nothing_else(lambda: serving(settings.data_dir)):
        await postmaster.spawn([settings.program("postgres"), *words], settings.server_log)
        try:
            connection = await _first_connection(settings, postmaster, private, begun)
            try:
                if begun.recovers:
                    await restored.recovered(connection, lambda: postmaster.process is not None, report)
                report(Progress("roles"))
                await _make_roles(connection, settings)
            finally:
                await connection.close()
            await _post_bootstrap(settings, private, report)
            postmaster.signal(signal.SIGINT)
            if not await postmaster.wait_end(settings.start_timeout):
                raise Refused(f"the new server did not stop within {settings.start_timeout:g} s")
        finally:
            postmaster.close()


async def _first_connection(
    settings: PostgresSettings, postmaster: Postmaster, private: Path, begun: restored.Start
) -> Connection:
    """Connect as soon as the server lets anybody in; what was restored may know its superuser by another name."""
    users = [_superuser(settings), *((os_user(), "postgres") if begun.recovers else ())]
    now = asyncio.get_running_loop().time
    deadline = now() + settings.start_timeout
    for attempt in itertools.count():
        user = users[attempt % len(users)]
        try:
            return await connect(
                {"host": str(private), "port": str(settings.port), "user": user, "dbname": "postgres"}, 5.0
            )
        except (psycopg.Error, TimeoutError) as error:
            if postmaster.process is None:
                await asyncio.sleep(0.05)
                raise Refused(f"the new server did not start: {postmaster.last_words}; see its log") from error
            if begun.recovers and await on_disk(lambda: _recovering(settings)):
                deadline = now() + settings.start_timeout
            if now() > deadline:
                raise Refused(f"the new server does not answer: {told(error)}") from error
        await asyncio.sleep(0.2 if begun.recovers else 0.02)
    raise AssertionError("unreachable")


def _recovering(settings: PostgresSettings) -> bool:
    """Whether the server lets nobody in yet, which may take hours. Blocking."""
    pid_file = find_postmaster(settings.data_dir)[1]
    return pid_file is not None and pid_file.status == "starting"


async def _make_roles(connection: Connection, settings: PostgresSettings) -> None:
    """The roles of ``authentication`` with their passwords; those that exist get theirs."""
    try:
        superuser = replace(settings.superuser, username=_superuser(settings))
        for login, rights in (
            (settings.replication, "LOGIN REPLICATION"),
            (settings.rewind, "LOGIN"),
            (superuser, "LOGIN SUPERUSER"),
        ):
            if login.username:
                await _make_role(connection, login, rights)
        if settings.rewind.username:
            await _grant_rewind(connection, settings.rewind.username)
    except psycopg.Error as error:
        raise Refused(f"the roles of the new cluster could not be created: {told(error)}") from error


async def _make_role(connection: Connection, login: Login, rights: str) -> None:
    """Create or alter one role; the server is sent a verifier, not the password."""
    assert login.username is not None
    role = sql.Identifier(login.username)
    found = await connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (login.username,))
    verb = sql.SQL("ALTER ROLE" if await found.fetchone() else "CREATE ROLE")
    await connection.execute(sql.SQL("{} {} WITH ").format(verb, role) + sql.SQL(rights))
    if login.password:
        shown = await (await connection.execute("SHOW password_encryption")).fetchone()
        method = str(shown["password_encryption"]) if shown else "scram-sha-256"
        verifier = connection.pgconn.encrypt_password(
            login.password.encode(), login.username.encode(), method.encode()
        ).decode()
        await connection.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(role, sql.Literal(verifier)))


async def _grant_rewind(connection: Connection, username: str) -> None:
    role = sql.Identifier(username)
    for function in REWIND_FUNCTIONS:
        grant = sql.SQL("GRANT EXECUTE ON FUNCTION pg_catalog.{} TO {}").format(sql.SQL(function), role)
        await connection.execute(grant)
    if connection.info.server_version >= 150000:
        await connection.execute(sql.SQL("GRANT pg_checkpoint TO {}").format(role))


async def _post_bootstrap(settings: PostgresSettings, private: Path, report: Report) -> None:
    """The operator's script; it gets a connection URL as last argument, and PGPASSFILE."""
    if not settings.post_bootstrap:
        return
    report(Progress("post_bootstrap"))
    user = _superuser(settings)
    passfile = private / "pgpass"
    line = passfile_line("*", settings.port, replace(settings.superuser, username=user))
    await on_disk(lambda: write_atomically(passfile, line + "\n"))
    url = f"postgres://{quote(user, safe='')}@/postgres?host={quote(str(private), safe='')}&port={settings.port}"
    words = [*shlex.split(settings.post_bootstrap), url]
    env = clean_environment({"PGPASSFILE": str(passfile), "PATH": path_with_programs(settings)})
    await run_checked(words, env=env, on_line=lambda said: log.info("post_bootstrap: %s", said))
