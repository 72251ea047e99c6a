"""While a node believes the cluster paused its agent promotes nothing but what an operator asked for."""

from __future__ import annotations

from tests.sim.checkers.base import Checker
from tests.sim.world.events import Event, KeyWritten, Writable

RECENT_S = 120.0
"""A request is answered within this time, or it was given up."""
UNDER_WAY_S = 10.0
"""An election that was begun before the pause is carried through."""


class PauseIsKept(Checker):
    name = "pause"

    def __init__(self) -> None:
        self._asked_at = -RECENT_S
        self._paused_at: float | None = None

    def see(self, event: Event) -> str | None:
        if isinstance(event, KeyWritten) and event.key == "failover" and event.value not in ("(deleted)", "{}"):
            self._asked_at = event.at
        elif isinstance(event, KeyWritten) and event.key == "config":
            paused = '"pause":true' in event.value
            self._paused_at = (self._paused_at or event.at) if paused else None
        elif isinstance(event, Writable) and event.paused and not self._excused(event.at):
            return f"{event.where} was promoted in a pause, and nobody had asked for it"
        return None

    def _excused(self, at: float) -> bool:
        begun_before = self._paused_at is not None and at - self._paused_at <= UNDER_WAY_S
        return begun_before or at - self._asked_at <= RECENT_S
