"""A cluster is one: once its system identifier is published, no agent ever publishes another one.

Whoever edits the ``initialize`` key by hand, or wipes etcd, changes what is there, not what the cluster is. But an
agent that was started after the last leader key had gone can't tell a wiped etcd from a new one.
"""

from __future__ import annotations

from tests.sim.checkers.base import Checker
from tests.sim.world.events import STARTS, Event, KeyWritten, LeaderKeyChanged, Note

BY_HAND = ("by hand", "wipe", "restore")


class OneCluster(Checker):
    name = "one cluster"

    def __init__(self) -> None:
        self._known = ""
        self._led = False
        self._innocent: set[str] = set()
        """Agents that have never seen a leader key."""

    def see(self, event: Event) -> str | None:
        if isinstance(event, LeaderKeyChanged):
            self._led = event.name is not None
            if self._led:
                self._innocent.clear()
        elif isinstance(event, Note) and event.text == STARTS and not self._led:
            self._innocent.add(event.where)
        elif isinstance(event, KeyWritten) and event.key == "initialize" and event.by not in BY_HAND:
            return self._judge(event)
        return None

    def _judge(self, event: KeyWritten) -> str | None:
        if not event.value or event.value == "(deleted)":
            return None
        known, self._known = self._known or event.value, event.value
        if event.value == known or event.by in self._innocent:
            return None
        return f"{event.by} published {event.value} as the cluster that was {known}"
