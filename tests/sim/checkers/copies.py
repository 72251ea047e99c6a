"""No data directory is removed, moved or built over unless another node holds a verified copy."""

from __future__ import annotations

from tests.sim.checkers.base import Checker
from tests.sim.world.events import DataGone, Event


class AnotherCopy(Checker):
    name = "another copy"

    def see(self, event: Event) -> str | None:
        if isinstance(event, DataGone) and event.how.startswith("valid") and not event.copies:
            return f"the data of {event.where} was {event.how}, and no other node holds a copy"
        return None
