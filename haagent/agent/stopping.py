"""A stop in good order that waits for the operator's ``before_stop``, and for nothing else.

Laws: whatever else is done to PostgreSQL meanwhile (another stop, a kill, a start) ends the wait and the program; the
stop that was waiting is then not carried out any more.
"""

from __future__ import annotations

import asyncio
import logging

from haagent.ports import PortError, Postgres

log = logging.getLogger("haagent.stopping")


class Stopping:
    """At most one stop that waits for its program."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres
        self._tasks: set[asyncio.Task[None]] = set()

    def after(self, program: str, timeout: float) -> None:
        """Order the stop for when the program has ended, or its time."""
        self.forget()
        task = asyncio.create_task(self._run(program, timeout), name="before_stop")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def forget(self) -> None:
        """End the program, without waiting for its end, and give up the stop that waits for it."""
        for task in self._tasks:
            task.cancel()

    async def _run(self, program: str, timeout: float) -> None:
        try:
            code = await self._postgres.run_hook(program, (), timeout)
            log.log(
                logging.WARNING if code else logging.INFO, "before_stop (%s) ended with exit code %d", program, code
            )
        except PortError as why:
            log.warning("before_stop: %s; PostgreSQL is stopped all the same", why)
        try:
            await self._postgres.stop("fast")
        except PortError as why:
            log.warning("the stop after before_stop: %s", why)
