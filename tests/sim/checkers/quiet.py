"""Without faults: no change of leader or of state, and no write to etcd but renewals and changed facts."""

from __future__ import annotations

from tests.sim.checkers.base import Checker
from tests.sim.checkers.liveness import QUIET
from tests.sim.world.events import Event, Fault, KeyWritten, LeaderKeyChanged, Note, StateChanged

LATE_S = 2.0
"""A write whose answer got lost on the way is made again; both may arrive."""


class Quiet(Checker):
    name = "quiet"

    def __init__(self) -> None:
        self._quiet = False
        self._values: dict[str, tuple[float, str]] = {}

    def see(self, event: Event) -> str | None:
        if isinstance(event, Note) and event.text == QUIET:
            self._quiet = True
        elif isinstance(event, Fault) and not event.over:
            self._quiet = False
        elif isinstance(event, KeyWritten):
            return self._judge_write(event)
        elif self._quiet and isinstance(event, LeaderKeyChanged) and event.cause != "renewal":
            return f"without any fault the leader key changed by {event.cause}"
        elif self._quiet and isinstance(event, StateChanged):
            return f"without any fault {event.where} went from {event.old} to {event.new} by row {event.row}"
        return None

    def _judge_write(self, event: KeyWritten) -> str | None:
        written_at, before = self._values.get(event.key, (0.0, None))
        self._values[event.key] = (event.at, event.value)
        again = before == event.value and event.at - written_at > LATE_S
        if self._quiet and event.key != "leader" and again:
            return f"{event.by} wrote the key {event.key} again, and nothing in it had changed"
        return None
