"""A node told no never acts as if done: no permit for a term that etcd refused, no timeline of a refused number.

What a guard was told before the refusal may arrive after it, but never lasts longer than a ttl from then. Timelines
that other hands made do not count.
"""

from __future__ import annotations

from tests.sim.checkers.base import Checker
from tests.sim.world.events import Event, LeaderKeyChanged, Permit, Told, Writable


class RefusalsAreObeyed(Checker):
    name = "refusals are obeyed"

    def __init__(self) -> None:
        self._won: set[tuple[str, int]] = set()
        self._lost_at: dict[tuple[str, int], float] = {}
        self._unclaimed: set[tuple[str, int]] = set()
        self._ttl = 0.0

    def see(self, event: Event) -> str | None:
        if isinstance(event, LeaderKeyChanged):
            self._ttl = max(self._ttl, event.ttl)
        elif isinstance(event, Told):
            self._hear(event)
        elif isinstance(event, Permit):
            return self._permit(event)
        elif isinstance(event, Writable):
            return self._promoted(event)
        return None

    def _hear(self, told: Told) -> None:
        what = (told.where, told.number)
        if told.key == "claimed":
            (self._unclaimed.discard if told.done else self._unclaimed.add)(what)
        elif told.done:
            self._won.add(what)
            self._lost_at.pop(what, None)
        else:
            self._lost_at[what] = told.at

    def _promoted(self, event: Writable) -> str | None:
        made = event.promoted and not event.by_hand
        if not made or (event.where, event.timeline) not in self._unclaimed:
            return None
        return f"{event.where} made timeline {event.timeline}, and etcd had refused it that number"

    def _permit(self, permit: Permit) -> str | None:
        what = (permit.where, permit.term)
        if what not in self._won:
            return f"{permit.where} has a permit for term {permit.term}, which it never won"
        lost_at = self._lost_at.get(what)
        if lost_at is None or permit.until <= lost_at + self._ttl:
            return None
        late_s = permit.until - lost_at
        return f"{permit.where} has a permit for term {permit.term} until {late_s:.3f} s after it heard that it is lost"
