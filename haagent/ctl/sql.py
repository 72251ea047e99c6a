"""``haagent-ctl dsn`` and ``query``: how to connect to a member, and what its PostgreSQL answers.

Which user and password are used is libpq's business: options, PGUSER, PGPASSWORD, ~/.pgpass.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg

from haagent.core.facts import Member, Snapshot
from haagent.ctl import nodes, output, rows
from haagent.ctl.nodes import Choice
from haagent.ctl.target import Failed, Target

CONNECT_TIMEOUT_S = 10
_SERVERS = {"primary": "primary", "standby-leader": "standby", "replica": "standby", "standby": "standby"}
"""Which servers libpq may connect to for a role."""


@dataclass(frozen=True, slots=True)
class Question:
    """What to ask, of whom, and how the answer is shown."""

    command: str
    member: str | None = None
    role: str | None = None
    dbname: str | None = None
    username: str | None = None
    password: str | None = None
    form: str = "tsv"
    delimiter: str = "\t"


async def dsn(target: Target, member: str | None, role: str | None) -> str:
    """How to connect to a member: the one named, or one with the role, the leader if nothing is said."""
    host, port = rows.address(_meant(target, await target.existing(), member, role))
    return f"host={host} port={port}"


def _meant(target: Target, snapshot: Snapshot, member: str | None, role: str | None) -> Member:
    if member is not None and role is not None:
        raise Failed("give --role or --member, not both")
    choice = Choice((member,)) if member is not None else Choice(role=role or "leader")
    found = [one for one in nodes.chosen(target, snapshot, choice) if rows.address(one)[0]]
    # A member that is down is the last that anybody wants to connect to.
    found.sort(key=lambda one: (not one.running, one.name))
    if not found:
        raise Failed(f"no member that is meant says where its PostgreSQL is: see haagent-ctl list {target.cluster}")
    return found[0]


async def query(target: Target, question: Question) -> str:
    """What PostgreSQL answers on the member that is meant; Failed with its own words when it refuses."""
    member = _meant(target, await target.existing(), question.member, question.role)
    host, port = rows.address(member)
    given: Mapping[str, Any] = {
        "host": host,
        "port": port,
        "dbname": question.dbname,
        "user": question.username,
        "password": question.password,
        "connect_timeout": CONNECT_TIMEOUT_S,
        "application_name": "haagent-ctl query",
        # The key may be older than a change of leader: what the server is now counts.
        "target_session_attrs": _SERVERS.get(question.role or "", "any"),
    }
    try:
        connection = await psycopg.AsyncConnection.connect(
            **{name: value for name, value in given.items() if value is not None}, autocommit=True
        )
        async with connection:
            cursor = await connection.execute(question.command.encode())
            names = [column.name for column in cursor.description or ()]
            found = await cursor.fetchall() if names else []
    except psycopg.Error as error:
        raise Failed(f"{member.name} ({host}:{port}): {str(error).strip()}") from None
    return shown(names, found, question) if names else cursor.statusmessage or ""


def shown(names: Sequence[str], found: Sequence[Sequence[Any]], question: Question) -> str:
    """The rows in the format asked for."""
    lines = [dict(zip(names, map(_plain, row), strict=True)) for row in found]
    if question.form == "json":
        return output.as_json(lines)
    if question.form == "yaml":
        return output.as_yaml(lines)
    if question.form == "table":
        return output.as_table(None, names, lines)
    cells = [names, *([output.cell(line[name]) for name in names] for line in lines)]
    return "\n".join(question.delimiter.join(row) for row in cells)


def _plain(value: Any) -> Any:
    """A value as JSON and YAML can hold it."""
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)
