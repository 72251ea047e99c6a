"""The watch goes on without loss when its member is killed, frozen or cut off (fault 38)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import pytest

from haagent.dcs.client import EtcdClient
from haagent.dcs.etcd import EtcdDcs
from haagent.dcs.kv import Batch, KeyEvent
from haagent.dcs.settings import EtcdSettings
from tests.contract.dcs.conftest import Trial
from tests.contract.dcs.stores import SOON_S, BootClock, Ears, RealStore
from tests.contract.dcs.test_faults import STRIKES, first, follower

S = SOON_S


class Overheard(EtcdClient):
    """Keeps what its watches said."""

    def __init__(self, settings: EtcdSettings) -> None:
        super().__init__(settings)
        self.events: list[KeyEvent] = []
        self.watches = 0

    async def watch(
        self, prefix: str, start: int, silence: Callable[[], float], on_batch: Callable[[Batch], None]
    ) -> None:
        self.watches += 1

        def heard(batch: Batch) -> None:
            self.events += batch.events
            on_batch(batch)

        await super().watch(prefix, start, silence, heard)


@contextlib.asynccontextmanager
async def watching(kv: EtcdClient, prefix: str) -> AsyncIterator[tuple[EtcdDcs, Ears]]:
    dcs, ears = EtcdDcs(kv, prefix, BootClock()), Ears()
    await dcs.snapshot(S)
    task = asyncio.create_task(dcs.watch(ears.wake))
    try:
        yield dcs, ears
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await dcs.close()


async def truth(kv: EtcdClient, prefix: str, start: int, end: int) -> list[int]:
    """The revisions of all changes up to one, told afterwards by a member that was never struck."""
    told: list[int] = []
    done = asyncio.get_running_loop().create_future()

    def heard(batch: Batch) -> None:
        told.extend(event.kv.mod_revision for event in batch.events)
        if told and told[-1] >= end and not done.done():
            done.set_result(None)

    watch = asyncio.create_task(kv.watch(prefix, start, lambda: S, heard))
    await asyncio.wait([watch, done], return_when=asyncio.FIRST_COMPLETED)
    watch.cancel()
    return [revision for revision in told if revision <= end]


@pytest.mark.parametrize("strike", STRIKES)
async def test_no_event_is_lost_and_none_comes_twice(trial: Trial, real: RealStore, strike: str) -> None:
    watched = follower(trial)
    endpoints = first(trial, watched)
    kv = Overheard(real.asking(*endpoints))
    leader = real.dcs(real.client(*endpoints[1:]))
    async with watching(kv, real.prefix) as (dcs, ears):
        lease = await leader.open_lease(3, S)
        term = await leader.campaign("a", lease, S)
        await ears.hear("the leader key names a")
        for number in range(12):
            last = await leader.renew("a", term, lease, S)
            if number == 3:
                STRIKES[strike](trial, watched)
            await asyncio.sleep(0.15)

        def caught_up() -> bool:
            beat = dcs.heartbeat()
            return beat is not None and beat.revision >= last

        await ears.until(caught_up, "the last renewal", 15)
        heard = [event.kv.mod_revision for event in kv.events]
        assert heard == await truth(real.client(*endpoints[1:]), real.prefix, term, heard[-1])
        assert kv.watches >= 2


async def test_the_death_of_a_leader_is_heard_at_once(real: RealStore) -> None:
    a, b = real.dcs(), Overheard(real.asking())
    async with watching(b, real.prefix) as (_, ears):
        lease = await a.open_lease(10, S)
        term = await a.campaign("a", lease, S)
        await ears.hear("the leader key names a")
        begun_at = asyncio.get_running_loop().time()
        await a.resign(term, S)
        await ears.hear("the leader key is gone")
        assert asyncio.get_running_loop().time() - begun_at < 2


async def test_an_answer_of_a_restarted_client_begins_where_it_is(real: RealStore) -> None:
    """A watch without any snapshot before it reads first, and tells of nothing that was there already."""
    a = real.dcs()
    await a.put_config({"ttl": 10}, None, S)
    lease = await a.open_lease(10, S)
    await a.campaign("a", lease, S)
    b, ears = real.dcs(), Ears()
    task = asyncio.create_task(b.watch(ears.wake))
    await ears.until(lambda: b.heartbeat() is not None, "the heartbeat")
    await a.put_failover("a", None, None, None, S)
    await ears.hear("the failover key changed")
    assert ears.heard == ["the failover key changed"]
    task.cancel()
