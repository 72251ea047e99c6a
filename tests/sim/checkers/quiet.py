"""Without faults: no change of leader or of state, and no write to etcd but renewals and changed facts."""

from __future__ import annotations

from tests.sim.checkers.base import Checker
from tests.sim.checkers.liveness import QUIET
from tests.sim.world.events import Event, Fault, KeyWritten, LeaderKeyChanged, Note, StateChanged


class Quiet(Checker):
    name = "quiet"

    def __init__(self) -> None:
        self._quiet = False
        self._values: dict[str, str] = {}

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
        before = self._values.get(event.key)
        self._values[event.key] = event.value
        if self._quiet and event.key != "leader" and before == event.value:
            return f"{event.by} wrote the key {event.key} again, and nothing in it had changed"
        return None
