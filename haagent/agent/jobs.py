"""The one long job at a time: started by an action, its end seen in a later View, however it ended."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from haagent.core.facts import Failure, JobFacts, Progress
from haagent.ports import Clock, PortError, Refused

log = logging.getLogger("haagent.jobs")

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
        failure: Failure | None = None
        result: Any = None
        try:
            result = await work(self._report)
        except PortError as why:
            error, failure = str(why) or type(why).__name__, why.failure
        except asyncio.CancelledError:
            error = "it was cancelled"
        except Exception as why:
            # A job that never ends would hold its node up for ever.
            error = f"an error of the agent's own, see its log: {type(why).__name__}"
            log.exception("the job %s failed in the agent itself", self._facts.kind if self._facts else "")
        if self._facts is not None:
            self._facts = replace(self._facts, done=True, error=error, failure=failure, result=result)
            self._wake(f"{self._facts.kind} ended")

    def _report(self, progress: Progress) -> None:
        if self._facts is not None and not self._facts.done:
            self._facts = replace(self._facts, progress=progress)
