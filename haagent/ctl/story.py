"""From the journals of several nodes to the changes of role that they tell of, in one order.

Records are ordered by the term and the revision that their nodes knew, then by time: clocks of two nodes may differ,
the order of revisions does not. What a node did that heard nothing from etcd stands where its knowledge ended.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

Record = Mapping[str, Any]

PRIMARY, STANDBY, FAILED, DOWN = "primary", "standby", "failed", "down"
WAITED = "waited"
WAITED_LONG_S = 15.0
"""A standby that may not lead is worth no word when another leads so soon after."""
_RISING = frozenset({"candidate", "promoting"})
"""States on the way from one role to another: what happens in them belongs to the role that is reached."""
_SWITCHES = frozenset({"switchover", "failover"})
_BEGINNING = datetime.fromtimestamp(0, UTC)


@dataclass(frozen=True, slots=True)
class Event:
    """A change of role of one node, with the records that led to it, oldest first."""

    node: str
    role: str
    """The role reached, or ``waited``: it stood by while nobody led."""
    before: str | None
    steps: tuple[Record, ...]
    anew: bool = False
    """Another run of the agent found it so."""
    asked: Record | None = None
    """The request of an operator that it follows from, with the node where it was made."""
    gap_s: float | None = None
    """How long there had been no primary."""

    @property
    def at(self) -> datetime:
        return at(self.steps[-1])

    @property
    def took_s(self) -> float:
        """From the first step to the last."""
        return max(0.0, (at(self.steps[-1]) - at(self.steps[0])).total_seconds())

    @property
    def decisive(self) -> Record:
        """The step that knew why: of a promotion the campaign, else the last."""
        if self.role != PRIMARY:
            return self.steps[-1]
        campaigns = [step for step in self.steps if "Campaign" in str(step.get("ordered"))]
        return (campaigns or self.steps)[0 if not campaigns else -1]

    @property
    def unheard_s(self) -> float | None:
        """How long the former primary had not been heard of when this one could be written to."""
        beat = part(self.decisive, "known", "dcs").get("heartbeat_s")
        if self.role != PRIMARY or self.before == PRIMARY or not isinstance(beat, int | float):
            return None
        return beat + max(0.0, (self.at - at(self.decisive)).total_seconds())

    @property
    def tried(self) -> bool:
        """Whether a promotion was under way."""
        return any(step.get("to") == "promoting" or step.get("from") == "promoting" for step in self.steps)


def part(record: Mapping[str, Any], *names: str) -> Mapping[str, Any]:
    """An object within an object; empty when it is not there."""
    for name in names:
        found = record.get(name)
        record = found if isinstance(found, Mapping) else {}
    return record


def at(record: Record) -> datetime:
    """When, by the clock of its node; the beginning of time when it does not say."""
    try:
        moment = datetime.fromisoformat(str(record.get("at")))
    except ValueError:
        return _BEGINNING
    if not 1970 < moment.year < 9999:
        return _BEGINNING
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


Key = tuple[int, int, datetime]


def _keyed(node: str, records: Iterable[Record]) -> Iterator[tuple[Key, str, Record]]:
    """Records of one node with what they are ordered by; what does not say its term belongs to the one before it."""
    term = revision = 0
    for record in records:
        term, revision = _number(record.get("term"), term), _number(record.get("revision"), revision)
        yield (term, revision, at(record)), node, record


def _number(value: object, otherwise: int) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else otherwise


def merged(journals: Mapping[str, Sequence[Record]]) -> list[tuple[str, Record]]:
    """All records with their nodes in one order, in which each node's own order is kept."""
    keyed = [_keyed(node, records) for node, records in sorted(journals.items())]
    return [(node, record) for _, node, record in heapq.merge(*keyed, key=lambda one: one[:2])]


# --- one node ---


def _role(state: object) -> str | None:
    """The role that goes with a state; None on the way."""
    if str(state) in _RISING:
        return None
    return str(state) if state in (PRIMARY, STANDBY, FAILED) else DOWN


@dataclass(slots=True)
class _Teller:
    """Follows one node's records."""

    node: str
    role: str | None = None
    steps: list[Record] = field(default_factory=list)
    anew: bool = False
    waited_in: object = None

    def hear(self, record: Record) -> Event | None:
        """One more record; the change of role that it completes."""
        kind = record.get("kind")
        if kind == "began":
            self.steps, self.anew = [*self.steps, record], True
            return None
        if kind in ("act", "wait"):
            return self._within(record)
        return self._changed(record) if kind == "change" else None

    def _within(self, record: Record) -> Event | None:
        if self.steps:
            self.steps.append(record)
            return None
        waits = record.get("kind") == "wait" and record.get("to") == STANDBY
        if not waits or "silent_s" in part(record, "known", "dcs") or record.get("row") == self.waited_in:
            return None
        self.waited_in = record.get("row")
        return Event(self.node, WAITED, STANDBY, (record,))

    def _changed(self, record: Record) -> Event | None:
        left = _role(record.get("from"))
        if left is not None and not self.anew:
            self.role = left
        self.steps.append(record)
        reached = _role(record.get("to"))
        if reached is None:
            return None
        told = reached != self.role or reached == PRIMARY or self.anew
        event = Event(self.node, reached, self.role, tuple(self.steps), self.anew) if told else None
        self.role, self.steps, self.anew, self.waited_in = reached, [], False, None
        return event


# --- all nodes ---


def events(journals: Mapping[str, Sequence[Record]]) -> list[Event]:
    """All changes of role of all nodes, oldest first, with who asked and how long there was no primary."""
    tellers = {node: _Teller(node) for node in journals}
    requests: list[tuple[str, Record]] = []
    found: list[Event] = []
    lost_at: datetime | None = None
    for node, record in merged(journals):
        if record.get("kind") == "request":
            requests.append((node, record))
        event = tellers[node].hear(record)
        if event is None:
            continue
        gap_s = None
        if event.role == PRIMARY and lost_at is not None and event.before != PRIMARY:
            gap_s, lost_at = (event.at - lost_at).total_seconds(), None
        elif event.before == PRIMARY and event.role != PRIMARY:
            lost_at = event.at
        found.append(Event(node, event.role, event.before, event.steps, event.anew, _asked(event, requests), gap_s))
    return found


def _asked(event: Event, requests: Sequence[tuple[str, Record]]) -> Record | None:
    """The operator's request behind an event: named in its records, or found by the change of leader they speak of."""
    for step in reversed(event.steps):
        if part(step, "request"):
            return {**part(step, "request"), "node": event.node}
    wanted = next((key for step in event.steps if (key := part(step, "known", "dcs", "failover"))), None)
    if wanted is None:
        return None
    for node, record in reversed(requests):
        request = part(record, "request")
        asked = part(request, "asked")
        candidate = asked.get("candidate") or asked.get("member")
        if str(request.get("kind")) in _SWITCHES and candidate == wanted.get("to"):
            return {**request, "node": node}
    return {"kind": "a change of leader", "asked": wanted}


def of_the_cluster(told: Sequence[Event]) -> list[Event]:
    """What matters beyond its node: who became or ceased to be primary, or tried to, or waited long, or has failed."""
    led_at = [one.at for one in told if one.role == PRIMARY]

    def matters(one: Event) -> bool:
        if one.role == WAITED:
            return not any(0 <= (moment - one.at).total_seconds() <= WAITED_LONG_S for moment in led_at)
        return PRIMARY in (one.role, one.before) or one.role == FAILED or one.tried

    return [one for one in told if matters(one)]
