"""A leader as production keeps it: the real keeper over a ``Dcs`` under test, and how old its proof became."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from haagent.agent.keeper import Keeper, KeeperPorts
from haagent.core.facts import GuardFacts, Timing
from haagent.core.terms import Term, later
from haagent.dcs.etcd import EtcdDcs
from haagent.ports import NoFence, NoWatchdog, Unknown, Unreachable
from tests.contract.dcs.stores import BootClock

STAND_UP_S = 20.0


class _NoGuard:
    def facts(self) -> GuardFacts:
        return GuardFacts()


class Ports(KeeperPorts):
    """No more than the keeper uses."""

    def __init__(self, dcs: EtcdDcs) -> None:
        self._dcs = dcs

    dcs = property(lambda self: self._dcs)
    clock = property(lambda self: BootClock())
    fence = property(lambda self: NoFence())
    watchdog = property(lambda self: NoWatchdog())
    guard = property(lambda self: _NoGuard())


class Leader:
    """Holds the leader key until the test ends."""

    def __init__(self, dcs: EtcdDcs, timing: Timing) -> None:
        self.timing = timing
        self.keeper = Keeper("a", Ports(dcs), lambda reason: None, lambda: None)
        self.longest_s = 0.0
        """The longest age of a proven renewal so far."""

    async def stand_up(self) -> Term:
        """Campaign, again and again as a loop would when the road is bad."""
        async with asyncio.timeout(STAND_UP_S):
            while True:
                self._hold()
                with contextlib.suppress(Unknown, Unreachable):
                    return await self.keeper.campaign()

    def _hold(self) -> None:
        self.keeper.hold(later(BootClock().now(), self.timing.hold), self.timing)

    async def watch_over(self) -> None:
        """Let it hold on, as a loop that ticks does, and note how old its proof becomes."""
        while True:
            self._hold()
            renewed_at = self.keeper.facts().renewed_at
            if renewed_at is not None:
                self.longest_s = max(self.longest_s, BootClock().now() - renewed_at)
            await asyncio.sleep(0.02)

    @property
    def lost(self) -> str | None:
        return self.keeper.facts().lost


@contextlib.asynccontextmanager
async def leading(dcs: EtcdDcs, timing: Timing) -> AsyncIterator[Leader]:
    """A leader that renews meanwhile."""
    leader = Leader(dcs, timing)
    await leader.stand_up()
    tasks = [asyncio.create_task(leader.keeper.run()), asyncio.create_task(leader.watch_over())]
    try:
        yield leader
        for task in tasks:
            assert not task.done(), task.exception()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
