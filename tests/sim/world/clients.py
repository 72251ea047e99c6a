"""Clients: a proxy that routes by GET /primary as HAProxy does, those behind it, and rogues that go past it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from functools import partial
from itertools import count
from typing import TYPE_CHECKING

from haagent.core import answers
from tests.sim.world.events import Event, Fault, LeaderKeyChanged, Permit, Readonly, Routed, StateChanged, Writable
from tests.sim.world.network import LostError
from tests.sim.world.server import CommitFailedError
from tests.sim.world.time import Process

if TYPE_CHECKING:
    from tests.sim.world.hosts import Host
    from tests.sim.world.server import Server
    from tests.sim.world.world import World

CHECK_TIMEOUT_S = 1.0
STATEMENT_TIMEOUT_S = 5.0
PROXY = "proxy"
CLIENT = "client"


def answers_primary(host: Host) -> bool:
    """Whether GET /primary of this node's agent would get 200 now."""
    agent, process = host.agent, host.agent_process
    if agent is None or process is None or not process.runs or not host.up:
        return False
    return answers.primary(agent.current(), {})


class Proxy:
    """HAProxy with ``option httpchk GET /primary``: one check a node, in turn, and who is up by the last of them."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.up: dict[str, bool] = dict.fromkeys(world.hosts, False)
        self.process = Process(world.loop, PROXY)
        self.random = random.Random(f"{world.seed}/proxy")
        self._last: tuple[str, ...] | None = None
        for name in world.hosts:
            self.process.spawn(self._check_for_ever(name), name)
        world.listeners.append(self._look_soon)

    def _look_soon(self, event: Event) -> None:
        """Whatever happens to a node may change what it would answer."""
        if isinstance(event, Fault | StateChanged | Writable | Readonly):
            self.world.loop.later(0.001, self.sample)

    async def _check_for_ever(self, name: str) -> None:
        while True:
            await self.world.calm.pause(self.random.uniform(0.5, 1.0))
            was, self.up[name] = self.up[name], await self._check(name)
            if was or self.up[name]:
                self.sample()

    async def _check(self, name: str) -> bool:
        world = self.world

        async def serve() -> bool:
            return answers_primary(world.hosts[name])

        try:
            async with asyncio.timeout(CHECK_TIMEOUT_S):
                return await world.network.call(PROXY, name, lambda: world.agent_process_at(name), serve)
        except (LostError, TimeoutError):
            return False

    def sample(self) -> None:
        """Note who would answer 200 at this very instant, when that changed."""
        nodes = tuple(name for name, host in self.world.hosts.items() if answers_primary(host))
        if nodes != self._last:
            self._last = nodes
            paused = tuple(name for name in nodes if self.world.hosts[name].paused)
            self.world.log(Routed(self.world.now, "proxy", nodes, paused))

    def choose(self) -> str | None:
        up = [name for name, is_up in self.up.items() if is_up]
        return self.random.choice(up) if up else None


class Clients:
    """Writers: some through the proxy, some straight to a node of their own choice, whatever it is."""

    def __init__(self, world: World, proxy: Proxy) -> None:
        self.world = world
        self.proxy = proxy
        self.process = Process(world.loop, CLIENT)
        self.random = random.Random(f"{world.seed}/clients")
        self.heard = 0
        self._numbers = count(1)
        self.process.spawn(self._write_for_ever(proxy.choose, world.knobs.commit_every, direct=False))
        for name in world.hosts:
            self.process.spawn(self._write_for_ever(partial(str, name), world.knobs.rogue_every, direct=True))

    async def _write_for_ever(self, choose: Callable[[], str | None], every: float, *, direct: bool) -> None:
        while True:
            await self.world.calm.pause(self.random.expovariate(1 / every))
            target = choose()
            server = None if target is None else self.world.hosts[target].server
            if target is None or server is None or (direct and not server.writable and not server.promoting):
                continue  # what a standby answers is known
            await self._write(target, direct=direct)

    async def _write(self, target: str, *, direct: bool) -> None:
        world, number = self.world, next(self._numbers)

        async def serve() -> bool:
            server = world.server_at(target)
            if server is None or not server.answers:
                raise LostError("connection refused", sent=False)
            return await server.commit(number, direct=direct)

        try:
            async with asyncio.timeout(STATEMENT_TIMEOUT_S):
                await world.network.call(CLIENT, target, lambda: world.server_process_at(target), serve)
        except (LostError, CommitFailedError, TimeoutError):
            return
        self.heard += 1


class Vulture:
    """A client on every node that tries to commit at the worst moments: as a permit ends, and as the key changes hands.

    Its connections are there already, so no network stands between it and the server.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self._numbers = count(1_000_000)
        self._timers: dict[str, asyncio.TimerHandle] = {}
        world.listeners.append(self._hear)

    def _hear(self, event: Event) -> None:
        if isinstance(event, Permit):
            timer = self._timers.pop(event.where, None)
            if timer is not None:
                timer.cancel()
            self._timers[event.where] = self.world.loop.later(event.until - self.world.now, self._pick, event.where)
        elif isinstance(event, LeaderKeyChanged) and event.cause != "renewal":
            for name in self.world.hosts:
                self.world.loop.later(0.0005, self._pick, name)
        elif isinstance(event, Fault) and event.over:
            self.world.loop.later(0.0001, self._pick, event.where)

    def _pick(self, name: str) -> None:
        for delay in (0.0, 0.02, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0):
            self.world.loop.later(delay, self._try, name)

    def _try(self, name: str) -> None:
        host = self.world.hosts.get(name)
        server = None if host is None else host.server
        if server is not None and server.writable and server.process.alive:
            server.process.spawn(self._commit(server), "vulture")

    async def _commit(self, server: Server) -> None:
        try:
            await server.commit(next(self._numbers), direct=True)
        except CommitFailedError:
            return
