"""Tells the log what protects a primary: once when that changes, and again and again while nothing does."""

from __future__ import annotations

import logging
import math

from haagent.core.facts import View
from haagent.core.states import State
from haagent.core.status import protection
from haagent.core.terms import Instant

log = logging.getLogger("haagent.protection")

REPEAT_S = 60.0


class Protections:
    """Remembers what was last said, and when."""

    def __init__(self) -> None:
        self._said: list[str] | None = None
        self._warned_at = Instant(-math.inf)

    def noted(self, view: View, state: State) -> None:
        """One tick: of a primary in service, unless the cluster is paused, in which nobody fences."""
        if state is not State.PRIMARY or view.state is not State.PRIMARY or view.settings.pause:
            self._said = None
            return
        present = protection(view)
        if not present and view.now - self._warned_at >= REPEAT_S:
            self._warned_at = view.now
            log.warning(
                "nothing would keep this primary from accepting commits past its permit: no commit fence "
                "(make -C fence install), no guard, no watchdog device (watchdog.mode)"
            )
        if present and present != self._said:
            log.info("commits past the permit are prevented by: %s", ", ".join(present))
        self._said = present
