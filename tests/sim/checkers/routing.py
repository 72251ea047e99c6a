"""At most one node would answer 200 to GET /primary at any instant; void for nodes that believe the cluster paused."""

from __future__ import annotations

from tests.sim.checkers.base import Checker
from tests.sim.world.events import Event, Routed


class OneRoute(Checker):
    name = "one route"

    def see(self, event: Event) -> str | None:
        bound = [name for name in event.nodes if name not in event.paused] if isinstance(event, Routed) else []
        if len(bound) > 1:
            return f"{' and '.join(bound)} answer 200 to /primary at once"
        return None
