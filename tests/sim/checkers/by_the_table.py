"""Each change of state is a row of the table, and no agent ends by an exception."""

from __future__ import annotations

from haagent.core.transitions import TABLE
from tests.sim.checkers.base import Checker
from tests.sim.world.events import Crashed, Event, StateChanged

ROWS = {row.id: row for row in TABLE}


class ByTheTable(Checker):
    name = "by the table"

    def __init__(self) -> None:
        self.taken: set[int] = set()

    def see(self, event: Event) -> str | None:
        if isinstance(event, Crashed):
            return f"the agent of {event.where} ended with {event.error}"
        if not isinstance(event, StateChanged):
            return None
        row = ROWS.get(event.row)
        if row is None:
            return f"{event.where} went from {event.old} to {event.new} by row {event.row}, which is not in the table"
        self.taken.add(event.row)
        if (row.state.value, row.to.value) != (event.old, event.new):
            return f"{event.where} went from {event.old} to {event.new} by row {row.id}, which leads from {row.state}"
        return None
