"""The decision journal: what became of which view, as records that can be read long after the fact.

Laws: a record holds no secret; the same thing over and over is written now and then, with a count; whatever goes wrong
in here is logged and changes nothing else. Records go to a ``Sink``, which never blocks.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from haagent.agent.known import clean, known
from haagent.core.actions import Plan, Reply
from haagent.core.facts import Document, Goal, Intent, Me, Outcome, View
from haagent.core.states import WRITABLE
from haagent.core.terms import Instant

log = logging.getLogger("haagent.journal")

NOTABLE = frozenset(
    {
        "Campaign",
        "Depose",
        "ResumeLease",
        "Resign",
        "StartPrimary",
        "StartStandby",
        "StopPostgres",
        "KillPostgres",
        "Promote",
        "MoveAside",
        "Initialize",
        "Clone",
        "Rewind",
        "PutSync",
        "DropSync",
        "Exit",
    }
)
"""Actions that are written down also where the state stays as it is."""
BURST, PAUSE_S = 20, 30.0
"""How often the same thing is written in a row; from then on once in so many seconds."""
BETWEEN_AGENTS = "failsafe"
"""A request that agents send each other all the time: no operator asked it."""
_CONFIG_KINDS = frozenset({"patch_config", "put_config"})
_ASKED = frozenset(
    {
        "leader",
        "primary",
        "candidate",
        "member",
        "scheduled_at",
        "schedule",
        "role",
        "restart_pending",
        "postgres_version",
        "timeout",
        "force",
    }
)
"""Fields of a request that are written down as they are; of a configuration only the names of its keys are."""
_ABOUT: Mapping[Goal, frozenset[str]] = {
    Goal.SWITCHOVER: frozenset({"switchover", "failover"}),
    Goal.RESTART: frozenset({"restart", "schedule_restart"}),
    Goal.REINIT: frozenset({"reinitialize"}),
}


class Sink(Protocol):
    """Where records go; never blocks, and says nothing about what became of them."""

    def add(self, record: Document) -> None: ...


@dataclass(slots=True)
class _Bucket:
    left: float
    at: Instant
    skipped: int = 0


class Repeats:
    """Tells what has been written often enough lately."""

    def __init__(self) -> None:
        self._buckets: dict[object, _Bucket] = {}

    def skipped(self, key: object, now: Instant) -> int | None:
        """How many of this kind were left out since the last one written; None: leave this one out too."""
        bucket = self._buckets.setdefault(key, _Bucket(BURST, now))
        bucket.left = min(float(BURST), bucket.left + (now - bucket.at) / PAUSE_S)
        bucket.at = now
        if bucket.left < 1:
            bucket.skipped += 1
            return None
        bucket.left -= 1
        skipped, bucket.skipped = bucket.skipped, 0
        return skipped


class Journal:
    """Writes down what one run of the agent decides; ``run`` tells it apart from this node's other runs."""

    def __init__(self, sink: Sink, run: str, now: Callable[[], Instant]) -> None:
        self._sink, self._run, self._now = sink, run, now
        self._count = 0
        self._open: str | None = None
        self._repeats = Repeats()

    def noted(self, view: View, plan: Plan) -> None:
        """Before a plan is carried out: the requests that came, and the decision if it is worth it."""
        self._open = None
        try:
            self._requests(view)
            self._replies(view, plan)
            self._decision(view, plan)
        except Exception:
            log.exception("a decision (row %d) could not be written down", plan.row)

    def done(self, view: View, plan: Plan, outcomes: Sequence[Outcome]) -> None:
        """After it: what came of the actions."""
        of, self._open = self._open, None
        if of is None or not plan.actions:
            return
        try:
            took_s = round(self._now() - view.now, 3)
            left_out = [type(action).__name__ for action in plan.actions[len(outcomes) :]]
            record: dict[str, Any] = {"took_s": took_s, "outcomes": [outcome_of(one) for one in outcomes]}
            self._add(view, "outcome", record | {"of": of} | ({"not_done": left_out} if left_out else {}))
        except Exception:
            log.exception("the outcome of a decision (row %d) could not be written down", plan.row)

    def _decision(self, view: View, plan: Plan) -> None:
        kind = _kind(view, plan)
        if kind is None:
            return
        old, new = view.memory.state, plan.memory.state
        record = decision(view, plan)
        if kind != "change" or not {old, new} & WRITABLE:
            skipped = self._repeats.skipped((plan.row, old, new), view.now)
            if skipped is None:
                return
            record |= {"repeated": skipped} if skipped else {}
        self._open = self._add(view, kind, record)

    def _requests(self, view: View) -> None:
        for intent in view.intents:
            if intent.kind != BETWEEN_AGENTS:
                self._thinned(view, "request", intent.kind, {"request": request_of(intent)})

    def _replies(self, view: View, plan: Plan) -> None:
        known_intents = {one.id: one for one in (*view.intents, *(p.intent for p in view.memory.pending))}
        for action in plan.actions:
            intent = known_intents.get(action.intent_id) if isinstance(action, Reply) else None
            if isinstance(action, Reply) and intent is not None and intent.kind != BETWEEN_AGENTS:
                answer: dict[str, Any] = {"request": request_of(intent), "status": action.status}
                if isinstance(action.body, str) and intent.kind not in _CONFIG_KINDS:
                    answer["text"] = clean(action.body)
                self._thinned(view, "reply", intent.kind, answer)

    def _thinned(self, view: View, kind: str, about: str, record: dict[str, Any]) -> None:
        skipped = self._repeats.skipped((kind, about), view.now)
        if skipped is not None:
            self._add(view, kind, record | ({"repeated": skipped} if skipped else {}))

    def _add(self, view: View, kind: str, record: Document) -> str:
        self._count += 1
        number = f"{self._run}-{self._count}"
        now = self._now() if kind == "outcome" else view.now
        at = datetime.fromtimestamp(view.wall + (now - view.now), UTC)
        head = {"id": number, "at": at.isoformat(), "boot_s": round(now, 3), "node": view.me.name, "kind": kind}
        self._sink.add({**head, **record})
        return number


def began(me: Me, run: str, wall: float, now: Instant) -> Document:
    """The record with which a run of the agent begins."""
    at = datetime.fromtimestamp(wall, UTC).isoformat()
    return {"id": f"{run}-0", "at": at, "boot_s": round(now, 3), "node": me.name, "kind": "began", "agent": me.version}


def _kind(view: View, plan: Plan) -> str | None:
    """``change`` of state; without one an ``act`` that matters, or why it must ``wait``; None: not worth a record."""
    if plan.memory.state is not view.memory.state:
        return "change"
    if any(type(action).__name__ in NOTABLE for action in plan.actions):
        return "act"
    return "wait" if plan.row != view.memory.row and view.leader is None else None


def decision(view: View, plan: Plan) -> dict[str, Any]:
    """A plan with the inputs that mattered."""
    record: dict[str, Any] = {
        "row": plan.row,
        "from": view.memory.state.value,
        "to": plan.memory.state.value,
        "why": clean(plan.why),
        "lasted_s": round(max(0.0, view.now - view.memory.since), 3),
        "term": latest_term(view),
        "revision": int(view.cluster.snapshot.revision) if view.cluster.snapshot else None,
        "ordered": [type(action).__name__ for action in plan.actions],
        "known": known(view, plan.memory.goal),
    }
    about = _ABOUT.get(plan.memory.goal, frozenset())
    asked = [p.intent for p in (*plan.memory.pending, *view.memory.pending) if p.intent.kind in about]
    return record | ({"request": request_of(asked[0])} if asked else {})


def latest_term(view: View) -> int | None:
    """The latest term that this node has heard of: it puts records of several nodes in order."""
    beat, snapshot = view.cluster.heartbeat, view.cluster.snapshot
    terms = [
        view.lease.term,
        beat.term if beat else None,
        snapshot.leader.term if snapshot and snapshot.leader else None,
        snapshot.released if snapshot else None,
    ]
    return max((int(term) for term in terms if term is not None), default=None)


def request_of(intent: Intent) -> dict[str, Any]:
    """What an operator asked, without the values of a configuration."""
    asked: dict[str, Any] = {key: _plain(value) for key, value in intent.body.items() if key in _ASKED}
    if intent.kind in _CONFIG_KINDS:
        asked = {"keys": sorted(clean(str(key)) for key in intent.body)[:50]}
    return {"id": intent.id, "kind": intent.kind, "origin": clean(intent.origin or "unknown"), "asked": asked}


def _plain(value: object) -> Any:
    return value if isinstance(value, bool | int | float) or value is None else clean(str(value))


def outcome_of(one: Outcome) -> dict[str, Any]:
    """What came of one action; what a configuration was refused for may quote it, and is left out."""
    if one.failure is None:
        return {"action": one.action}
    told: dict[str, Any] = {"action": one.action, "failure": one.failure.value}
    return told if one.action == "PutConfig" else told | {"detail": clean(one.detail)}
