"""Promotion, and what a leader does."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from haagent.core import conditions as c
from haagent.core import failsafe, publish, slots, synchrony, timelines
from haagent.core.actions import (
    Action,
    ArmGuard,
    Campaign,
    Checkpoint,
    DisarmGuard,
    EnsureGuard,
    OpenWatchdog,
    PrePromote,
    Promote,
    PutFailover,
    StartPrimary,
    StartStandby,
    StopPostgres,
)
from haagent.core.facts import PRIMARY, Goal, Upstream, View
from haagent.core.intents import verdict
from haagent.core.orders.stopping import STAND_BACK_S, resign, withdraw
from haagent.core.orders.words import Orders, goal_after_start, job_used, role_callback
from haagent.core.states import State
from haagent.core.terms import later

REPLAY_STEP = 64 * 1024 * 1024


def lead_by_promises(v: View) -> Orders:
    """etcd is silent, and all other members agreed to wait."""
    mandate = failsafe.mandate(v)
    names = ", ".join(mandate.members) if mandate is not None and mandate.members else "there is no other"
    return replace(lead(v), detail=f"all must agree, anew each time: {names}")


def open_watchdog(v: View) -> Orders:
    return Orders((OpenWatchdog(),), detail=v.watchdog.why)


def leave_unprotected(v: View) -> Orders:
    """The leader key was won, but a protection that leading requires can't be had."""
    orders = resign(v)
    changes = {**orders.memory, "stand_back_until": later(v.now, STAND_BACK_S)}
    why = c.fence_missing(v) or v.watchdog.why
    return replace(orders, actions=(*orders.actions, *withdraw(v)), memory=changes, detail=why)


def pre_promote(v: View) -> Orders:
    return Orders((PrePromote(v.settings.pre_promote or ""),))


def _arm(v: View) -> tuple[Action, ...]:
    term = v.lease.term
    return () if term is None else (EnsureGuard(), ArmGuard(term))


def promote(v: View) -> Orders:
    again = promote_again(v)
    return replace(again, memory={**again.memory, "checkpointed": False, "divergence": None})


def promote_again(v: View) -> Orders:
    """Promote; in a synchronous mode only after PostgreSQL obeys the names with which it is to begin."""
    term = v.lease.term
    if term is None:
        return Orders()
    if not synchrony.begins_safely(v):
        begin = publish.configured(v, _present_upstream(v), synchrony.first_names(v))
        detail = f"first synchronous_standby_names become {synchrony.first_names(v)!r}"
        return Orders((*synchrony.claim(v), *begin), {"promoted_at": None}, detail)
    server, claimed = v.postgres.server, timelines.number_claimed(v)
    if server is None:
        return Orders()
    if c.misled(v):
        why = f"it heard of timeline {v.postgres.data.bound} and never reached it: PostgreSQL is started anew first"
        return Orders((StopPostgres("fast"),), {"promoted_at": v.now}, why)
    number = timelines.number_to_claim(v) if claimed is None else claimed
    taken = publish.claim_timeline(v, term, number) if claimed is None else ()
    promotion = Promote(term, server.timeline, number)
    lacks = slots.lacking(server, v.settings) if server.in_recovery else {}
    lost = f"subscribers must begin anew, this node lacks: {slots.in_words(lacks)}" if lacks else ""
    return Orders((*_arm(v), *synchrony.claim(v), *taken, promotion), {"promoted_at": v.now}, lost)


def _present_upstream(v: View) -> Upstream | None:
    return v.postgres.configured.upstream if v.postgres.configured else None


def say_replay(v: View) -> Orders:
    """How much of the WAL received is still to be replayed, in steps that do not fill the log."""
    server = v.postgres.server
    left = int(server.lsn) - int(server.replayed_lsn or 0) if server and server.in_recovery else 0
    steps = left // REPLAY_STEP
    return Orders(detail=f"more than {steps * REPLAY_STEP // 2**20} MB of WAL are left to replay" if steps else "")


def start_primary(v: View) -> Orders:
    term = v.lease.term
    if term is None:
        return Orders()
    recent = tuple(at for at in v.memory.starts if v.now - at <= c.BREAKER_WINDOW_S)
    crashed = v.state in (State.PRIMARY, State.PROMOTING)  # else it was stopped on purpose
    starts = (*recent, v.now) if crashed else recent
    changes: dict[str, Any] = {"starts": starts, "divergence": None, "goal": goal_after_start(v), "promoted_at": v.now}
    if c.was_standby(v):
        changes |= {"promoted_at": None, "checkpointed": False}
        why = "it was a standby: it is started as one and promoted, so that no timeline has two writers"
        return Orders((*_arm(v), StartStandby(publish.server_config(v, None))), changes, why)
    electorate = synchrony.claimed(v)
    config = publish.server_config(v, None, synchrony.first_names(v, electorate), PRIMARY)
    return Orders((*_arm(v), *synchrony.claim(v, electorate), StartPrimary(term, config)), changes)


def adopt(v: View) -> Orders:
    """A running primary came under this node's lease."""
    names = synchrony.on_file(v)
    return Orders(
        (*_arm(v), *publish.configured(v, None, names, PRIMARY)), {"told_role": "primary", "divergence": None}
    )


def begin_to_lead(v: View) -> Orders:
    checkpoint: tuple[Action, ...] = () if v.memory.checkpointed else (Checkpoint(),)
    changes: dict[str, Any] = {
        "attempts": 0,
        "start_failures": 0,
        "goal": Goal.NONE,
        "told_role": "primary",
        "told_stop": False,
        "switch_started_at": None,
    }
    callback = role_callback(v, "primary")
    return Orders((*callback, *publish.request_done(v), *publish.led(v), *checkpoint), changes)


def lead(v: View) -> Orders:
    changes: dict[str, Any] = {}
    if not v.memory.checkpointed and c.job_done("checkpoint")(v):
        changes = {"checkpointed": True} | job_used(v)
    orders = publish.led(v) + publish.request_done(v)
    if v.settings.pause and v.guard.armed:
        orders += (DisarmGuard(),)
    if c.watchdog_due(v):
        orders += (OpenWatchdog(),)
    if not v.memory.checkpointed and not changes and not c.busy(v):
        orders += (Checkpoint(),)
    return Orders(orders, changes)


def reclaim(v: View) -> Orders:
    return Orders((Campaign(c.grounds(v)),), detail=v.lease.lost or "")


def rearm(v: View) -> Orders:
    since = v.now if v.memory.guardless_since is None else v.memory.guardless_since
    return Orders((*_arm(v), *publish.led(v)), {"guardless_since": since})


def refuse_switch(v: View) -> Orders:
    request = v.snapshot.failover if v.snapshot else None
    why = verdict(v)[1]
    done: tuple[Action, ...] = () if request is None else (PutFailover(None, None, None, request.revision),)
    led = publish.led_from_afar if v.state is State.STANDBY_LEADER else publish.led
    return Orders((*done, *led(v)), {"refusal": why, "switch_started_at": None}, why)


def prepare_switch(v: View) -> Orders:
    return Orders((Checkpoint(),), {"switch_started_at": v.now, "refusal": ""}, verdict(v)[1])
