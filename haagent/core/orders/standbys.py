"""Standbys are started, compared with whom they follow, and rewound."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from haagent.core import conditions as c
from haagent.core import disks, failsafe, publish, stalls
from haagent.core.actions import Action, ClearGuard, Compare, DisarmGuard, EnsureGuard, Rewind, StartStandby
from haagent.core.facts import Goal, Upstream, View
from haagent.core.orders.stopping import stopper
from haagent.core.orders.words import Orders, backing_off, goal_after_start, job_error, job_used, role_callback
from haagent.core.states import State
from haagent.core.terms import later

SOURCE_AWAY_S = 5.0
"""How long a rewind waits for a source that could not be reached."""


def start_standby(v: View) -> Orders:
    source = c.upstream(v)
    where = f"streaming from {source.name} at {source.host}:{source.port}" if source else "read-only, without upstream"
    # A guard that this agent has not spoken to yet may have fired, or be about to, and would kill whatever is started.
    idle = v.guard.alive and not v.guard.fired and not v.guard.armed
    disarm: tuple[Action, ...] = (DisarmGuard(),) if c.unwritable(v) else ()
    calm: tuple[Action, ...] = () if idle else (EnsureGuard(), *disarm, ClearGuard())
    return Orders((*calm, StartStandby(publish.server_config(v, source))), {"goal": goal_after_start(v)}, detail=where)


def start_failed(v: View) -> Orders:
    """What was known of its history is forgotten when it fails again: the comparison may tell why it does."""
    again: dict[str, Any] = {"divergence": None} if v.memory.start_failures else {}
    return Orders((), {**backing_off(v), **again, "start_failures": v.memory.start_failures + 1})


def settle(v: View) -> Orders:
    """PostgreSQL answers as a standby: failures are forgotten.

    What an operator starts on a node that waits for one may have been mended: it is compared anew unless it streams.
    """
    adopted = v.state is State.FENCED and not v.memory.told_role
    callback = () if adopted else role_callback(v, "replica")
    changes: dict[str, Any] = {"attempts": 0, "start_failures": 0, "goal": Goal.NONE}
    if v.state is State.FAILED:
        changes["divergence"] = None
    told = {"told_role": "replica", "told_stop": False}
    return Orders((*callback, *publish.followed(v)), changes | told)


def follow(v: View) -> Orders:
    changes = {"rejoins": 0} if c.streaming(v) else {}
    return Orders(publish.followed(v), changes, disks.trouble(v) or stalls.why(v))


def rejoin(v: View) -> Orders:
    stop = stopper(Goal.FOLLOW)(v)
    return replace(stop, memory={**stop.memory, "rejoins": v.memory.rejoins + 1})


def keep_promise(v: View) -> Orders:
    """A primary goes on without etcd: it is followed, and its key is left alone."""
    promise = failsafe.promised(v)
    if promise is None:
        return Orders()
    whom = promise.name or "whoever its previous agent promised it to"
    term = "" if promise.term is None else f" of term {promise.term}"
    detail = f"{whom}{term}, {promise.length_s:.1f} s from its last request"
    return replace(follow(v), detail=detail)


def compare(v: View) -> Orders:
    return _ask_history(c.historian(v))


def _ask_history(source: Upstream | None) -> Orders:
    return Orders(() if source is None else (Compare(source),))


def note_verdict(v: View) -> Orders:
    found = v.job.result if v.job else None
    return Orders((), {"divergence": found, "attempts": 0} | job_used(v), detail=getattr(found, "reason", ""))


def compare_failed(v: View) -> Orders:
    stalled = v.memory.stalled
    told = {} if stalled is None else {"stalled": replace(stalled, why=job_error(v))}
    return Orders((), backing_off(v) | job_used(v) | told, job_error(v))


def ask_why_stalled(v: View) -> Orders:
    orders, known = _ask_history(c.upstream(v)), v.memory.stalled
    return replace(
        orders, memory={} if known is None else {"stalled": replace(known, asked_at=v.now)}, detail=stalls.why(v)
    )


def rewind(v: View) -> Orders:
    source, found = c.historian(v), v.memory.divergence
    if source is None:
        return Orders()
    lost = ""
    if found is not None and found.fork_lsn is not None:
        commits = "an unknown number of" if found.lost_commits is None else str(found.lost_commits)
        lost = f"{found.lost_bytes} bytes and {commits} commits beyond {found.fork_lsn} are given up"
    return Orders((Rewind(source),), detail=lost)


def rewind_failed(v: View) -> Orders:
    """Tried again; a source that could not be reached speaks neither against the rewind nor for a new copy."""
    changes = {"retry_at": later(v.now, SOURCE_AWAY_S)} if c.source_away(v) else backing_off(v)
    return Orders((), changes, job_error(v))
