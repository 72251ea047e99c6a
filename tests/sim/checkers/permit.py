"""No node commits past its permit, nor without one; where only the guard enforces it, plus what killing takes."""

from __future__ import annotations

from tests.sim.checkers.base import Checker
from tests.sim.world.events import Acked, Committed, Event


class WithinPermit(Checker):
    name = "within permit"

    def __init__(self, grace_s: float) -> None:
        """``grace_s``: how long a kill may take; 0 where the commit fence is installed."""
        self._grace_s = grace_s

    def see(self, event: Event) -> str | None:
        if not isinstance(event, Committed | Acked):
            return None
        if event.permit_until is None:
            return f"{event.where} made commit {event.commit} without a permit"
        late = event.at - event.permit_until
        if late > self._grace_s:
            return f"{event.where} made commit {event.commit} {late:.3f} s after its permit"
        return None
