"""No standby takes records of another history for the continuation of its own: PostgreSQL would not notice.

Void where the histories parted by other hands or in a pause, and once etcd was wiped or set back: the numbers of
timelines that were claimed there are then forgotten.
"""

from __future__ import annotations

from tests.sim.checkers.base import Checker
from tests.sim.world.events import Corrupted, Event, KeyWritten


class OneHistory(Checker):
    name = "one history"

    def __init__(self) -> None:
        self._claims_lost = False

    def see(self, event: Event) -> str | None:
        if isinstance(event, KeyWritten) and event.data_lost:
            self._claims_lost = True
        if isinstance(event, Corrupted) and not event.by_hand and not self._claims_lost:
            return f"{event.where} streams from {event.upstream} onto a history that parted before {event.lsn}"
        return None
