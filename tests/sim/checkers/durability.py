"""A commit acknowledged with its synchronous standbys' word is in the history of every later primary."""

from __future__ import annotations

from tests.sim.checkers.base import Checker
from tests.sim.world.events import Acked, Event, Writable


class SynchronousCommitsLast(Checker):
    name = "synchronous commits last"

    def __init__(self) -> None:
        self._acked: dict[int, int] = {}

    def see(self, event: Event) -> str | None:
        if isinstance(event, Acked) and event.sync:
            self._acked[event.uid] = event.commit
        if isinstance(event, Writable) and event.promoted:
            lost = [commit for uid, commit in self._acked.items() if not event.holds(uid)]
            if lost:
                return f"{event.where} leads without {len(lost)} acknowledged synchronous commits: {lost[:5]}"
        return None
