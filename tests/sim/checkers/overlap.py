"""Any set able to acknowledge a commit overlaps any set able to elect, at each commit that a leader acknowledges.

Between the leader that the ``sync`` key names and those whom it lists; what other hands made writable promises nothing.
"""

from __future__ import annotations

import json

from haagent.core.quorums import Electors, electors, overlap, parse
from tests.sim.checkers.base import Checker
from tests.sim.world.events import Acked, Event, KeyWritten


class SetsOverlap(Checker):
    name = "sets overlap"

    def __init__(self) -> None:
        self._leader: str | None = None
        self._electors = Electors()

    def see(self, event: Event) -> str | None:
        if isinstance(event, KeyWritten) and event.key == "sync":
            document = {} if event.value == "(deleted)" else json.loads(event.value)
            listed = [name for name in (document.get("sync_standby") or "").split(",") if name]
            # Who may lead after a restore was written by somebody who may be gone.
            self._leader = None if event.data_lost else document.get("leader")
            self._electors = electors(document.get("quorum") or 0, listed)
        elif isinstance(event, Acked) and not event.void and event.where == self._leader:
            names = parse(event.names)
            if names is not None and not overlap(names, self._electors):
                return f"{event.where} acknowledged a commit by {event.names!r}, and {self._electors} may elect"
        return None
