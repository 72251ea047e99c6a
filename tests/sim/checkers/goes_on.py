"""In failsafe mode an etcd that is gone as a whole, and nothing else, demotes no primary, however long it lasts."""

from __future__ import annotations

from tests.sim.checkers.base import Checker
from tests.sim.world.events import Event, Fault, StateChanged

OUTAGE = "etcd down"
CALM_S = 60.0
"""How long nothing else may have happened, so that every member is up and in the failsafe key."""


BY_THE_LEASE = (815, 820)


class GoesOn(Checker):
    name = "goes on"

    def __init__(self, *, failsafe_mode: bool) -> None:
        self._failsafe_mode = failsafe_mode
        self._open = 0
        self._other_at = 0.0
        self._down_at: float | None = None

    def see(self, event: Event) -> str | None:
        if isinstance(event, Fault):
            self._fault(event)
        elif isinstance(event, StateChanged) and self._failsafe_mode and self._down_at is not None:
            demoted = (event.old, event.new) == ("primary", "demoting") and event.row in BY_THE_LEASE
            lasted = event.at - self._down_at
            if demoted:
                return f"{event.where} was demoted by row {event.row}, {lasted:.1f} s after all of etcd had gone"
        return None

    def _fault(self, event: Fault) -> None:
        if event.text == OUTAGE:
            calm = self._open == 0 and event.at - self._other_at > CALM_S
            self._down_at = event.at if calm and not event.over else None
            return
        self._other_at, self._down_at = event.at, None
        self._open = max(0, self._open - 1) if event.over else self._open + 1
