"""While a node believes the cluster paused its agent promotes nothing but what an operator asked for.

A leader that restarts on an operator's word was asked to be writable again, whatever other hands start meanwhile.
"""

from __future__ import annotations

from tests.sim.checkers.base import Checker
from tests.sim.world.events import Event, KeyWritten, StateChanged, Writable

RECENT_S = 120.0
"""A request is answered within this time, or it was given up."""
UNDER_WAY_S = 10.0
"""An election that was begun before the pause, or before the node heard of it, is carried through."""
ON_ITS_WAY = frozenset({"candidate", "promoting"})


class PauseIsKept(Checker):
    name = "pause"

    def __init__(self) -> None:
        self._asked_at = -RECENT_S
        self._paused_at: float | None = None
        self._on_its_way: dict[str, float] = {}
        self._restarting: set[str] = set()

    def see(self, event: Event) -> str | None:
        if isinstance(event, KeyWritten) and event.key == "failover" and event.value not in ("(deleted)", "{}"):
            self._asked_at = event.at
        elif isinstance(event, KeyWritten) and event.key == "config":
            paused = '"pause":true' in event.value
            self._paused_at = (self._paused_at or event.at) if paused else None
        elif isinstance(event, StateChanged):
            if event.new not in ON_ITS_WAY:
                self._on_its_way.pop(event.where, None)
                self._restarting.discard(event.where)
            elif event.old not in ON_ITS_WAY:
                self._on_its_way[event.where] = event.at
                if event.old == "demoting":
                    self._restarting.add(event.where)
        elif isinstance(event, Writable) and event.paused and not self._excused(event.where, event.at):
            return f"{event.where} was promoted in a pause, and nobody had asked for it"
        return None

    def _excused(self, node: str, at: float) -> bool:
        begun_at = min(self._on_its_way.get(node, at), at - UNDER_WAY_S)
        begun_before = self._paused_at is not None and begun_at <= self._paused_at
        return begun_before or node in self._restarting or at - self._asked_at <= RECENT_S
