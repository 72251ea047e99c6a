"""While the cluster follows a primary elsewhere no agent makes anything writable here, and what was is ended in time.

Void for what other hands make writable, and for a node that believes the cluster paused. An agent may read of the
change, and stop in good order, a while after it was written; one that stands still is ended by its guard.
"""

from __future__ import annotations

import json

from tests.sim.checkers.base import Checker
from tests.sim.world.events import Acked, Committed, Event, KeyWritten, Writable


class Follows(Checker):
    name = "follows"

    def __init__(self, grace_s: float) -> None:
        self._grace_s = grace_s
        self._since: float | None = None

    def see(self, event: Event) -> str | None:
        if isinstance(event, KeyWritten) and event.key == "config":
            follows = event.value.startswith("{") and "standby_cluster" in json.loads(event.value)
            self._since = (event.at if self._since is None else self._since) if follows else None
        if self._since is None or event.at - self._since < self._grace_s:
            return None
        if isinstance(event, Writable) and not (event.by_hand or event.adopted or event.paused):
            return f"{event.where} became writable on timeline {event.timeline}, and the cluster follows another"
        if isinstance(event, Acked | Committed) and not event.void:
            return f"{event.where} took commit {event.commit}, and the cluster follows another"
        return None
