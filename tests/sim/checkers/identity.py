"""A cluster is one: once its system identifier is published, no agent ever publishes another one.

Whoever edits the ``initialize`` key by hand, or wipes etcd, changes what is there, not what the cluster is.
"""

from __future__ import annotations

from tests.sim.checkers.base import Checker
from tests.sim.world.events import Event, KeyWritten

BY_HAND = ("by hand", "wipe", "restore")


class OneCluster(Checker):
    name = "one cluster"

    def __init__(self) -> None:
        self._known = ""

    def see(self, event: Event) -> str | None:
        if not isinstance(event, KeyWritten) or event.key != "initialize" or event.by in BY_HAND:
            return None
        if not event.value or event.value == "(deleted)":
            return None
        known, self._known = self._known or event.value, event.value
        return None if event.value == known else f"{event.by} published {event.value} as the cluster that was {known}"
