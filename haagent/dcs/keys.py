"""The keys of a cluster in etcd: their names and their JSON, to and from the core's facts; pure.

Values are compact JSON; what does not apply is left out. What others wrote is read with tolerance: a value or a field
that makes no sense counts as absent and never hides the rest. Source of the layout: Patroni 4.1's keys in etcd v3.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, Final, TypeVar

from haagent.core.facts import (
    ConfigKey,
    Document,
    FailoverKey,
    HistoryLine,
    LeaderKey,
    Member,
    Snapshot,
    Status,
    SyncKey,
)
from haagent.core.terms import WIRE_VERSION, LeaseId, Lsn, Revision, Term, Timeline
from haagent.dcs.kv import KeyValue, RangeReply

N = TypeVar("N", bound=int)

LEADER: Final = "leader"
MEMBERS: Final = "members/"
INITIALIZE: Final = "initialize"
INITIALIZER: Final = "haagent_initializer"
"""Beside an empty ``initialize``: a mark of whoever created it, by which it knows its own success."""
RELEASED: Final = "haagent_released"
"""The last term that its holder gave up in good order, as text."""
CLAIMED: Final = "haagent_timeline"
"""The highest timeline number that was claimed for a promotion, as text."""
CONFIG: Final = "config"
SYNC: Final = "sync"
STATUS: Final = "status"
HISTORY: Final = "history"
FAILOVER: Final = "failover"
FAILSAFE: Final = "failsafe"
LEADERS: Final = (STATUS, HISTORY, SYNC, FAILSAFE, CLAIMED)
"""What only a leader writes, each time in its own term."""

OWN_VERSION: Final = "haagent_version"


# --- writing ---


def compact(value: Any) -> bytes:
    """JSON without blanks; ASCII, so that any text survives."""
    return json.dumps(value, separators=(",", ":")).encode()


def member_value(member: Member) -> bytes:
    """A node's member key; fields of ``extra`` follow those that are known."""
    fields: dict[str, Any] = {
        "conn_url": member.conn_url or None,
        "api_url": member.api_url or None,
        "state": member.state or None,
        "role": member.role or None,
        "version": WIRE_VERSION if member.version else None,
        OWN_VERSION: member.version or None,
        "checkpoint_after_promote": member.checkpoint_after_promote,
        "tags": member.tags or None,
        "pending_restart": None if member.pending_restart is None else True,
        "pending_restart_reason": member.pending_restart or None,
        "xlog_location": _number(member.lsn),
        "receive_lsn": _number(member.receive_lsn),
        "replay_lsn": _number(member.replay_lsn),
        "replication_state": member.replication_state,
        "timeline": _number(member.timeline),
        "scheduled_restart": member.scheduled_restart,
        "pause": True if member.pause else None,
    }
    return compact({name: value for name, value in fields.items() if value is not None} | dict(member.extra))


def failover_value(leader: str | None, candidate: str | None, scheduled_at: str | None) -> bytes:
    """A request to change the leader; ``{}`` when nothing is set."""
    fields = {"leader": leader, "member": candidate, "scheduled_at": scheduled_at}
    return compact({name: value for name, value in fields.items() if value is not None})


def status_value(optime: Lsn, slots: Mapping[str, Lsn], retain: Sequence[str]) -> bytes:
    """The leader's progress; LSNs are integers."""
    fields: dict[str, Any] = {"optime": int(optime)}
    if slots:
        fields["slots"] = {name: int(lsn) for name, lsn in slots.items()}
    if retain:
        fields["retain_slots"] = list(retain)
    return compact(fields)


def history_value(lines: Sequence[HistoryLine]) -> bytes:
    """All promotions, oldest first; time and leader of a line only where known."""
    return compact([_history_row(line) for line in lines])


def sync_value(leader: str | None, quorum: int, standbys: Sequence[str]) -> bytes:
    """Who acknowledges commits synchronously; names sorted, null when there are none."""
    return compact({"leader": leader, "quorum": quorum, "sync_standby": ",".join(sorted(standbys)) or None})


def _history_row(line: HistoryLine) -> list[Any]:
    row = [int(line.timeline), int(line.lsn), line.reason, line.at, line.new_leader]
    while row[-1] is None:
        row.pop()
    return row


def _number(value: int | None) -> int | None:
    return None if value is None else int(value)


# --- reading ---

# A snapshot holds all keys and is read at every tick, but few of their values are new: what the same bytes mean is
# remembered.
_remembered = lru_cache(maxsize=128)


def leader_key(kv: KeyValue) -> LeaderKey:
    """The leader key: a bare name."""
    return LeaderKey(_text(kv.value), Term(kv.create_revision), Revision(kv.mod_revision), LeaseId(kv.lease))


@_remembered
def member(name: str, value: bytes) -> Member:
    """A node's member key; just the name when nothing of it can be read."""
    raw = _Fields(_json(value))
    wire_version, own_version = raw.text("version") or "", raw.text(OWN_VERSION)
    pending, reason = raw.flag("pending_restart"), raw.document("pending_restart_reason")
    return Member(
        name=name,
        conn_url=raw.text("conn_url") or "",
        api_url=raw.text("api_url") or "",
        state=raw.text("state") or "",
        role=raw.text("role") or "",
        version=own_version or wire_version,
        timeline=raw.number("timeline", Timeline),
        lsn=raw.number("xlog_location", Lsn),
        receive_lsn=raw.number("receive_lsn", Lsn),
        replay_lsn=raw.number("replay_lsn", Lsn),
        replication_state=raw.text("replication_state"),
        tags=raw.document("tags") or {},
        pending_restart=reason or {} if pending or reason else None,
        checkpoint_after_promote=raw.flag("checkpoint_after_promote"),
        pause=raw.flag("pause") or False,
        scheduled_restart=raw.document("scheduled_restart"),
        patroni=bool(wire_version) and not own_version,
        extra=raw.rest(),
    )


@_remembered
def failover_key(kv: KeyValue) -> FailoverKey:
    """A request; one whose time cannot be read, or has no zone, asks for nothing: it must not happen at once."""
    raw = _Fields(_json(kv.value))
    leader, candidate, scheduled_at = raw.text("leader"), raw.text("member"), raw.scalar("scheduled_at")
    revision = Revision(kv.mod_revision)
    if scheduled_at is None:
        return FailoverKey(revision, leader or None, candidate or None)
    epoch = epoch_of(scheduled_at)
    if epoch is None:
        return FailoverKey(revision, scheduled_at=scheduled_at)
    return FailoverKey(revision, leader or None, candidate or None, scheduled_at, epoch)


def epoch_of(iso: str) -> float | None:
    """Seconds since 1970 of an ISO 8601 time with a zone; None when it is not one."""
    try:
        instant = datetime.fromisoformat(iso)
        return None if instant.tzinfo is None else instant.timestamp()
    except (ValueError, OverflowError):
        return None


@_remembered
def config_key(kv: KeyValue) -> ConfigKey | None:
    """The dynamic configuration; None when the value is no JSON object."""
    document = _json(kv.value)
    return ConfigKey(Revision(kv.mod_revision), document) if isinstance(document, dict) else None


@_remembered
def history(value: bytes) -> tuple[HistoryLine, ...]:
    """Past promotions; lines that make no sense are left out."""
    rows = _json(value)
    lines = (_history_line(row) for row in rows) if isinstance(rows, list) else ()
    return tuple(line for line in lines if line is not None)


@_remembered
def status(value: bytes) -> Status | None:
    """The leader's progress; None when not even its LSN can be read."""
    raw = _Fields(_json(value))
    optime = raw.number("optime", Lsn)
    if optime is None:
        return None
    slots = {name: Lsn(lsn) for name, lsn in (raw.document("slots") or {}).items() if _is_count(lsn)}
    return Status(optime, slots, tuple(raw.texts("retain_slots")))


@_remembered
def sync_key(kv: KeyValue) -> SyncKey:
    """Who acknowledges commits synchronously; nobody when it cannot be read."""
    raw = _Fields(_json(kv.value))
    names = (name.strip() for name in (raw.text("sync_standby") or "").split(","))
    standbys = tuple(sorted({name for name in names if name}))
    return SyncKey(Revision(kv.mod_revision), raw.text("leader") or None, raw.number("quorum", int) or 0, standbys)


def failsafe(value: bytes) -> Mapping[str, str] | None:
    """Names and addresses of all members; None when it is no JSON object."""
    document = _json(value)
    if not isinstance(document, dict):
        return None
    return {name: url for name, url in document.items() if isinstance(url, str)}


def snapshot(reply: RangeReply, prefix: str) -> Snapshot:
    """All keys below a prefix as one fact."""
    found = {kv.key.removeprefix(prefix): kv for kv in reply.kvs}

    def value_of(name: str) -> bytes | None:
        return found[name].value if name in found else None

    begun, past = found.get(INITIALIZE), found.get(HISTORY)
    leads, configured, asked, synced = (found.get(name) for name in (LEADER, CONFIG, FAILOVER, SYNC))
    progress, safe, taken = value_of(STATUS), found.get(FAILSAFE), found.get(CLAIMED)
    return Snapshot(
        revision=Revision(reply.revision),
        initialize=_text(begun.value) if begun else None,
        initialize_revision=Revision(begun.mod_revision if begun else 0),
        leader=leader_key(leads) if leads else None,
        members=tuple(_members(found)),
        config=config_key(configured) if configured else None,
        failover=failover_key(asked) if asked else None,
        history=history(past.value) if past else (),
        history_revision=Revision(past.mod_revision if past else 0),
        status=status(progress) if progress is not None else None,
        sync=sync_key(synced) if synced else None,
        failsafe=failsafe(safe.value) if safe else None,
        failsafe_revision=Revision(safe.mod_revision if safe else 0),
        claimed=claimed(taken.value) if taken else None,
        claimed_revision=Revision(taken.mod_revision if taken else 0),
        released=released(value_of(RELEASED)),
        released_revision=Revision(found[RELEASED].mod_revision if RELEASED in found else 0),
        led_revision=Revision(max((found[name].mod_revision for name in LEADERS if name in found), default=0)),
    )


def released(value: bytes | None) -> Term | None:
    """The last term that was given up in good order."""
    return Term(int(value)) if value is not None and value.isdigit() else None


def claimed(value: bytes) -> Timeline | None:
    """The highest timeline number that was claimed."""
    return Timeline(int(value)) if value.isdigit() else None


def member_name(key: str) -> str | None:
    """The node whose member key this is, relative to the prefix; None when it is none."""
    name = key.removeprefix(MEMBERS)
    return name if name != key and name and "/" not in name else None


def _members(found: Mapping[str, KeyValue]) -> Iterable[Member]:
    for key, kv in sorted(found.items()):
        name = member_name(key)
        if name is not None:
            yield member(name, kv.value)


def _history_line(row: Any) -> HistoryLine | None:
    if not isinstance(row, list) or len(row) < 3 or not _is_count(row[0]) or not _is_count(row[1]):
        return None
    reason, at, leader = (part if isinstance(part, str) else None for part in (*row[2:5], None, None)[:3])
    return None if reason is None else HistoryLine(Timeline(row[0]), Lsn(row[1]), reason, at, leader)


def _text(value: bytes) -> str:
    return value.decode(errors="replace")


def _json(value: bytes) -> Any:
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return None


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


class _Fields:
    """A JSON object read field by field; what was not asked for is the rest."""

    def __init__(self, raw: Any) -> None:
        self._left: dict[str, Any] = dict(raw) if isinstance(raw, dict) else {}

    def text(self, name: str) -> str | None:
        value = self._left.pop(name, None)
        return value if isinstance(value, str) else None

    def scalar(self, name: str) -> str | None:
        """Any value as text: one that is there must not pass as absent."""
        value = self._left.pop(name, None)
        return None if value is None else str(value)

    def number(self, name: str, kind: Callable[[int], N]) -> N | None:
        value = self._left.pop(name, None)
        return kind(value) if _is_count(value) else None

    def flag(self, name: str) -> bool | None:
        value = self._left.pop(name, None)
        return value if isinstance(value, bool) else None

    def document(self, name: str) -> Document | None:
        value = self._left.pop(name, None)
        return value if isinstance(value, dict) else None

    def texts(self, name: str) -> list[str]:
        value = self._left.pop(name, None)
        return [text for text in value if isinstance(text, str)] if isinstance(value, list) else []

    def rest(self) -> Document:
        return self._left
