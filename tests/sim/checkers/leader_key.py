"""The leader key passes on only by expiry, by its holder's own hand once not writable, or after a standstill of ttl.

Besides, operators may delete it or revoke its lease, and it is lost when etcd is wiped or set back (a key that comes
back so was last written long ago); after that nobody campaigns before the permit of whoever held it has ended, unless
it is the same node or the cluster is paused: that is for the checkers of commits to see. Nor can an agent call back
what it asked of a silent etcd before other hands made its PostgreSQL writable.
"""

from __future__ import annotations

from tests.sim.checkers.base import Checker
from tests.sim.world.events import Event, GivesUp, LeaderKeyChanged, Readonly, Writable

ROUNDING_S = 1e-6


class LeaderKeyPassesOn(Checker):
    name = "leader key"

    def __init__(self) -> None:
        self._last: LeaderKeyChanged | None = None
        self._writable: dict[str, Writable] = {}
        self._asked_at: dict[str, float] = {}

    def see(self, event: Event) -> str | None:
        if isinstance(event, Writable):
            self._writable[event.where] = event
        elif isinstance(event, GivesUp):
            self._asked_at[event.where] = event.at
        elif isinstance(event, Readonly):
            self._writable.pop(event.where, None)
        elif isinstance(event, LeaderKeyChanged):
            last, self._last = self._last, event
            return self._judge(last, event)
        return None

    def _judge(self, last: LeaderKeyChanged | None, event: LeaderKeyChanged) -> str | None:
        if last is None or last.name is None:
            return None
        if event.cause == "restore":
            return None
        if event.name is not None:
            if event.name != last.name or event.term != last.term:
                return f"{event.name} wrote the leader key of {last.name} over"
            return None
        if event.cause == "resign" and self._may_write(last.name):
            return f"{last.name} gave the leader key up while its PostgreSQL was writable"
        if event.cause == "depose" and last.cause != "restore" and event.at - last.at < last.ttl - ROUNDING_S:
            return f"the key of {last.name} was deleted {event.at - last.at:.3f} s after its last write; ttl {last.ttl}"
        if event.cause not in ("resign", "depose", "expiry", "revoke", "by hand", "wipe"):
            return f"the leader key of {last.name} ended by {event.cause}"
        return None

    def _may_write(self, node: str) -> bool:
        """Its PostgreSQL is writable, and was when the key was given up."""
        writable = self._writable.get(node)
        if writable is None:
            return False
        return not writable.by_hand or writable.at <= self._asked_at.get(node, writable.at)
