"""Whether anything has happened lately: those who only repeat themselves do so less often while nothing does."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tests.sim.world.events import Event, Fault, LeaderKeyChanged, Note, Readonly, Routed, StateChanged, Writable

if TYPE_CHECKING:
    from tests.sim.world.world import World

SLOWER, LONGEST_S = 30.0, 20.0
"""So many times longer may a pause become in a calm, and so long at most."""


class Calm:
    """It begins a ttl after the last fault and whatever else could change what clients meet, and ends with the next."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._after_s = 5.0 + world.knobs.ttl
        self._stirred_at = 0.0
        self._faults = 0
        """How many go on."""
        self._stirred = asyncio.Event()
        world.listeners.append(self._hear)

    def _hear(self, event: Event) -> None:
        if isinstance(event, Fault):
            self._faults += -1 if event.over else 1
        key_moved = isinstance(event, LeaderKeyChanged) and event.cause != "renewal"
        if key_moved or isinstance(event, Fault | StateChanged | Writable | Readonly | Routed | Note):
            self._stirred_at = event.at
            self._stirred.set()

    async def pause(self, seconds: float) -> None:
        """Sleep so long; in a calm much longer, or until it ends."""
        await asyncio.sleep(seconds)
        if self._faults > 0 or self._world.now - self._stirred_at < self._after_s:
            return
        self._stirred.clear()
        try:
            async with asyncio.timeout(min(seconds * SLOWER, LONGEST_S)):
                await self._stirred.wait()
        except TimeoutError:
            return
