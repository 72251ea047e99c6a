"""What a PostgreSQL that runs already is like, for writing a configuration file that fits it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, LiteralString

import psycopg
from psycopg.rows import DictRow, dict_row

CONNECT_TIMEOUT_S = 5

GIVEN: LiteralString = """
SELECT name, current_setting(name) AS value FROM pg_settings
WHERE source IN ('configuration file', 'command line', 'environment variable', 'global')
AND (sourcefile IS NULL OR sourcefile NOT LIKE '%%postgresql.auto.conf' OR name NOT LIKE 'primary_%%') ORDER BY name
"""
LINES: LiteralString = "SELECT line FROM regexp_split_to_table(pg_read_file(%s), E'\\r?\\n') AS line"


@dataclass(frozen=True, slots=True)
class Description:
    """A running server as it tells of itself."""

    data_dir: str
    config_dir: str
    bin_dir: str
    listen_addresses: str
    port: int
    user: str
    encoding: str
    checksums: bool
    in_recovery: bool
    parameters: Mapping[str, str]
    """All that was set anywhere but in the server's defaults."""
    hba: tuple[str, ...]
    ident: tuple[str, ...]


def describe(dsn: str) -> Description:
    """Ask the server behind a libpq connection string as a superuser; psycopg.Error when it does not answer."""
    with psycopg.connect(dsn, connect_timeout=CONNECT_TIMEOUT_S, autocommit=True, row_factory=dict_row) as connection:
        shown = _one(
            connection,
            "SELECT current_setting('data_directory') AS data_dir, current_setting('config_file') AS config_file, "
            "current_setting('listen_addresses') AS listen, current_setting('port')::int AS port, "
            "current_setting('hba_file') AS hba, current_setting('ident_file') AS ident, "
            "current_setting('data_checksums') AS checksums, current_setting('server_encoding') AS encoding, "
            "pg_is_in_recovery() AS in_recovery, current_user AS who, "
            "(SELECT rolsuper FROM pg_roles WHERE rolname = current_user) AS super",
        )
        if not shown["super"]:
            raise psycopg.errors.InsufficientPrivilege(
                f"role {shown['who']} is no superuser, so that it can't read all settings; connect as one with --dsn"
            )
        return Description(
            data_dir=shown["data_dir"],
            config_dir=str(Path(shown["config_file"]).parent),
            bin_dir=_bin_dir(shown["data_dir"]),
            listen_addresses=shown["listen"],
            port=shown["port"],
            user=shown["who"],
            encoding=shown["encoding"],
            checksums=shown["checksums"] == "on",
            in_recovery=shown["in_recovery"],
            parameters={row["name"]: row["value"] for row in connection.execute(GIVEN)},
            hba=_lines(connection, shown["hba"]),
            ident=_lines(connection, shown["ident"]),
        )


def _one(connection: psycopg.Connection[DictRow], question: LiteralString) -> dict[str, Any]:
    row = connection.execute(question).fetchone()
    assert row is not None
    return row


def _lines(connection: psycopg.Connection[DictRow], path: str) -> tuple[str, ...]:
    """A configuration file without blanks and comments; one that only the server can see is read by it."""
    found = (str(row["line"]).strip() for row in connection.execute(LINES, [path]))
    return tuple(line for line in found if line and not line.startswith("#"))


def _bin_dir(data_dir: str) -> str:
    """Where the running postmaster's program lies; empty when this user may not see it."""
    try:
        pid = int((Path(data_dir) / "postmaster.pid").read_text().split()[0])
        return str(Path(os.readlink(f"/proc/{pid}/exe").removesuffix(" (deleted)")).parent)
    except (OSError, ValueError, IndexError):
        return ""
