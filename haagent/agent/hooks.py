"""Operators' callbacks: in the background, one after the other, in order, each bounded; never in the way."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

from haagent.ports import PortError, Postgres

log = logging.getLogger("haagent.hooks")

CALLBACK_TIMEOUT_S = 300.0
LAST_S = 10.0
"""How long the agent's end waits for callbacks, which tell of PostgreSQL's."""
MOST_WAITING = 100


class Hooks:
    """A bounded queue of callbacks and the task that works it off."""

    def __init__(self, postgres: Postgres, commands: Mapping[str, str], scope: str) -> None:
        self._postgres, self._scope = postgres, scope
        self.commands = commands
        self._queue: asyncio.Queue[tuple[str, str]] = asyncio.Queue(MOST_WAITING)

    def tell(self, event: str, role: str) -> None:
        """Queue a callback; dropped, with a warning, when a hundred are waiting."""
        if not self.commands.get(event):
            return
        try:
            self._queue.put_nowait((event, role))
        except asyncio.QueueFull:
            log.warning("%d callbacks are waiting: %s %s is dropped", MOST_WAITING, event, role)

    async def run(self) -> None:
        """Work the queue off, for ever."""
        while True:
            event, role = await self._queue.get()
            try:
                await self._call(event, role)
            finally:
                self._queue.task_done()

    async def _call(self, event: str, role: str) -> None:
        command = self.commands.get(event)
        if not command:
            return
        try:
            code = await self._postgres.run_hook(command, (event, role, self._scope), CALLBACK_TIMEOUT_S)
        except PortError as failure:
            log.warning("callback %s (%s) failed: %s", event, command, failure)
            return
        level = logging.INFO if code == 0 else logging.WARNING
        log.log(level, "callback %s %s ended with exit code %d", event, role, code)

    async def finish(self) -> None:
        """Wait until all that was told has been called, for a while."""
        try:
            async with asyncio.timeout(LAST_S):
                await self._queue.join()
        except TimeoutError:
            log.warning("callbacks have not ended %g s after everything else: they are killed", LAST_S)
