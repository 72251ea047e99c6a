"""What PostgreSQL does on this node."""

from __future__ import annotations

from haagent.core.conditions.asked import restart_overdue
from haagent.core.conditions.words import Condition
from haagent.core.facts import DataKind, View

BREAKER_STARTS = 3


BREAKER_WINDOW_S = 300.0


def data_is(*kinds: DataKind) -> Condition:
    def data(v: View) -> bool:
        return v.postgres.data.kind in kinds

    data.__name__ = "data " + " or ".join(kind.value for kind in kinds)
    return data


def unfinished(what: str) -> Condition:
    def marker(v: View) -> bool:
        return v.postgres.data.kind is DataKind.UNFINISHED and v.postgres.data.marker == what

    marker.__name__ = f"{what} was interrupted"
    return marker


def was_shut_down(v: View) -> bool:
    return v.postgres.data.cluster_state == "shut down"


def was_standby(v: View) -> bool:
    """The control file says that PostgreSQL last ran in recovery."""
    return v.postgres.data.cluster_state in ("shut down in recovery", "in archive recovery")


def running(v: View) -> bool:
    return v.postgres.running


def down(v: View) -> bool:
    return not v.postgres.running


def gone(v: View) -> bool:
    """The postmaster is gone, and so is every process it had."""
    return not v.postgres.running and v.postgres.orphans == 0


def answers(v: View) -> bool:
    return v.postgres.running and v.postgres.server is not None and v.postgres.unreachable_since is None


def writable(v: View) -> bool:
    return v.postgres.running and v.postgres.writable


def in_recovery(v: View) -> bool:
    return v.postgres.running and v.postgres.server is not None and v.postgres.server.in_recovery


def recovering(v: View) -> bool:
    """A postmaster that lets nobody in: it has just started, or it repairs what a crashed process left."""
    return v.postgres.running and v.postgres.starting


def starts_as_standby(v: View) -> bool:
    """It lets nobody in yet, and what it waits for may be WAL from an upstream that it was not told of."""
    return recovering(v) and v.postgres.data.standby_signal


def hung(v: View) -> bool:
    """A postmaster that has not answered for a whole ttl."""
    since = v.postgres.unreachable_since
    return v.postgres.running and since is not None and v.now - since >= v.settings.ttl


def start_overdue(v: View) -> bool:
    limit = v.settings.primary_start_timeout or v.settings.ttl
    return v.now - v.memory.since >= limit or any(restart_overdue(v, one) for one in v.memory.pending)


def handover_wanted(v: View) -> bool:
    """The operator prefers a failover to a restart in place, and there is somebody to take over."""
    others = v.snapshot is not None and any(m.name != v.me.name and m.running for m in v.snapshot.members)
    return v.settings.primary_start_timeout == 0 and others


def breaker_tripped(v: View) -> bool:
    recent = [at for at in v.memory.starts if v.now - at <= BREAKER_WINDOW_S]
    return len(recent) >= BREAKER_STARTS


def unwritable(v: View) -> bool:
    """PostgreSQL was seen down, with all its processes, or in recovery."""
    return gone(v) or (answers(v) and in_recovery(v))
