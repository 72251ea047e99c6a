"""Asking several endpoints for one thing: the next one is asked when the last is silent or failed; the first word wins.

No try is given up before the caller's deadline: on a slow path the first answer still counts, on a dead one it costs
``pace`` seconds and not the deadline.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from haagent.dcs.kv import Denied
from haagent.ports import PortError, Refused, Unknown, Unreachable

T = TypeVar("T")

ROUNDS = 4
"""How often each endpoint is asked at most for one call."""

PACE = 4
"""The next endpoint is asked after this part of the call's timeout."""


@dataclass(slots=True)
class Try:
    """One request to one endpoint, named by ``place``; ``sent`` from the moment at which its bytes may have left."""

    number: int
    place: str = "?"
    sent: bool = False


@dataclass(frozen=True, slots=True)
class Won(Generic[T]):
    """The answer, the number of the try that brought it, and whether another try may have been carried out."""

    answer: T
    number: int
    repeated: bool


async def race(
    ask: Callable[[Try], Coroutine[Any, Any, T]], width: int, pace: float, timeout: float, what: str
) -> Won[T]:
    """Ask endpoint after endpoint, ``pace`` seconds apart, or at once when one failed that was not asked before.

    Refused by any is the answer; Denied by all is. When none answers: Unknown if a request may have been carried out,
    else Unreachable. ``what`` names the call in messages.
    """
    runner = _Race(ask, width, pace, timeout)
    try:
        return await runner.run(what)
    finally:
        runner.abandon()


class _Race(Generic[T]):
    def __init__(self, ask: Callable[[Try], Coroutine[Any, Any, T]], width: int, pace: float, timeout: float) -> None:
        self.ask = ask
        self.width = width
        self.pace = pace
        self.timeout = timeout
        self.tries: list[Try] = []
        self.pending: dict[asyncio.Task[T], Try] = {}
        self.doubts = False
        self.denied: set[int] = set()
        self.failures: dict[str, str] = {}

    async def run(self, what: str) -> Won[T]:
        loop = asyncio.get_running_loop()
        begun_at = next_at = loop.time()
        deadline = begun_at + self.timeout
        while (now := loop.time()) < deadline and self._may_go_on():
            if now >= next_at and self._may_ask():
                self._start()
                next_at = now + self.pace
            done = await self._wait(min(next_at, deadline) if self._may_ask() else deadline)
            for task in sorted(done, key=lambda task: self.pending[task].number):
                won = self._judge(task)
                if won is not None:
                    return won
                if len(self.tries) % self.width:
                    next_at = loop.time()
        raise self._defeat(what, loop.time() - begun_at)

    def _may_ask(self) -> bool:
        return len(self.tries) < ROUNDS * self.width

    def _may_go_on(self) -> bool:
        return len(self.denied) < self.width and (self._may_ask() or bool(self.pending))

    async def _wait(self, until: float) -> set[asyncio.Task[T]]:
        """Until then or until a try ends."""
        left = max(0.0, until - asyncio.get_running_loop().time())
        if not self.pending:
            await asyncio.sleep(left)
            return set()
        return (await asyncio.wait(self.pending, timeout=left, return_when=asyncio.FIRST_COMPLETED))[0]

    def _start(self) -> None:
        one = Try(len(self.tries))
        self.tries.append(one)
        self.pending[asyncio.create_task(self.ask(one))] = one

    def _judge(self, task: asyncio.Task[T]) -> Won[T] | None:
        one = self.pending.pop(task)
        error = task.exception()
        if error is None:
            return Won(task.result(), one.number, self._doubtful())
        if isinstance(error, Refused) or not isinstance(error, PortError):
            raise error
        self.doubts = self.doubts or isinstance(error, Unknown)
        if isinstance(error, Denied):
            self.denied.add(one.number % self.width)
        self.failures[one.place] = str(error)
        return None

    def _doubtful(self) -> bool:
        return self.doubts or any(one.sent for one in self.pending.values())

    def _defeat(self, what: str, took_s: float) -> PortError:
        silent = sorted({one.place for one in self.pending.values()})
        said = [f"no answer from {', '.join(silent)}"] if silent else []
        text = f"{what} got nowhere in {took_s:.2f} s: " + "; ".join([*said, *self.failures.values()])
        return Unknown(text) if self._doubtful() else Unreachable(text)

    def abandon(self) -> None:
        """Give up what is still under way; nobody waits for it any more."""
        for task in self.pending:
            task.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
            task.cancel()
