"""Notices that this process got no time: its machine was starved of it, suspended or migrated."""

from __future__ import annotations

import asyncio
import logging

from haagent.ports import Clock

log = logging.getLogger(__name__)

EVERY_S = 0.5
STANDSTILL_S = 1.0
"""So late beyond what was asked for a sleep did not end in good time."""


class Standstills:
    """Sleeps over and over, and counts the times that it woke up late; waiting for others is no standstill."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.count = 0

    async def watch(self) -> None:
        """Watch for ever."""
        while True:
            began = self._clock.now()
            await asyncio.sleep(EVERY_S)
            late_s = self._clock.now() - began - EVERY_S
            if late_s > STANDSTILL_S:
                self.count += 1
                log.warning("the loop stood still for %.1f s: this machine is overloaded or was paused", late_s)
