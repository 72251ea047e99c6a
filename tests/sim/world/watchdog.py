"""The watchdog device of a simulated host: its timer is the kernel's, so it outlives agents and resets the machine."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from haagent.core.facts import WatchdogFacts
from haagent.core.terms import Instant
from haagent.ports import Refused
from haagent.watchdog.device import WatchdogSettings
from tests.sim.world.events import Note

if TYPE_CHECKING:
    from tests.sim.world.hosts import Host
    from tests.sim.world.world import World

BOOT_S = 4.0
"""How long a machine needs to come up again."""


class Timer:
    """The kernel's part: one for each host."""

    def __init__(self, world: World, host: Host) -> None:
        self._world, self._host = world, host
        self._handle: asyncio.TimerHandle | None = None
        self.resets = 0

    @property
    def runs(self) -> bool:
        return self._handle is not None

    def feed(self, seconds: float) -> None:
        self.stop()
        self._handle = self._world.loop.later(seconds / self._host.clock.rate, self._reset)

    def stop(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _reset(self) -> None:
        self._handle = None
        if self._host.up:
            self.resets += 1
            self._world.log(Note(self._world.now, self._host.name, "reset by the watchdog device"))
            self._host.power_off()
            self._world.loop.later(BOOT_S, self._host.power_on)


class SimWatchdog:
    """Implements ``ports.Watchdog`` for one agent."""

    def __init__(self, settings: WatchdogSettings, host: Host) -> None:
        self._settings, self._host = settings, host
        self._facts = WatchdogFacts(settings.mode, settings.device, left=host.device.runs)

    def facts(self) -> WatchdogFacts:
        known, now = self._facts, self._host.clock.now()
        if known.mode == "off":
            return known
        if known.open and self._host.device_fails:  # the keepalive fails, and the timer runs on
            self._facts = known = replace(known, open=False, left=True, timeout_s=None)
        why = "no such device" if self._host.device_fails else ""
        if not known.open and (why or known.why):
            since = known.absent_since or now
            self._facts = replace(known, why=why, absent_since=since if why else None)
        return self._facts

    async def open(self, ttl: float, timeout: float) -> None:
        try:
            if self._host.device_fails:
                raise Refused("no such device")
            seconds = self._settings.timeout_for(ttl)
        except Refused as why:
            now = self._host.clock.now()
            since = self._facts.absent_since or now
            self._facts = replace(self._facts, why=str(why), failed_at=now, absent_since=since)
            if self._settings.mode == "required":
                raise
            return
        self._host.device.feed(seconds)
        self._facts = WatchdogFacts(self._settings.mode, self._settings.device, True, seconds)

    def feed(self, until: Instant, ttl: float) -> None:
        if self.facts().open:
            try:
                full = self._settings.timeout_for(ttl)
            except Refused:
                return
            left = min(full, int(until - self._host.clock.now()))
            if left >= 1:
                self._host.device.feed(left)

    async def close(self, timeout: float) -> None:
        self._host.device.stop()
        self._facts = WatchdogFacts(self._settings.mode, self._settings.device)
