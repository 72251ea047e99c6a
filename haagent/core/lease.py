"""The deadlines of leadership, all in one place and in one order.

    2 * renew_every + renew_timeout  <=  demote_after  <  fence_after  =  ttl - margin
    margin  >=  kill_time + drift * ttl + slack
    loop_wait + retry_timeout  <=  demote_after

With an open watchdog device, whose timeout stands in for the ttl in the first line, all but the third hold.

A renewal counts from the moment it was sent, never from its answer; an unanswered one counts as not done. From the
last proven renewal on: after ``demote_after`` the agent stops PostgreSQL in good order, after ``fence_after`` the
guard kills it and the commit fence refuses commits, after ``ttl`` etcd may delete the key and another node may lead.

Not promised here: two clocks whose rates differ by more than ``DRIFT``; a machine whose CLOCK_BOOTTIME stands still
while others' go on (a hypervisor that pauses it); an asynchronous commit acknowledged before the deadline.
"""

from __future__ import annotations

from dataclasses import replace

from haagent.core.facts import Heartbeat, LeaseFacts, Timing
from haagent.core.terms import Instant, LeaseId, Term, later

MIN_TTL = 3.0
DRIFT = 0.01
"""How much faster one machine's clock may run than another's, as a fraction; quartz is a hundred times better."""
KILL_TIME_S = 0.3
"""What the guard needs at most to end a process tree; tens of milliseconds are usual."""
SLACK_S = 0.1
"""For the scheduling of the guard and the granularity of timers."""


def timing(ttl: float, loop_wait: float, retry_timeout: float) -> Timing:
    """Derive every deadline from the three settings operators know; seconds.

    ValueError, with the formula and the numbers, when they contradict each other.
    """
    if ttl < MIN_TTL:
        raise ValueError(f"ttl is {ttl:g} s; it must be at least {MIN_TTL:g} s")
    if loop_wait < 1 or retry_timeout < 1:
        raise ValueError(f"loop_wait ({loop_wait:g} s) and retry_timeout ({retry_timeout:g} s) must be at least 1 s")
    margin = KILL_TIME_S + DRIFT * ttl + SLACK_S
    fence_after = ttl - margin
    demote_after = fence_after - max(0.4, 0.15 * ttl)
    if loop_wait + retry_timeout > demote_after:
        raise ValueError(
            f"loop_wait + retry_timeout = {loop_wait:g} + {retry_timeout:g} = {loop_wait + retry_timeout:g} s is more "
            f"than demote_after = ttl - margin - max(0.4, 0.15 * ttl) = {demote_after:.2f} s for ttl {ttl:g} s: one "
            f"lost request would demote the primary; raise ttl, or lower loop_wait or retry_timeout"
        )
    renew_every = min(loop_wait, ttl / 8)
    renew_timeout = min(retry_timeout, demote_after / 3)
    return Timing(
        ttl=ttl,
        renew_every=renew_every,
        renew_timeout=renew_timeout,
        demote_after=demote_after,
        fence_after=fence_after,
        margin=margin,
        drift=DRIFT,
        hold=max(ttl, loop_wait + 2 * retry_timeout),
    )


def under_watchdog(deadlines: Timing, timeout_s: float) -> Timing:
    """The same deadlines, brought before the instant at which a watchdog device would reset this machine.

    The device counts from the keepalive that follows the answer, which is later than the renewal's sending.
    """
    fence_after = min(deadlines.fence_after, timeout_s - deadlines.margin)
    demote_after = min(deadlines.demote_after, fence_after - max(0.4, 0.15 * timeout_s))
    return replace(
        deadlines,
        renew_every=min(deadlines.renew_every, demote_after / 4),
        renew_timeout=min(deadlines.renew_timeout, demote_after / 3),
        demote_after=demote_after,
        fence_after=fence_after,
    )


def adjusted(ttl: float, loop_wait: float, retry_timeout: float) -> tuple[float, float, float, tuple[str, ...]]:
    """The nearest consistent ttl, loop_wait and retry_timeout, and in words what was changed and why."""
    notes: list[str] = []
    if ttl < MIN_TTL:
        notes.append(f"ttl {ttl:g} s is below the minimum; {MIN_TTL:g} s is used")
        ttl = MIN_TTL
    loop_wait, retry_timeout = max(1.0, loop_wait), max(1.0, retry_timeout)
    try:
        timing(ttl, loop_wait, retry_timeout)
    except ValueError as error:
        room = ttl - (KILL_TIME_S + DRIFT * ttl + SLACK_S) - max(0.4, 0.15 * ttl)
        retry_timeout = max(1.0, min(retry_timeout, room / 2))
        loop_wait = max(1.0, min(loop_wait, room - retry_timeout))
        notes.append(f"{error}; loop_wait {loop_wait:.2f} s and retry_timeout {retry_timeout:.2f} s are used")
    return ttl, loop_wait, retry_timeout, tuple(notes)


def proven(lease_id: LeaseId, term: Term, sent_at: Instant, deadlines: Timing) -> LeaseFacts:
    """The leadership that a renewal sent at that instant proves."""
    return LeaseFacts(
        lease_id=lease_id,
        term=term,
        renewed_at=sent_at,
        demote_at=later(sent_at, deadlines.demote_after),
        permit_until=later(sent_at, deadlines.fence_after),
    )


def leads(lease: LeaseFacts, now: Instant) -> bool:
    """Whether this node may accept commits now."""
    return lease.term is not None and lease.permit_until is not None and now < lease.permit_until


def standstill_at(heartbeat: Heartbeat, drift: float = DRIFT) -> Instant | None:
    """When the leader key may be taken from a holder that stopped rewriting it; None while its ttl is not known.

    It is safe because the holder counts its permit from sending, this node from seeing, which is later; ``drift``
    covers a clock here that runs faster than the holder's.
    """
    if heartbeat.granted_ttl is None or int(heartbeat.revision) == int(heartbeat.term):
        return None
    return later(heartbeat.seen_at, heartbeat.granted_ttl * (1 + drift))
