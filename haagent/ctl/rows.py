"""What a snapshot shows of a cluster, as rows whose keys scripts rely on.

Source of the keys and of their order: the output of ``patronictl`` 4.1 as observed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from haagent.core.facts import Member, Snapshot
from haagent.core.terms import Lsn

Row = dict[str, Any]
"""One line of output; a key that does not apply is absent."""

MB = 1048576
POSTGRES_PORT = 5432
MEMBER_KEYS = (
    "Cluster",
    "Member",
    "Host",
    "Role",
    "State",
    "TL",
    "Receive LSN",
    "Receive Lag",
    "Replay LSN",
    "Replay Lag",
)
EXTENDED_KEYS = ("Pending restart", "Pending restart reason", "Scheduled restart", "Tags")
HISTORY_KEYS = ("TL", "LSN", "Reason", "Timestamp", "New Leader")
UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Branch:
    """A member in the tree of replication, ``depth`` steps below the leader."""

    member: Member
    depth: int
    upstream: str | None


def address(member: Member) -> tuple[str, int]:
    """Host and port of a member's PostgreSQL, from its ``conn_url``; an empty host when it has none."""
    url = urlsplit(member.conn_url)
    return url.hostname or "", url.port or POSTGRES_PORT


def leader_lsn(snapshot: Snapshot) -> Lsn | None:
    """How far the leader's WAL is known to reach."""
    leader = snapshot.member(snapshot.leader.name) if snapshot.leader else None
    known = [snapshot.status.optime if snapshot.status else None, leader.lsn if leader else None]
    return max((lsn for lsn in known if lsn is not None), default=None)


def behind(snapshot: Snapshot, lsn: Lsn | None) -> int | None:
    """Bytes from there to the leader; None when either is unknown."""
    end = leader_lsn(snapshot)
    return None if end is None or lsn is None else max(0, end - lsn)


def leads(snapshot: Snapshot, member: Member) -> bool:
    """Whether the leader key names this member."""
    return snapshot.leader is not None and snapshot.leader.name == member.name


def is_paused(snapshot: Snapshot) -> bool:
    """Whether the dynamic configuration says that the cluster is paused."""
    return snapshot.config is not None and bool(snapshot.config.document.get("pause"))


def role(snapshot: Snapshot, member: Member) -> str:
    """The role as operators read it."""
    if leads(snapshot, member):
        return "Standby Leader" if member.role == "standby_leader" else "Leader"
    mode = snapshot.config.document.get("synchronous_mode") if snapshot.config else None
    on = str(mode).lower() not in ("none", "false", "off", "")
    if on and snapshot.sync is not None and member.name in snapshot.sync.standbys:
        return "Quorum Standby" if mode == "quorum" else "Sync Standby"
    return "Replica"


def member_row(cluster: str, snapshot: Snapshot, member: Member) -> Row:
    """All that is known of one member."""
    row: Row = {"Cluster": cluster, "Member": member.name, "Host": _host(snapshot, member)}
    row["Role"] = role(snapshot, member)
    row["State"] = (member.replication_state if member.running else None) or member.state
    if member.timeline is not None:
        row["TL"] = int(member.timeline)
    if not leads(snapshot, member):
        for what, lsn in (("Receive", member.receive_lsn), ("Replay", member.replay_lsn)):
            row[f"{what} LSN"] = UNKNOWN if lsn is None else str(lsn)
            lag = behind(snapshot, lsn)
            if lag is not None:
                row[f"{what} Lag"] = round(lag / MB)
    if member.pending_restart is not None:
        row["Pending restart"] = "*"
        row["Pending restart reason"] = _reason(member.pending_restart)
    if member.scheduled_restart:
        row["Scheduled restart"] = str(member.scheduled_restart.get("schedule", ""))
    if member.tags:
        row["Tags"] = dict(member.tags)
    return {key: value for key, value in row.items() if value != ""}


def _host(snapshot: Snapshot, member: Member) -> str:
    """The host; with the port where the host alone would not tell members apart, or the port is unusual."""
    host, port = address(member)
    all_of_them = [address(m) for m in snapshot.members if m.conn_url]
    plain = all(p == POSTGRES_PORT for _, p in all_of_them) and len({h for h, _ in all_of_them}) == len(all_of_them)
    return host if plain or not host else f"{host}:{port}"


def _reason(pending: Mapping[str, Any]) -> str:
    changes = ((name, change) for name, change in pending.items() if isinstance(change, Mapping))
    return ", ".join(f"{name}: {c.get('old_value')}->{c.get('new_value')}" for name, c in changes)


def member_rows(cluster: str, snapshot: Snapshot) -> list[Row]:
    """One row a member, by name."""
    return [member_row(cluster, snapshot, m) for m in sorted(snapshot.members, key=lambda m: m.name)]


def tree(snapshot: Snapshot) -> list[Branch]:
    """All members from the leader down, each below the one that it replicates from."""
    names = {m.name for m in snapshot.members}
    leader = snapshot.leader.name if snapshot.leader and snapshot.leader.name in names else None

    def upstream(member: Member) -> str | None:
        if member.name == leader:
            return None
        wanted = member.tags.get("replicatefrom")
        return str(wanted) if wanted in names and wanted != member.name else leader

    def below(name: str | None, depth: int) -> Iterator[Branch]:
        for member in sorted(snapshot.members, key=lambda m: m.name):
            if upstream(member) == name and member.name not in seen:
                seen.add(member.name)
                yield Branch(member, depth, name)
                yield from below(member.name, depth + 1)

    seen: set[str] = set()
    branches = list(below(None, 0))
    # Members that name each other as their source hang below nobody.
    loose = [m for m in sorted(snapshot.members, key=lambda m: m.name) if m.name not in seen]
    return branches + [Branch(m, 1, upstream(m)) for m in loose]


def tree_rows(cluster: str, snapshot: Snapshot, *, drawn: bool) -> list[Row]:
    """One row a member, from the leader down; drawn into the name, or told in a key of its own."""
    rows: list[Row] = []
    for branch in tree(snapshot):
        row = member_row(cluster, snapshot, branch.member)
        if drawn and branch.depth:
            row["Member"] = "  " * (branch.depth - 1) + "+ " + branch.member.name
        elif not drawn and branch.upstream is not None:
            row["Upstream"] = branch.upstream
        rows.append(row)
    return rows


def history_rows(snapshot: Snapshot) -> list[Row]:
    """One row a promotion, oldest first."""
    return [
        {
            "TL": int(line.timeline),
            "LSN": int(line.lsn),
            "Reason": line.reason,
            "Timestamp": line.at or "",
            "New Leader": line.new_leader or "",
        }
        for line in snapshot.history
    ]


def title(cluster: str, snapshot: Snapshot) -> str:
    """The cluster's name and system identifier."""
    state = "uninitialized" if snapshot.initialize is None else snapshot.initialize or "initializing"
    return f"Cluster: {cluster} ({state})"


def footers(snapshot: Snapshot) -> list[str]:
    """What holds for the cluster as a whole and needs to be known."""
    lines = []
    if is_paused(snapshot):
        lines.append(" Maintenance mode: on")
    request = snapshot.failover
    if request is not None and request.scheduled_at:
        lines.append(f" Switchover scheduled at: {request.scheduled_at}")
        if request.leader:
            lines.append(f"                    from: {request.leader}")
        if request.candidate:
            lines.append(f"                      to: {request.candidate}")
    if snapshot.members and snapshot.leader is None:
        lines.append(
            " No member leads: nothing accepts writes. haagent-ctl why and haagent-ctl explain tell the reasons"
        )
    return lines
