"""One View in, one Plan out: the first row of the table that fits, and the laws that every plan must obey."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from haagent.core import conditions, failsafe, intents, mixed, publish, remote, stalls, stray, synchrony, timelines
from haagent.core.actions import (
    Action,
    ArmGuard,
    Campaign,
    CancelJob,
    ClaimTimeline,
    CloseWatchdog,
    DisarmGuard,
    EnsureGuard,
    Exit,
    Initialize,
    OpenWatchdog,
    Plan,
    Promote,
    PutFailsafe,
    PutSync,
    Resign,
    StartPrimary,
)
from haagent.core.facts import View
from haagent.core.lease import leads
from haagent.core.quorums import NOBODY
from haagent.core.states import WRITABLE, State
from haagent.core.terms import Instant, later
from haagent.core.transitions import Row, rows_of

BREATH_S = 0.01
"""A row that asks to go on at once gets this pause when it comes twice running, and so does any near deadline."""
SUSPECT_S = 0.5
"""A primary that did not answer is asked again so soon: after ``retry_timeout`` clients are sent away from it."""
STRETCH = 0.05
"""A start or promotion that has lasted long is looked at after this part of that time: crash recovery takes minutes."""
ROWS = {state: rows_of(state) for state in State}


def decide(v: View) -> Plan:
    """What to do now. AssertionError when the plan would break a law: the agent then ends, and the permit runs out."""
    replies, memory = intents.admit(v)
    stored = memory.standing
    memory = replace(
        memory,
        standing=stray.standing(v, streams=conditions.streaming(v)),
        slots_seen=publish.slots_seen(v),
        history_of=publish.history_of(v),
        claim=timelines.claim_of(v),
        leaderless_since=_leaderless_since(v),
        handover=mixed.remembered(v),
        **synchrony.remembered(v),
        **stalls.remembered(v),
    )
    v = replace(v, memory=memory)
    row = first_fit(v)
    orders = row.do(v)
    changes = dict(orders.memory)
    if row.to is not row.state:
        changes.setdefault("since", v.now)
    why = f"{row.why} ({orders.detail})" if orders.detail else row.why
    if row.to is State.FAILED and row.state is not State.FAILED:
        changes["trouble"] = why
    last = v.leader.name if v.leader else memory.last_leader
    told: dict[str, Any] = {"state": row.to, "row": row.id, "why": why, "begun": True, "last_leader": last}
    if v.postgres.writable:
        told["divergence"] = None  # whatever was found of its history before, it has been written to since
    told |= {"prepared": _prepared(v, row), "leaving_at": None, "guardless_since": None}
    memory = replace(memory, **(told | _consumed(v, row) | _published(v) | changes))
    after = replace(v, memory=memory)
    actions = (*replies, *orders.actions)
    if not any(isinstance(action, Exit) for action in orders.actions):
        actions += publish.member_if_changed(after)
        if not v.guard.alive and row.to in (State.STANDBY, State.STANDBY_LEADER, State.PRIMARY):
            actions += (EnsureGuard(),)
        if row.to in (State.STANDBY, State.STANDBY_LEADER) and conditions.unwritable(v) and not _disarmed(v):
            actions += (DisarmGuard(),)
        if _asks_in_vain(v, row):
            actions += (CancelJob(),)
    else:
        actions = _last_words(after, actions)
    actions = _with_watchdog(v, actions)
    known, actions = failsafe.remembered(v, actions)
    now_standing, actions = stray.remembered(v, actions, stored)
    if (known, now_standing) != (memory.failsafe_known, memory.standing):
        memory = replace(memory, failsafe_known=known, standing=now_standing)
        after = replace(after, memory=memory)
    mandate = failsafe.mandate(after) if _keeps(v, row) else None
    plan = Plan(row.id, why, actions, memory, _hold_until(v, row), _wake_in(v, row), mandate)
    check(v, plan)
    return plan


def first_fit(v: View) -> Row:
    """The first row of this state whose conditions all hold."""
    return next(row for row in ROWS[v.state] if all(condition(v) for condition in row.when))


def _leaderless_since(v: View) -> Instant | None:
    if not conditions.leaderless(v):
        return None
    return v.now if v.memory.leaderless_since is None else v.memory.leaderless_since


def _prepared(v: View, row: Row) -> bool:
    """Whether ``pre_promote`` has agreed to this very candidacy: what it said of another one does not count."""
    same = v.state is State.CANDIDATE and row.to in (State.CANDIDATE, State.PROMOTING)
    return same and (v.memory.prepared or conditions.job_done("pre_promote")(v))


def _published(v: View) -> dict[str, Any]:
    written = [o.result for o in v.outcomes if o.action == "PublishMember" and o.ok]
    return {"published_under": written[-1]} if written else {}


def _consumed(v: View, row: Row) -> dict[str, Any]:
    """A change of state uses up the end of a job: no later row acts on it again."""
    used = row.to is not row.state and v.job is not None and (v.job.done or _asks_in_vain(v, row))
    return {"job_seen": v.job.started_at} if used and v.job else {}


def _asks_in_vain(v: View, row: Row) -> bool:
    """``pre_promote`` still runs for a candidacy that ends: the next one would wait for it."""
    ends = v.state is State.CANDIDATE and row.to is not State.CANDIDATE
    return ends and v.job is not None and v.job.kind == "pre_promote" and not v.job.done


def _disarmed(v: View) -> bool:
    """No permit of the past is enforced here any more; a guard not spoken to yet may hold one."""
    return v.guard.alive and not v.guard.armed


def _last_words(v: View, actions: tuple[Action, ...]) -> tuple[Action, ...]:
    """Publish the stopped node before the action that ends the agent."""
    exits = tuple(action for action in actions if isinstance(action, Exit))
    others = tuple(action for action in actions if not isinstance(action, Exit))
    return (*others, *publish.member_if_changed(v), *exits)


def _with_watchdog(v: View, actions: tuple[Action, ...]) -> tuple[Action, ...]:
    """Stop the watchdog device before leadership is given up, or when nobody wants it any more."""
    if not (v.watchdog.open or v.watchdog.left) or any(isinstance(action, OpenWatchdog) for action in actions):
        return actions
    over = v.lease.term is None or any(isinstance(action, Resign) for action in actions)
    idle = v.watchdog.mode == "off" or v.settings.pause
    return (CloseWatchdog(), *actions) if idle or (over and conditions.unwritable(v)) else actions


def _hold_until(v: View, row: Row) -> Instant:
    """Until when the keeper may renew by itself."""
    return later(v.now, v.timing.hold) if _keeps(v, row) else v.now


def _keeps(v: View, row: Row) -> bool:
    """A term that was not given up is kept alive only by those who lead."""
    kept = (*WRITABLE, State.DEMOTING, State.CANDIDATE, State.STANDBY_LEADER)
    leading = row.to in kept or row.state in WRITABLE
    return row.hold and (v.lease.term is None or leading)


def _wake_in(v: View, row: Row) -> float:
    """The longest sleep: the row's own, or until the next deadline that somebody must look at."""
    longest = v.settings.loop_wait if row.wake_s is None else row.wake_s
    if row.to is row.state and row.to in (State.STARTING, State.PROMOTING):
        longest = min(v.settings.loop_wait, max(longest, STRETCH * (v.now - v.memory.since)))
    if v.lease.term is not None:
        longest = conditions.soon(v, v.lease.demote_at, longest)
    beat = v.cluster.heartbeat
    if beat is not None and v.snapshot is not None and beat.name != v.me.name:
        longest = conditions.soon(v, conditions.outlasted_at(v, beat), longest)
    if beat is None:
        longest = conditions.soon(v, conditions.unheard_at(v), longest)
    if row.to is State.PRIMARY:
        longest = min(longest, synchrony.change(v).wake_s)
        if v.postgres.unreachable_since is not None:
            longest = min(longest, SUSPECT_S)
    request = v.snapshot.failover if v.snapshot else None
    if request is not None and request.scheduled_epoch is not None and request.scheduled_epoch > v.wall:
        longest = min(longest, request.scheduled_epoch - v.wall)
    promise = failsafe.promised(v)
    if promise is not None:
        longest = conditions.soon(v, promise.until, longest)
    if v.memory.pending:
        longest = min(longest, 0.25)
    again = row.wake_s != 0.0 or row.id == v.memory.row
    return max(longest, BREATH_S if again else 0.0)


def check(v: View, plan: Plan) -> None:
    """The laws of every plan, in production too."""
    led = leads(v.lease, v.now)
    assert plan.hold_until <= v.now + v.timing.hold, "a hold beyond its bound"
    for action in plan.actions:
        if isinstance(action, StartPrimary | Promote):
            assert led, f"row {plan.row} orders {type(action).__name__} without a permit"
            assert not conditions.unprotected(v), f"row {plan.row}: a required protection is missing"
            assert action.term == v.lease.term, f"row {plan.row} orders {type(action).__name__} for another term"
            assert _armed_before(plan, action) or conditions.guard_ready(v), f"row {plan.row}: the guard is not armed"
            claims = synchrony.claim(v, synchrony.claimed(v) if isinstance(action, StartPrimary) else NOBODY)
            assert not claims or _before(plan, action, PutSync), f"row {plan.row} leaves the sync key to another"
        if isinstance(action, StartPrimary | Promote | Initialize):
            kind = type(action).__name__
            assert not remote.is_set(v), f"row {plan.row} orders {kind} in a standby cluster"
        if isinstance(action, Promote):
            assert _claimed(v, plan, action), f"row {plan.row} promotes to a timeline that is not claimed"
        if isinstance(action, Campaign) and v.state is State.CANDIDATE:
            assert synchrony.objection(v) is None, f"row {plan.row} campaigns although the sync key forbids it"
            assert not conditions.promised(v), f"row {plan.row} campaigns although this node promised to wait"
            assert synchrony.votes_missing(v) is None, f"row {plan.row} campaigns without the votes it needs"
        if isinstance(action, PutFailsafe):
            assert v.lease.vouched_until is None, f"row {plan.row} changes who may lead while the permit rests on them"
        if isinstance(action, DisarmGuard):
            safe = conditions.unwritable(v) or v.settings.pause
            assert safe, f"row {plan.row} disarms the guard while PostgreSQL may be writable"
        if isinstance(action, CloseWatchdog):
            safe = conditions.unwritable(v) or v.settings.pause or v.watchdog.mode == "off"
            assert safe, f"row {plan.row} stops the watchdog device while PostgreSQL may be writable"
        if isinstance(action, Resign):
            lost = v.lease.lost is not None
            assert lost or conditions.unwritable(v), f"row {plan.row} resigns while PostgreSQL may be writable"
    if plan.memory.state in WRITABLE and v.state not in WRITABLE:
        assert led, f"row {plan.row} enters {plan.memory.state.value} without a permit"
        found = v.settings.pause and v.postgres.writable
        assert found or not remote.is_set(v), f"row {plan.row} enters {plan.memory.state.value} in a standby cluster"


def _armed_before(plan: Plan, action: Action) -> bool:
    return _before(plan, action, ArmGuard)


def _claimed(v: View, plan: Plan, action: Promote) -> bool:
    """The number was claimed in this term, or is claimed by this very plan before it is made."""
    ordered = plan.actions[: plan.actions.index(action)]
    return v.memory.claim == (action.term, action.claimed) or any(
        isinstance(one, ClaimTimeline) and (one.term, one.timeline) == (action.term, action.claimed) for one in ordered
    )


def _before(plan: Plan, action: Action, kind: type[Action]) -> bool:
    return any(isinstance(one, kind) for one in plan.actions[: plan.actions.index(action)])
