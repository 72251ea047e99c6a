"""A node in whose facts the doctor finds nothing wrong."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from haagent.core.facts import Settings, View
from haagent.core.health.facts import ClockFacts, HostFacts, Login, Name, NodeFacts, PathFacts, Road, SqlFacts, Volume
from tests.builders import SYSTEM_ID, WALL, a_snapshot, a_view

GIB = 1024**3
DATA = "/data/pg"
POSTGRES = 26
VIEW = a_view()
SQL = SqlFacts(
    settings={
        "wal_log_hints": "on",
        "data_checksums": "off",
        "max_wal_senders": "10",
        "max_replication_slots": "10",
        "max_connections": "100",
        "archive_mode": "off",
        "fsync": "on",
        "full_page_writes": "on",
        "synchronous_commit": "on",
    },
    connections=5,
)


def a_path(path: str = DATA, **changes: Any) -> PathFacts:
    """A private directory of the agent's user."""
    found = PathFacts(path, there=True, directory=True, mode=0o700, uid=POSTGRES, writable=True, executable=True)
    return replace(found, **changes)


def a_host(**changes: Any) -> HostFacts:
    host = HostFacts(
        user="postgres",
        uid=POSTGRES,
        data=a_path(),
        state_dir=a_path("/data/pg.haagent"),
        password_file=a_path("/data/pg.haagent/pgpass", directory=False, mode=0o600),
        secrets=(a_path("/etc/haagent.yml", directory=False, mode=0o640),),
        data_version="15",
        programs_version="15",
        volumes=(Volume(DATA, "/data", "ext4", 80 * GIB, 100 * GIB),),
        units=(),
        names=(
            Name("10.0.0.2", "postgresql.connect_address", ("10.0.0.2",)),
            Name("10.0.0.1", "member a (10.0.0.1)", ("10.0.0.1",)),
        ),
        clock=ClockFacts("tsc", True, 0.01),
    )
    return replace(host, **changes)


def some_facts(**changes: Any) -> NodeFacts:
    """What node ``b``, a standby of ``a``, gathered in service. Keywords are fields."""
    view: View = changes.get("view") or VIEW
    peers = ("a", "c")
    facts = NodeFacts(
        wall=WALL,
        me=view.me,
        host=a_host(),
        settings=Settings(),
        timing=view.timing,
        fence_mode="auto",
        fence_installed=True,
        snapshot=a_snapshot(),
        sql=SQL,
        roads=tuple(Road(p, service, "10.0.0.1:1", 0.4) for p in peers for service in ("REST API", "PostgreSQL")),
        logins=tuple(
            Login(p, role, role, system_id=str(SYSTEM_ID) if role == "replication" else "")
            for p in peers
            for role in ("superuser", "replication", "rewind")
        ),
        view=view,
    )
    return replace(facts, **changes)
