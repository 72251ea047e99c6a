"""This machine's clocks."""

from __future__ import annotations

import time

from haagent.core.terms import Instant


class BoottimeClock:
    """CLOCK_BOOTTIME, which goes on while the machine is suspended, and the wall clock for texts."""

    def now(self) -> Instant:
        return Instant(time.clock_gettime(time.CLOCK_BOOTTIME))

    def wall(self) -> float:
        return time.time()
