"""While a node believes the cluster paused its agent promotes nothing but what an operator asked for."""

from __future__ import annotations

from tests.sim.checkers.base import Checker
from tests.sim.world.events import Event, KeyWritten, Writable

RECENT_S = 120.0
"""A request is answered within this time, or it was given up."""


class PauseIsKept(Checker):
    name = "pause"

    def __init__(self) -> None:
        self._asked_at = -RECENT_S

    def see(self, event: Event) -> str | None:
        if isinstance(event, KeyWritten) and event.key == "failover" and event.value not in ("(deleted)", "{}"):
            self._asked_at = event.at
        elif isinstance(event, Writable) and event.paused and event.at - self._asked_at > RECENT_S:
            return f"{event.where} was promoted in a pause, and nobody had asked for it"
        return None
