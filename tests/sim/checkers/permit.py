"""No node commits past its permit, nor without one; where only the guard enforces it, plus what killing takes.

Void for a node that believes the cluster paused, and for a server that other hands made writable.
"""

from __future__ import annotations

from haagent.core.lease import KILL_TIME_S
from tests.sim.checkers.base import Checker
from tests.sim.world.events import Acked, Committed, Event


class WithinPermit(Checker):
    name = "within permit"

    def __init__(self, grace_s: float = KILL_TIME_S) -> None:
        """``grace_s``: how long a kill may take, for a server that has not loaded the commit fence."""
        self._grace_s = grace_s

    def see(self, event: Event) -> str | None:
        if not isinstance(event, Committed | Acked) or (event.void and not event.fenced):
            return None
        if event.permit_until is None:
            return f"{event.where} made commit {event.commit} without a permit"
        late = event.at - event.permit_until
        if late > (0.0 if event.fenced else self._grace_s):
            return f"{event.where} made commit {event.commit} {late:.3f} s after its permit"
        return None
