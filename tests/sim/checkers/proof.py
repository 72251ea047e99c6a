"""A permit ends within a granted ttl of a write of the leader key under its term: standbys count from the last one.

Void in failsafe mode, where the promises of all others extend it, and once etcd was wiped or set back.
"""

from __future__ import annotations

from tests.sim.checkers.base import Checker
from tests.sim.world.events import Event, KeyWritten, LeaderKeyChanged, Permit

WRITES = ("campaign", "renewal")


class PermitIsProven(Checker):
    name = "permit is proven"

    def __init__(self, *, failsafe_mode: bool = False) -> None:
        self._void = failsafe_mode
        self._bound: dict[tuple[str, int], float] = {}
        """Until when standbys wait for a node's term."""

    def see(self, event: Event) -> str | None:
        if isinstance(event, KeyWritten) and event.data_lost:
            self._void = True
        elif isinstance(event, LeaderKeyChanged) and event.cause in WRITES and event.name is not None:
            held = (event.name, event.term)
            self._bound[held] = max(self._bound.get(held, 0.0), event.at + event.ttl)
        elif isinstance(event, Permit) and not self._void:
            late_s = event.until - self._bound.get((event.where, event.term), 0.0)
            if late_s > 0:
                return f"the permit of {event.where} for term {event.term} outlasts its last proof by {late_s:.3f} s"
        return None
