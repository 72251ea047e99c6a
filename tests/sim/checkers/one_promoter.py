"""A timeline has one promoter: no two nodes make one of the same number; those that other hands made do not count.

What was claimed in an etcd that was wiped or set back may be claimed again.
"""

from __future__ import annotations

from tests.sim.checkers.base import Checker
from tests.sim.world.events import Event, KeyWritten, Writable


class OnePromoter(Checker):
    name = "one promoter"

    def __init__(self) -> None:
        self._made: dict[int, str] = {}

    def see(self, event: Event) -> str | None:
        if isinstance(event, KeyWritten) and event.data_lost:
            self._made.clear()
        if not isinstance(event, Writable) or not event.promoted:
            return None
        maker = self._made.setdefault(event.timeline, event.where)
        if maker != event.where:
            return f"{event.where} made timeline {event.timeline}, as {maker} had before"
        return None
