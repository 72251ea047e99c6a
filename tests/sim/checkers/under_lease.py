"""Whoever commits holds the leader key in etcd at that very instant; in failsafe mode at least nobody else does.

When the key was lost by other hands or with etcd's data, its holder may go on till its permit ends or another node has
the key. Void for a node that believes the cluster paused, and for a server that other hands made writable.
"""

from __future__ import annotations

from tests.sim.checkers.base import Checker
from tests.sim.world.events import Acked, Committed, Event, LeaderKeyChanged

ROBBED = ("revoke", "by hand", "wipe", "restore")


class UnderLease(Checker):
    name = "under lease"

    def __init__(self, *, failsafe_mode: bool = False) -> None:
        self._failsafe_mode = failsafe_mode
        self._holder: str | None = None
        self._robbed: set[str | None] = set()

    def see(self, event: Event) -> str | None:
        if isinstance(event, LeaderKeyChanged):
            if event.cause in ROBBED:
                self._robbed.add(self._holder)
            elif event.cause == "campaign":
                self._robbed.clear()
            self._holder = event.name
        elif (
            isinstance(event, Committed | Acked) and not event.void and event.where not in {self._holder, *self._robbed}
        ):
            if self._failsafe_mode and self._holder is None:
                return None
            held = f"{self._holder} held" if self._holder else "nobody held"
            return f"{event.where} made commit {event.commit} while {held} the leader key"
        return None
