"""A server that other hands made writable, or that a pause left so, is soon ended by its agent or under its lease.

It says nothing while the agent does not run, is frozen, or believes the cluster paused.
"""

from __future__ import annotations

from tests.sim.checkers.base import Checker
from tests.sim.world.events import Acked, Committed, Event


class StraysEnd(Checker):
    name = "strays end"

    def __init__(self, bound_s: float) -> None:
        """``bound_s``: within how many seconds of an agent's time."""
        self._bound_s = bound_s

    def see(self, event: Event) -> str | None:
        if isinstance(event, Committed | Acked) and event.void_s > self._bound_s:
            return f"{event.where} made commit {event.commit} {event.void_s:.1f} s after it was {event.void}"
        return None
