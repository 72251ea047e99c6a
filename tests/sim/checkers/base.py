"""What all checkers have in common."""

from __future__ import annotations

from typing import ClassVar

from tests.sim.world.events import Event


class Checker:
    """Hears the events of one run in their order; each violation is one text."""

    name: ClassVar[str]

    def see(self, event: Event) -> str | None:
        """What is wrong with this event after all those before it; None when nothing is."""
        raise NotImplementedError

    def finish(self) -> str | None:
        """What is wrong with the history as a whole, once it has ended."""
        return None
