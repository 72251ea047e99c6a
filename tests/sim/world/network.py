"""The network between nodes, etcd, clients and operators: latency, loss, one-way and two-way cuts."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from tests.sim.world.time import Process, VirtualLoop

T = TypeVar("T")


class LostError(Exception):
    """No answer came: nobody listens there, or the network swallowed the call or its answer."""

    def __init__(self, why: str, *, sent: bool) -> None:
        super().__init__(why)
        self.sent = sent


@dataclass(slots=True)
class Weather:
    """How messages fare on a link that is not cut; seconds."""

    least: float = 0.0002
    typical: float = 0.001
    loss: float = 0.0
    retransmit: float = 0.2
    """TCP sends a lost segment again after this long, then after twice as long."""


class Network:
    """Who reaches whom, and when. A cut holds messages of one direction back for ever (UDP) or till it heals (TCP)."""

    def __init__(self, loop: VirtualLoop, seed: object) -> None:
        self.loop = loop
        self.weather = Weather()
        self.slow: dict[tuple[str, str], Weather] = {}
        self._cuts: Counter[tuple[str, str]] = Counter()
        self._unplugged: set[str] = set()
        self._random = random.Random(f"{seed}/network")
        self._listeners: list[Callable[[], None]] = []

    def open(self, source: str, target: str) -> bool:
        if source in self._unplugged or target in self._unplugged:
            return False
        return source == target or (source, target) not in self._cuts

    def unplug(self, host: str) -> None:
        """A machine without power answers nobody, not even to refuse."""
        self._unplugged.add(host)
        self._tell()

    def plug(self, host: str) -> None:
        self._unplugged.discard(host)
        self._tell()

    def cut(self, source: str, target: str) -> None:
        """Nothing passes from source to target; cuts nest."""
        self._cuts[(source, target)] += 1
        self._tell()

    def heal(self, source: str, target: str) -> None:
        assert (source, target) in self._cuts, f"{source} → {target} was not cut"
        self._cuts[(source, target)] -= 1
        if not self._cuts[(source, target)]:
            del self._cuts[(source, target)]
        self._tell()

    def on_change(self, listener: Callable[[], None]) -> None:
        """Call back at each cut and each healing."""
        self._listeners.append(listener)

    def _tell(self) -> None:
        for listener in list(self._listeners):
            listener()

    def delay(self, source: str, target: str) -> float:
        """How long one message takes on an open link."""
        if source == target:
            return 0.00005
        weather = self.slow.get((source, target), self.weather)
        delay = weather.least + self._random.expovariate(1 / weather.typical)
        again = weather.retransmit
        while self._random.random() < weather.loss and again < 10:
            delay += again
            again *= 2
        return delay

    async def call(
        self,
        source: str,
        target: str,
        process: Callable[[], Process | None],
        serve: Callable[[], Coroutine[Any, Any, T]],
    ) -> T:
        """Have ``serve`` run by a process elsewhere, and wait for what it returns or raises; LostError: nobody listens.

        A cut on the way there or back lets the caller wait for ever: callers have deadlines.
        """
        answer: asyncio.Future[T] = self.loop.create_future()

        def deliver() -> None:
            owner = process()
            if not self.open(source, target):
                return
            if owner is None or not owner.alive:
                back(None, LostError(f"{target} refused the connection", sent=False))
                return
            owner.spawn(run(), "serve")

        async def run() -> None:
            try:
                result = await serve()
            except Exception as error:  # it belongs to the caller, as an answer
                back(None, error)
            else:
                back(result, None)

        def back(result: T | None, error: Exception | None) -> None:
            if self.open(target, source):
                self.loop.later(self.delay(target, source), settle, result, error)

        def settle(result: T, error: Exception | None) -> None:
            if answer.done():
                return
            if error is None:
                answer.set_result(result)
            else:
                answer.set_exception(error)

        if self.open(source, target):
            self.loop.later(self.delay(source, target), deliver)
        return await answer
