"""The lease, and what protects it: guard, watchdog device, commit fence."""

from __future__ import annotations

from haagent.core import lease
from haagent.core.facts import View

WATCHDOG_RETRY_S = 5.0
"""How long after a vain try a watchdog device is tried again."""


UNFENCED = "this PostgreSQL was started without it"
"""Before the commit fence was installed, or by other hands."""

ESCALATE_S = 0.6
"""An orderly stop becomes an immediate one this long before the permit ends."""


def leads(v: View) -> bool:
    return lease.leads(v.lease, v.now) and v.lease.lost is None


def holds_term(v: View) -> bool:
    """A term was won and not yet given up, whether its permit still runs or not."""
    return v.lease.term is not None


def lease_lost(v: View) -> bool:
    return v.lease.term is None or v.lease.lost is not None or not lease.leads(v.lease, v.now)


def demote_due(v: View) -> bool:
    return v.lease.demote_at is None or v.now >= v.lease.demote_at


def permit_near_end(v: View) -> bool:
    return v.lease.permit_until is None or v.now >= v.lease.permit_until - ESCALATE_S


def guard_ready(v: View) -> bool:
    """The guard lives, answers, and enforces this node's term."""
    fresh = v.guard.heard_at is not None and v.now - v.guard.heard_at <= max(2.0, 3 * v.timing.renew_every)
    return v.guard.alive and v.guard.armed and v.guard.term == v.lease.term and fresh


def guard_fired(v: View) -> bool:
    return v.guard.fired is not None


def guard_met(v: View) -> bool:
    """This agent speaks to a guard; one that it has just been started does not know of any yet."""
    return v.guard.alive


def guard_armed(v: View) -> bool:
    """Some guard still holds a permit over this data directory and will end it."""
    return v.guard.alive and v.guard.armed


def watchdog_due(v: View) -> bool:
    """The watchdog device is wanted and not open, and it is time to try it."""
    known = v.watchdog
    recent = known.failed_at is not None and v.now - known.failed_at < WATCHDOG_RETRY_S
    return known.mode != "off" and not known.open and not v.settings.pause and not recent


def unwatched(v: View) -> bool:
    """A watchdog device is required of whoever leads, and this node's is not open."""
    return v.watchdog.mode == "required" and not v.watchdog.open and not v.settings.pause


def watchdog_missing(v: View) -> bool:
    """It is required and has been unusable for a whole ttl."""
    since = v.watchdog.absent_since
    return unwatched(v) and since is not None and v.now - max(since, v.memory.since) >= v.settings.ttl


def watchdog_allows(v: View) -> bool:
    """The watchdog device is not required, or nothing is known to speak against it."""
    return v.watchdog.mode != "required" or v.watchdog.open or not v.watchdog.why


def may_lead_here(v: View) -> bool:
    return v.me.tags.may_lead and fence_allows(v) and watchdog_allows(v)


def fence_allows(v: View) -> bool:
    """The commit fence is there, or not required."""
    return fence_missing(v) is None


def fence_missing(v: View) -> str | None:
    """That the commit fence is required of whoever leads here, and is not installed or not loaded, in words."""
    if v.fence.mode != "required":
        return None
    if not v.fence.installed:
        return f"postgresql.commit_fence is required, but {v.fence.why or 'it is not installed'}"
    server = v.postgres.server
    if not v.postgres.running or server is None or server.stale or server.fenced:
        return None
    return f"postgresql.commit_fence is required, but {UNFENCED}"


def unprotected(v: View) -> bool:
    """A protection that is required of whoever leads is not there; in a paused cluster none is needed."""
    return unwatched(v) or (not fence_allows(v) and not v.settings.pause)


def resumable(v: View) -> bool:
    """The leader key's term is the one that this node's previous agent held, and was not about to give up."""
    return v.leader is not None and v.memory.led_before == v.leader.term != v.memory.gave_up


def guardless(v: View) -> bool:
    """In service without a guard; in a paused cluster none is needed."""
    return not guard_ready(v) and not v.settings.pause


def guard_missing(v: View) -> bool:
    """A guard has been asked for in vain for a whole ttl."""
    since = v.memory.guardless_since
    return since is not None and v.now - since >= v.settings.ttl


def guard_overdue(v: View) -> bool:
    """A promotion has waited five seconds for its guard."""
    return v.now - v.memory.since >= 5.0
