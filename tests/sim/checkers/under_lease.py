"""Whoever commits holds the leader key in etcd at that very instant; in failsafe mode at least nobody else does."""

from __future__ import annotations

from tests.sim.checkers.base import Checker
from tests.sim.world.events import Acked, Committed, Event, LeaderKeyChanged


class UnderLease(Checker):
    name = "under lease"

    def __init__(self, *, failsafe_mode: bool = False) -> None:
        self._failsafe_mode = failsafe_mode
        self._holder: str | None = None

    def see(self, event: Event) -> str | None:
        if isinstance(event, LeaderKeyChanged):
            self._holder = event.name
        elif isinstance(event, Committed | Acked) and event.where != self._holder:
            if self._failsafe_mode and self._holder is None:
                return None
            held = f"{self._holder} held" if self._holder else "nobody held"
            return f"{event.where} made commit {event.commit} while {held} the leader key"
        return None
