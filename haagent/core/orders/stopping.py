"""PostgreSQL is stopped, and leadership given up."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from haagent.core import conditions as c
from haagent.core import disks, stalls
from haagent.core.actions import Action, Callback, DisarmGuard, Exit, KillPostgres, PutFailover, Resign, StopPostgres
from haagent.core.facts import STANDBY_LEADER, Goal, Pending, View
from haagent.core.orders.words import Builder, Orders, job_error
from haagent.core.terms import Instant, later

STAND_BACK_S = 10.0


BEFORE_STOP_S = 60.0
"""How long ``before_stop`` may run where nothing presses."""


def withdraw(v: View) -> tuple[Action, ...]:
    """A change of leader to this node came to nothing: the others need not wait for it."""
    request = v.snapshot.failover if v.snapshot else None
    mine = request is not None and request.candidate == v.me.name
    return (PutFailover(None, None, None, request.revision),) if request is not None and mine else ()


def taken_up(v: View, kind: str) -> dict[str, Any]:
    pending: tuple[Pending, ...] = tuple(
        replace(p, phase="under way") if p.intent.kind == kind else p for p in v.memory.pending
    )
    return {"pending": pending}


def stopper(goal: Goal, mode: str = "fast", kind: str = "") -> Builder:
    """A builder that stops PostgreSQL for the sake of what comes after."""

    def stop(v: View) -> Orders:
        changes: dict[str, Any] = {"goal": goal, "stop_asked_at": v.now, "stop_mode": mode}
        if kind:
            changes |= taken_up(v, kind)
        if kind == "restart":
            changes["scheduled_restart"] = None
        led_afar = v.memory.told_role == STANDBY_LEADER
        role = "primary" if v.postgres.writable else STANDBY_LEADER if led_afar else "replica"
        tell: tuple[Action, ...] = (Callback("on_stop", role),) if goal is not Goal.RESTART else ()
        changes |= {"told_stop": True} if tell else {}
        return Orders((_stop(v, goal, mode), *tell), changes, _deadline(v))

    stop.__name__ = f"stop {mode} for {goal.value}"
    return stop


def _stop(v: View, goal: Goal, mode: str) -> StopPostgres:
    """The stop, in good order after ``before_stop``, for which only so long is waited as leaves time for the rest."""
    program = v.settings.before_stop
    if mode != "fast" or not program:
        return StopPostgres(mode)
    limits = {Goal.SWITCHOVER: v.settings.ttl / 2, Goal.FOLLOW: v.settings.pg_ctl_timeout / 2}
    limits[Goal.REINIT] = limits[Goal.FOLLOW]
    if goal is Goal.LEASE:
        left = 0.0 if v.lease.permit_until is None else v.lease.permit_until - c.ESCALATE_S - v.now
        limits[goal] = max(0.0, left / 2)
    if v.settings.primary_stop_timeout > 0 and v.postgres.writable:
        limits[Goal.NONE] = v.settings.primary_stop_timeout / 2
    limit = min(BEFORE_STOP_S, limits.get(goal, BEFORE_STOP_S), limits.get(Goal.NONE, BEFORE_STOP_S))
    return StopPostgres(mode, program, limit) if limit > 0 else StopPostgres(mode)


def stop_for_new_copy(v: View) -> Orders:
    """What the leader no longer has as WAL it has as data."""
    gone = v.memory.divergence.wal_gone if v.memory.divergence else ""
    return replace(stopper(Goal.REINIT)(v), detail=stalls.why(v) or gone)


def restart_with_more(v: View) -> Orders:
    """PostgreSQL is started with at least as much as its control file tells of the primary."""
    short = v.postgres.server.short_of if v.postgres.server else {}
    told = ", ".join(f"{name} is {has}, the primary has {needs}" for name, (has, needs) in sorted(short.items()))
    return replace(stopper(Goal.RESTART)(v), detail=told)


def stop_on_bad_disk(v: View) -> Orders:
    """A stop in good order would try to write a checkpoint: this one writes nothing."""
    return replace(stopper(Goal.HANDOVER, "immediate")(v), detail=disks.trouble(v) or "")


def _deadline(v: View) -> str:
    if v.lease.term is None or v.lease.permit_until is None:
        return ""
    return f"{v.lease.permit_until - v.now:.1f} s of its permit are left"


def stop_immediately(v: View) -> Orders:
    return Orders((StopPostgres("immediate"),), {"stop_mode": "immediate"}, _deadline(v))


def call_switch_off(v: View) -> Orders:
    """A standby that does not answer any more can hold up an orderly stop; this node has every commit, and goes on."""
    why = f"PostgreSQL could not be stopped in good order within {v.settings.ttl:g} s: a standby does not confirm"
    request = v.cluster.snapshot.failover if v.cluster.snapshot else None
    changes = {"goal": Goal.RESTART, "stop_mode": "immediate", "refusal": why, "switch_started_at": None}
    changes["called_off"] = request.revision if request else None
    return Orders((StopPostgres("immediate"),), changes, why)


def kill(v: View) -> Orders:
    return Orders((KillPostgres(),), {"stop_mode": "kill"}, _deadline(v))


def resign(v: View) -> Orders:
    """PostgreSQL is down: the leader key may go to another node."""
    changes: dict[str, Any] = {"stop_asked_at": None, "switch_started_at": None}
    if v.memory.goal is Goal.HANDOVER:
        changes["stand_back_until"] = later(v.now, STAND_BACK_S)
    return Orders((*_disarm(v), *_give(v)), changes)


def hand_over(v: View) -> Orders:
    """PostgreSQL is down and this node gives leadership up."""
    orders = resign(v)
    changes = {**orders.memory, "goal": Goal.HANDOVER, "stand_back_until": later(v.now, STAND_BACK_S)}
    return replace(orders, memory=changes, actions=(*orders.actions, *_demoted(v)))


def hand_over_disk(v: View) -> Orders:
    """The same, because of its disk."""
    return replace(hand_over(v), detail=disks.trouble(v) or "")


def _demoted(v: View) -> tuple[Action, ...]:
    return (Callback("on_role_change", "demoted"),) if v.memory.told_role == "primary" else ()


def stopped(v: View) -> Orders:
    return Orders(_disarm(v), {"stop_asked_at": None})


def veto(v: View) -> Orders:
    orders = resign(v)
    changes = {**orders.memory, "stand_back_until": later(v.now, STAND_BACK_S)}
    return replace(orders, actions=(*orders.actions, *withdraw(v)), memory=changes, detail=job_error(v))


def resign_and_leave(v: View) -> Orders:
    return Orders((*_give(v), Exit(0)))


def until(v: View, at: Instant | None) -> float | None:
    """Seconds until an instant, for a row's sleep."""
    return None if at is None else max(0.0, at - v.now)


def kill_orphans(v: View) -> Orders:
    return Orders((KillPostgres(),), detail=f"{v.postgres.orphans} processes")


def give_key_up(v: View) -> Orders:
    """PostgreSQL is not writable, and the leader key may still be in this node's name."""
    return Orders((*_give(v), *_disarm(v)))


def _disarm(v: View) -> tuple[Action, ...]:
    """Disarm the guard, only if PostgreSQL was seen not writable; else its permit stays in force to its end."""
    return (DisarmGuard(),) if c.unwritable(v) else ()


def _give(v: View) -> tuple[Action, ...]:
    """Resign, only if PostgreSQL was seen not writable; a term that is surely lost is merely forgotten."""
    if v.lease.term is None or (v.lease.lost is None and not c.unwritable(v)):
        return ()
    return (Resign(v.lease.term),)
