"""At most one node would answer 200 to GET /primary at any instant."""

from __future__ import annotations

from tests.sim.checkers.base import Checker
from tests.sim.world.events import Event, Routed


class OneRoute(Checker):
    name = "one route"

    def see(self, event: Event) -> str | None:
        if isinstance(event, Routed) and len(event.nodes) > 1:
            return f"{' and '.join(event.nodes)} answer 200 to /primary at once"
        return None
