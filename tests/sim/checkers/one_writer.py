"""At most one node accepts commits: once a newer primary has committed, no older one elsewhere ever does again.

Void for a node that believes the cluster paused, and for a server that other hands made writable until its agent has
ended it or leads with it.
"""

from __future__ import annotations

from tests.sim.checkers.base import Checker
from tests.sim.world.events import Acked, Committed, Event


class OneWriter(Checker):
    name = "one writer"

    def __init__(self) -> None:
        self._promotion = 0
        self._node = ""

    def see(self, event: Event) -> str | None:
        if not isinstance(event, Committed | Acked) or event.void:
            return None
        if event.promotion >= self._promotion:
            self._promotion, self._node = event.promotion, event.where
            return None
        if event.where == self._node:
            return None
        did = "acknowledged" if isinstance(event, Acked) else "made"
        return f"{event.where} {did} commit {event.commit} after {self._node} had committed as a later primary"
