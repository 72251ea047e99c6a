"""The one long job at a time: started by an action, its end seen in a later View."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from haagent.core.facts import JobFacts, Progress
from haagent.ports import Clock, PortError, Refused

Report = Callable[[Progress], None]


class Jobs:
    """Runs at most one job; ``facts()`` is the present one, or the last."""

    def __init__(self, clock: Clock, wake: Callable[[str], None]) -> None:
        self._clock, self._wake = clock, wake
        self._facts: JobFacts | None = None
        self._task: asyncio.Task[None] | None = None

    def facts(self) -> JobFacts | None:
        return self._facts

    def start(self, kind: str, work: Callable[[Report], Awaitable[Any]]) -> None:
        """Begin a job; Refused while another one runs."""
        if self._task is not None and not self._task.done():
            raise Refused(f"a job is under way already: {self._facts.kind if self._facts else ''}")
        self._facts = JobFacts(kind, self._clock.now())
        self._task = asyncio.create_task(self._run(work), name=f"job {kind}")

    async def cancel(self) -> None:
        """End the present job and wait until it is over."""
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self, work: Callable[[Report], Awaitable[Any]]) -> None:
        error: str | None = None
        result: Any = None
        try:
            result = await work(self._report)
        except PortError as failure:
            error = str(failure) or type(failure).__name__
        except asyncio.CancelledError:
            error = "it was cancelled"
        if self._facts is not None:
            self._facts = replace(self._facts, done=True, error=error, result=result)
            self._wake(f"{self._facts.kind} ended")

    def _report(self, progress: Progress) -> None:
        if self._facts is not None and not self._facts.done:
            self._facts = replace(self._facts, progress=progress)
