"""An order: actions, and what is remembered with them; what several kinds of orders share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from haagent.core import disks
from haagent.core.actions import Action, Callback, CancelJob, DisarmGuard, Exit
from haagent.core.facts import Goal, View
from haagent.core.terms import later

RETRY_FIRST_S = 1.0


RETRY_LONGEST_S = 30.0


@dataclass(frozen=True, slots=True)
class Orders:
    """What a builder orders: actions, changes of memory, and words for this very case."""

    actions: tuple[Action, ...] = ()
    memory: dict[str, Any] = field(default_factory=dict)
    detail: str = ""


Builder = Callable[[View], Orders]


def nothing(v: View) -> Orders:
    return Orders()


def leave(v: View) -> Orders:
    """End the agent."""
    return Orders((Exit(0),))


def leave_running(v: View) -> Orders:
    """End the agent and leave PostgreSQL as it is: the cluster is paused."""
    return Orders((DisarmGuard(), Exit(0, "the cluster is paused: PostgreSQL is left running")))


def refuse_to_run(v: View) -> Orders:
    known = v.snapshot.initialize if v.snapshot else None
    text = (
        f"the data directory has system identifier {v.postgres.data.system_id}, cluster {v.me.scope} has {known}: "
        f"this is another cluster's data, or the scope is wrong; the directory is left as it is"
    )
    return Orders((Exit(1, text),), detail=text)


def backing_off(v: View) -> dict[str, Any]:
    delay = min(RETRY_LONGEST_S, RETRY_FIRST_S * 2.0**v.memory.attempts)
    return {"attempts": v.memory.attempts + 1, "retry_at": later(v.now, delay)}


def job_error(v: View) -> str:
    return (v.job.error or "") if v.job else ""


def end_job(v: View) -> Orders:
    return Orders((CancelJob(),))


def goal_after_start(v: View) -> Goal:
    """A restart is over only when PostgreSQL answers again, and callbacks are told."""
    return Goal.RESTART if v.memory.goal is Goal.RESTART else Goal.NONE


def job_used(v: View) -> dict[str, Any]:
    return {"job_seen": v.job.started_at if v.job else None}


def need_operator(v: View) -> Orders:
    name = f"{v.me.scope} {v.me.name}"
    detail = f"{job_error(v)} this copy is kept; to clone it anew: haagent-ctl reinit {name}".strip()
    return Orders((), {}, detail)


def say_immovable(v: View) -> Orders:
    return Orders(detail=next(o.detail for o in v.outcomes if o.action == "MoveAside"))


def say_data(v: View) -> Orders:
    return Orders(detail=v.postgres.data.detail)


def say_disk(v: View) -> Orders:
    return Orders(detail=disks.trouble(v) or "")


def say_trouble(v: View) -> Orders:
    return Orders(detail=v.memory.trouble)


def role_callback(v: View, role: str) -> tuple[Action, ...]:
    if v.memory.goal is Goal.RESTART and v.memory.told_role == role:
        return (Callback("on_restart", role),)
    if v.memory.told_role == role:
        return (Callback("on_start", role),) if v.memory.told_stop else ()
    event = "on_start" if not v.memory.told_role else "on_role_change"
    return (Callback(event, role),)
