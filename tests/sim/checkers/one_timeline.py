"""No two nodes acknowledge in one timeline, and none in an old one after a newer: judged as on real clusters.

In an etcd that was wiped or set back the numbers begin anew. What other hands made writable promises nothing, nor does
what is acknowledged in a pause.
"""

from __future__ import annotations

from tests.real.checkers import one_node_at_a_time
from tests.real.record import Attempt, Outcome, Record
from tests.sim.checkers.base import Checker
from tests.sim.world.events import Acked, Committed, Event, KeyWritten


class OneTimeline(Checker):
    name = "one timeline"

    def __init__(self) -> None:
        self._record = Record()
        self._begun: dict[int, float] = {}
        self._wrong: str | None = None

    def see(self, event: Event) -> str | None:
        if isinstance(event, Committed):
            self._begun[event.uid] = event.at
        elif isinstance(event, Acked) and not event.void:
            begun = self._begun.get(event.uid, event.at)
            attempt = (event.commit, "", begun, event.at, Outcome.ACKNOWLEDGED, event.where, event.timeline)
            self._record.attempts.append(Attempt(*attempt))
        elif isinstance(event, KeyWritten) and event.data_lost:
            self._wrong = self._wrong or self._judged()
            self._record, self._begun = Record(), {}
        return None

    def finish(self) -> str | None:
        return self._wrong or self._judged()

    def _judged(self) -> str | None:
        try:
            one_node_at_a_time(self._record)
        except AssertionError as error:
            return str(error).partition("\n")[0]
        return None
