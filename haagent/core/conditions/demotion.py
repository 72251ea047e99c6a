"""What the present stop is for, and how far it is."""

from __future__ import annotations

from haagent.core.conditions.postgres import was_shut_down
from haagent.core.conditions.words import Condition
from haagent.core.facts import Goal, View

DRAINED_S = 12.0
"""After so long the control file was surely read since the stop was asked."""


def handing_over(v: View) -> bool:
    return v.memory.goal in (Goal.HANDOVER, Goal.LEASE, Goal.SWITCHOVER, Goal.SHUTDOWN)


def stopping_fast(v: View) -> bool:
    return v.memory.stop_mode == "fast"


def goal_is(goal: Goal) -> Condition:
    def wanted(v: View) -> bool:
        return v.memory.goal is goal

    wanted.__name__ = f"goal {goal.value}"
    return wanted


def stop_overdue(v: View) -> bool:
    """An orderly stop takes longer than the operator allows (``primary_stop_timeout``; 0 sets no limit)."""
    limit = v.settings.primary_stop_timeout
    return limit > 0 and _lasts(v, limit)


def switch_overdue(v: View) -> bool:
    """The orderly stop for a change of leader has lasted a whole ttl: nobody may be leaderless for longer."""
    return v.memory.goal is Goal.SWITCHOVER and _lasts(v, v.settings.ttl)


def stop_very_overdue(v: View) -> bool:
    """``pg_ctl_timeout`` after it was asked PostgreSQL is still there: no demotion is endless."""
    bounded = v.settings.primary_stop_timeout > 0 and v.memory.goal not in (Goal.FOLLOW, Goal.REINIT)
    return not bounded and _lasts(v, v.settings.pg_ctl_timeout)


def drained(v: View) -> bool:
    """Its last checkpoint is on disk, and PostgreSQL is still there: it waits for receivers that may never end."""
    return _lasts(v, DRAINED_S) and was_shut_down(v)


def tail_safe(v: View) -> bool:
    """Whoever may lead next has it all: this node itself, or a standby that shows it."""
    end, polled, asked = v.postgres.data.checkpoint_lsn, v.peers, v.memory.stop_asked_at
    if v.memory.goal is Goal.RESTART:
        return True
    if end is None or polled is None or asked is None or polled.asked_at < asked:
        return False
    return any(r.reached and r.running and r.in_recovery and r.tags.may_lead and r.lsn > end for r in polled.replies)


def tail_asked(v: View) -> bool:
    """The standbys were asked a moment ago."""
    return v.peers is not None and v.now - v.peers.asked_at < 1.0


def killed_in_vain(v: View) -> bool:
    """The immediate stop was asked a second ago, and processes are still there."""
    return v.memory.stop_mode in ("immediate", "kill") and _lasts(v, 1.0)


def _lasts(v: View, seconds: float) -> bool:
    """The stop was asked for at least so long ago."""
    asked = v.memory.stop_asked_at
    return asked is not None and v.now - asked >= seconds
