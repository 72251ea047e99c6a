"""No standby takes records of another history for the continuation of its own: PostgreSQL would not notice."""

from __future__ import annotations

from tests.sim.checkers.base import Checker
from tests.sim.world.events import Corrupted, Event


class OneHistory(Checker):
    name = "one history"

    def see(self, event: Event) -> str | None:
        if isinstance(event, Corrupted):
            return f"{event.where} streams from {event.upstream} onto a history that parted before {event.lsn}"
        return None
