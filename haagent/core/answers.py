"""What the REST API answers, computed from a View alone: verdicts of health checks and documents about the cluster.

``200`` from ``/primary`` needs two facts: this node holds the lease at ``view.now``, and its PostgreSQL accepts
writes. Source of each check's meaning: Patroni's documentation, "REST API".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from haagent.core import disks, publish
from haagent.core.conditions import as_upstream, leads
from haagent.core.facts import Document, Member, Snapshot, View
from haagent.core.states import State
from haagent.core.status import accepts_writes, known_cluster, server_now, sync_role
from haagent.core.terms import Instant, Lsn

Query = Mapping[str, str]
"""The parameters of a request; of a repeated one the last value."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request gets: an HTTP status, and a text or a JSON document."""

    status: int
    body: str | Document | list[Any]
    headers: Mapping[str, str] = field(default_factory=dict)


class QueryError(ValueError):
    """A parameter of the request cannot be read; the text says which, and what is expected."""


# --- parameters -------------------------------------------------------------------------------------------------

_SIZE = re.compile(r"(\d{1,18}(?:\.\d{1,9})?)\s*(B|kB|MB|GB|TB|PB)?", re.IGNORECASE | re.ASCII)
_UNITS = {"b": 0, "kb": 1, "mb": 2, "gb": 3, "tb": 4, "pb": 5}


def parse_size(text: str) -> int:
    """Bytes, as a number or with a unit such as 64kB, 16MB or 1GB (powers of 1024); QueryError otherwise."""
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise QueryError(f"lag={text[:40]!r} is not a size; expected bytes such as 1048576, or 16kB, 64MB, 1GB")
    number, unit = found.groups()
    return int(float(number) * 1024 ** _UNITS[(unit or "B").lower()])


def _lag_limit(query: Query) -> int | None:
    return parse_size(query["lag"]) if query.get("lag") else None


def _as_text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _tags_match(view: View, query: Query) -> bool:
    """Whether every ``tag_x=value`` of the request is a published tag of this node with that value."""
    published = view.me.tags.published
    for parameter, wanted in query.items():
        if not parameter.startswith("tag_"):
            continue
        name = parameter.removeprefix("tag_")
        if name not in published:
            return False
        value = published[name]
        if _as_text(value) != (wanted.lower() if isinstance(value, bool) else wanted):
            return False
    return True


# --- health checks: one function each, true or false of PostgreSQL now ---------------------------------------------


def primary(view: View, query: Query) -> bool:
    """It holds the lease, and PostgreSQL accepts writes."""
    return leads(view) and accepts_writes(view)


def leader(view: View, query: Query) -> bool:
    """It holds the lease, and PostgreSQL answers, in recovery or not."""
    return leads(view) and server_now(view) is not None


def standby_leader(view: View, query: Query) -> bool:
    """It leads a standby cluster: it holds the lease, and PostgreSQL is in recovery as it should be."""
    server = server_now(view)
    return view.state is State.STANDBY_LEADER and leads(view) and server is not None and server.in_recovery


def replica(view: View, query: Query) -> bool:
    """A standby that may get reads, within the lag, in the replication state and with the tags asked for."""
    limit = _lag_limit(query)
    server = server_now(view)
    if server is None or not server.in_recovery or standby_leader(view, query) or view.me.tags.noloadbalance:
        return False
    if disks.trouble(view) is not None:
        return False
    wanted = query.get("replication_state")
    if wanted and publish.member(view).replication_state != wanted:
        return False
    if limit is not None and not _within(view, server.replayed_lsn, limit):
        return False
    return _tags_match(view, query)


def read_only(view: View, query: Query) -> bool:
    """A standby as in ``/replica``, or whoever leads."""
    wanted = replica(view, query)
    return primary(view, query) or standby_leader(view, query) or wanted


def sync(view: View, query: Query) -> bool:
    """A standby for which commits wait."""
    return replica(view, query) and sync_role(view, view.me.name) == "sync_standby"


def quorum(view: View, query: Query) -> bool:
    """A standby that counts towards the quorum for which commits wait."""
    return replica(view, query) and sync_role(view, view.me.name) == "quorum_standby"


def asynchronous(view: View, query: Query) -> bool:
    """A standby for which no commit waits."""
    return replica(view, query) and sync_role(view, view.me.name) is None


def read_only_sync(view: View, query: Query) -> bool:
    """The primary, or a standby for which commits wait."""
    wanted = sync(view, query)
    return primary(view, query) or wanted


def read_only_quorum(view: View, query: Query) -> bool:
    """The primary, or a standby of the quorum."""
    wanted = quorum(view, query)
    return primary(view, query) or wanted


def health(view: View, query: Query) -> bool:
    """PostgreSQL runs and answers."""
    return server_now(view) is not None


def readiness(view: View, query: Query) -> bool:
    """It leads, or it replicates and is no further behind than ``lag`` (``maximum_lag_on_failover`` by default).

    ``mode=apply`` (the default) counts what was replayed, ``mode=write`` what was received.
    """
    limit = _lag_limit(query)
    mode = query.get("mode") or "apply"
    if mode not in ("apply", "write"):
        raise QueryError(f"mode={mode[:40]!r} is unknown; expected apply or write")
    if leader(view, query):
        return True
    server = server_now(view)
    if server is None or not server.in_recovery or publish.member(view).replication_state is None:
        return False
    reached = server.lsn if mode == "write" else server.replayed_lsn
    return _within(view, reached, view.settings.maximum_lag_on_failover if limit is None else limit)


def liveness(view: View, ticked_at: Instant) -> bool:
    """Whether the loop turns: its last view is younger than ttl on a primary, two ttl elsewhere."""
    allowed = view.settings.ttl * (1 if view.postgres.writable else 2)
    return view.now - ticked_at < allowed


def _within(view: View, reached: Lsn | None, limit: int) -> bool:
    """Whether this node's WAL is at most so many bytes behind the leader's as last published; unknown is not."""
    snapshot = known_cluster(view)
    if reached is None or snapshot is None or snapshot.status is None:
        return False
    return int(snapshot.status.optime) - int(reached) <= limit


Check = Callable[[View, Query], bool]

CHECKS: Mapping[str, Check] = {
    check.__name__: check
    for check in (
        primary,
        leader,
        standby_leader,
        replica,
        read_only,
        read_only_sync,
        read_only_quorum,
        sync,
        quorum,
        asynchronous,
        health,
        readiness,
    )
}
"""The health checks by name; ``rest/routes.py`` says under which paths they are reached."""


# --- documents ---------------------------------------------------------------------------------------------------


def cluster(view: View) -> Answer:
    """``GET /cluster``: all members as their keys tell, with their lag behind the leader's published position."""
    snapshot = known_cluster(view)
    if snapshot is None:
        return Answer(503, "etcd has not answered since this agent started: the cluster is not known yet")
    document: dict[str, Any] = {
        "members": [_member(view, snapshot, member) for member in sorted(snapshot.members, key=lambda m: m.name)],
        "scope": view.me.scope,
    }
    if view.settings.pause:
        document["pause"] = True
    request = snapshot.failover
    if request is not None and request.scheduled_at:
        planned = {"at": request.scheduled_at, "from": request.leader, "to": request.candidate}
        document["scheduled_switchover"] = {name: value for name, value in planned.items() if value}
    return Answer(200, document)


def _role(view: View, snapshot: Snapshot, member: Member) -> str:
    if snapshot.leader is not None and snapshot.leader.name == member.name:
        return "standby_leader" if view.settings.standby_cluster else "leader"
    return sync_role(view, member.name) or "replica"


def _member(view: View, snapshot: Snapshot, member: Member) -> dict[str, Any]:
    role = _role(view, snapshot, member)
    leading = role in ("leader", "standby_leader")
    state = member.state
    if member.running and not leading and member.replication_state:
        state = member.replication_state
    document: dict[str, Any] = {"name": member.name, "role": role, "state": state, "api_url": member.api_url}
    address = as_upstream(member.name, member.conn_url)
    if address is not None:
        document |= {"host": address.host, "port": address.port}
    if member.timeline is not None:
        document["timeline"] = int(member.timeline)
    if member.pending_restart:
        document |= {"pending_restart": True, "pending_restart_reason": dict(member.pending_restart)}
    if member.scheduled_restart:
        document["scheduled_restart"] = dict(member.scheduled_restart)
    if member.tags:
        document["tags"] = dict(member.tags)
    if not leading:
        document |= _lags(snapshot, member)
    return document


def _lags(snapshot: Snapshot, member: Member) -> dict[str, Any]:
    """Positions as text, lags in bytes, each ``unknown`` when it is."""
    positions = {"receive_": member.receive_lsn, "replay_": member.replay_lsn, "": member.lsn}
    optime = snapshot.status.optime if snapshot.status else None
    document: dict[str, Any] = {}
    for prefix, lsn in positions.items():
        known = member.running and lsn is not None and optime is not None
        document[f"{prefix}lag"] = max(0, int(optime or 0) - int(lsn or 0)) if known else "unknown"
        document[f"{prefix}lsn"] = "unknown" if lsn is None or not member.running else str(lsn)
    return document


def history(view: View) -> Answer:
    """``GET /history``: one line a promotion, oldest first."""
    snapshot = known_cluster(view)
    lines = snapshot.history if snapshot else ()
    body: list[Any] = []
    for line in lines:
        entry: list[Any] = [int(line.timeline), int(line.lsn), line.reason]
        entry += [value for value in (line.at, line.new_leader) if value is not None]
        body.append(entry)
    return Answer(200, body)


def config(view: View) -> Answer:
    """``GET /config``: the dynamic configuration as it is stored."""
    snapshot = known_cluster(view)
    if snapshot is None or snapshot.config is None:
        return Answer(502, "there is no dynamic configuration yet: the cluster is not initialized, or etcd is silent")
    return Answer(200, snapshot.config.document)


def failsafe(view: View) -> Answer:
    """``GET /failsafe``: the members that must agree while etcd is silent."""
    snapshot = known_cluster(view)
    if not view.settings.failsafe_mode:
        return Answer(502, "failsafe_mode is off")
    known = view.memory.failsafe_known
    return Answer(200, dict((snapshot.failsafe if snapshot else known and known.members) or {}))


DOCUMENTS: Mapping[str, Callable[[View], Answer]] = {
    document.__name__: document for document in (cluster, history, config, failsafe)
}
"""The documents by name, beside the status JSON, liveness and the metrics."""
