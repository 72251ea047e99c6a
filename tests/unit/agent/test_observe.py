"""How old a snapshot of the DCS may be: while PostgreSQL is waited for the keys are not read at each look."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import cast

import pytest

from haagent.agent import observe
from haagent.agent.observe import FRESH_S, IDLE_FRESH_S, PROBE_TIMEOUT_S, Observer
from haagent.core.facts import LeaseFacts, PostgresFacts, Settings, Snapshot
from haagent.core.states import State
from haagent.core.terms import Instant, LeaseId, Term
from haagent.ports import Clock, Dcs, Postgres, Unreachable
from tests.builders import a_snapshot, a_standby


class World:
    """A clock, a DCS that counts its readers, and a PostgreSQL."""

    def __init__(self) -> None:
        self.at, self.reads, self.probes, self.slow_s = Instant(0.0), 0, 0, 0.0
        self.observer = Observer(cast(Dcs, self), cast(Postgres, self), cast(Clock, self))

    def now(self) -> Instant:
        return self.at

    def heartbeat(self) -> None:
        return None

    async def snapshot(self, timeout: float) -> Snapshot:
        self.reads += 1
        await asyncio.sleep(0)
        self.at = Instant(self.at + self.slow_s)
        return a_snapshot()

    async def never(self, timeout: float) -> Snapshot:
        try:
            async with asyncio.timeout(timeout):
                await asyncio.Event().wait()
        except TimeoutError:
            raise Unreachable(f"no answer within {timeout:g} s") from None
        raise AssertionError

    async def probe(self, timeout: float) -> PostgresFacts:
        self.probes += 1
        return a_standby()

    def look(self, at: float, state: State) -> int:
        self.at = Instant(at)
        asyncio.run(self.observer.look(Settings(), LeaseFacts(), state))
        return self.reads


def test_while_postgresql_is_waited_for_the_keys_are_read_about_once_a_second() -> None:
    world = World()
    assert [world.look(at, State.STARTING) for at in (0.0, FRESH_S * 2, IDLE_FRESH_S * 0.9)] == [1, 1, 1]
    assert world.look(IDLE_FRESH_S * 1.1, State.FENCED) == 2
    world.observer.mark_stale()
    assert world.look(IDLE_FRESH_S * 1.2, State.FENCED) == 3


def test_a_look_at_postgresql_does_not_grow_old_while_etcd_is_waited_for() -> None:
    world = World()
    world.look(0.0, State.DEMOTING)
    assert world.probes == 1
    world.slow_s = PROBE_TIMEOUT_S * 1.1
    world.look(10.0, State.DEMOTING)
    assert world.probes == 3


async def test_once_the_lease_is_lost_etcd_is_waited_for_a_moment_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """PostgreSQL is to be stopped: an etcd that says nothing must not keep the loop from it for retry_timeout."""
    monkeypatch.setattr(observe, "LOST_PATIENCE_S", 0.05)
    world = World()
    monkeypatch.setattr(world, "snapshot", world.never)
    loop = asyncio.get_running_loop()
    loop.call_later(0.05, world.observer.hurry)
    async with asyncio.timeout(5):
        _, cluster = await world.observer.look(Settings(), LeaseFacts(), State.PROMOTING)
        assert cluster.silent_why == "the lease was lost, and it had 0.05 s more for its answer"
        lost = LeaseFacts(LeaseId(1), Term(1), lost="somebody else leads")
        _, cluster = await world.observer.look(Settings(), lost, State.PROMOTING)
        assert cluster.silent_why == "no answer within 0.05 s"
        _, cluster = await world.observer.look(replace(Settings(), retry_timeout=0.1), lost, State.FENCED)
        assert cluster.silent_why == "no answer within 0.1 s", "nothing is written there any more"
    world.observer.hurry()


def test_whoever_decides_by_them_reads_them_anew() -> None:
    world = World()
    assert [world.look(at, State.STANDBY) for at in (0.0, FRESH_S / 2, FRESH_S * 2)] == [1, 1, 2]
