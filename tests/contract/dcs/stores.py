"""An etcd under test with its clients: the same for etcd in memory and for real members."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, Protocol

import aiohttp

from haagent.core.terms import Instant
from haagent.dcs.client import EtcdClient
from haagent.dcs.etcd import EtcdDcs
from haagent.dcs.kv import Kv
from haagent.dcs.settings import EtcdSettings
from tests.sim.world.etcd import Etcd, FakeKv, Link

SOON_S = 5.0
WAIT_S = 10.0
"""How long what a test does by other means than the code under test may take on a busy machine."""


class BootClock:
    """This machine's clock, as production has it."""

    def now(self) -> Instant:
        return Instant(time.clock_gettime(time.CLOCK_BOOTTIME))

    def wall(self) -> float:
        return time.time()


class Store(Protocol):
    """One cluster of keys and any number of clients."""

    prefix: str

    def kv(self) -> Kv:
        """A client of its own."""
        ...

    def dcs(self, kv: Kv | None = None) -> EtcdDcs:
        """A node's view of it, over a client of its own."""
        ...

    async def compact(self) -> None:
        """Let etcd forget all history."""
        ...

    async def aclose(self) -> None: ...


class Clients:
    """What was handed out, to be closed."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self._open: list[EtcdDcs | Kv] = []

    def kv(self) -> Kv:
        made = self._make()
        self._open.append(made)
        return made

    def dcs(self, kv: Kv | None = None) -> EtcdDcs:
        made = EtcdDcs(kv or self._make(), self.prefix, BootClock())
        self._open.append(made)
        return made

    async def aclose(self) -> None:
        for client in self._open:
            await client.close()

    def _make(self) -> Kv:
        raise NotImplementedError


class MemoryStore(Clients):
    """etcd in memory, three members behind three links for each client."""

    def __init__(self, etcd: Etcd, prefix: str) -> None:
        super().__init__(prefix)
        self.etcd = etcd

    def links(self) -> list[Link]:
        return [Link(self.etcd, f"etcd{number}") for number in (1, 2, 3)]

    async def compact(self) -> None:
        self.etcd.compact()

    def _make(self) -> Kv:
        return FakeKv(self.etcd, self.links())


class RealStore(Clients):
    """Real members, asked by the transport that ``settings`` name."""

    def __init__(self, urls: tuple[str, ...], prefix: str, **settings: Any) -> None:
        super().__init__(prefix)
        self.urls = urls
        self.settings = settings

    def client(self, *urls: str) -> EtcdClient:
        """A client of just these endpoints."""
        made = EtcdClient(self.asking(*urls))
        self._open.append(made)
        return made

    async def compact(self) -> None:
        reply = await self.kv().range(self.prefix, WAIT_S, prefix=True)
        await self.post("/v3/kv/compaction", {"revision": str(reply.revision)})

    async def post(self, path: str, body: dict[str, Any], token: str = "") -> dict[str, Any]:
        """Ask the first member by other means than the code under test."""
        timeout = aiohttp.ClientTimeout(total=WAIT_S)
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.post(self.urls[0] + path, json=body, headers={"Authorization": token} if token else {}) as response,
        ):
            answer: dict[str, Any] = await response.json(content_type=None)
            assert response.status == 200, answer
            return answer

    def _make(self) -> Kv:
        return EtcdClient(self.asking())

    def asking(self, *urls: str) -> EtcdSettings:
        """How these endpoints, or all, are asked; no others are looked for unless that was wanted."""
        return EtcdSettings(urls or self.urls, **{"discover": False, **self.settings})


class Ears:
    """What a watch woke the loop for, and how long one may wait for a word."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self._came = asyncio.Event()

    def wake(self, reason: str) -> None:
        self.heard.append(reason)
        self._came.set()

    async def hear(self, reason: str, within_s: float = SOON_S) -> None:
        """Wait until that reason was given; AssertionError when it was not."""
        await self.until(lambda: reason in self.heard, reason, within_s)

    async def until(self, condition: Callable[[], bool], what: str, within_s: float = SOON_S) -> None:
        try:
            async with asyncio.timeout(within_s):
                while not condition():
                    self._came.clear()
                    await asyncio.wait([asyncio.ensure_future(self._came.wait())], timeout=0.02)
        except TimeoutError:
            raise AssertionError(f"not within {within_s} s: {what}; heard {self.heard}") from None
