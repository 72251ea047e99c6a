"""Which endpoints are taken in, kept and given up, as etcd names its members."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from typing import Any

import pytest

from haagent.dcs.endpoint import Endpoint
from haagent.dcs.race import Try
from haagent.dcs.ring import Ring
from haagent.dcs.settings import EtcdSettings
from haagent.dcs.wire import Json
from haagent.ports import Unreachable


class World:
    """What each URL leads to: the cluster's number, the member's, and what that cluster says of its members."""

    def __init__(self) -> None:
        self.members: dict[int, dict[int, list[str]]] = {}
        self.leads_to: dict[str, tuple[int, int]] = {}
        self.made: list[str] = []
        self.closed: list[str] = []

    def cluster(self, number: int, urls: dict[int, list[str]]) -> None:
        self.members[number] = urls

    def endpoint(self, url: str) -> Endpoint:
        self.made.append(url)
        return _Endpoint(url, self)

    async def ring(self, *seeds: str, turns: int = 1, before: Callable[[], None] = lambda: None) -> list[str]:
        """The endpoints after so many looks; ``before`` the last of them something happens."""
        made = Ring(self.endpoint, seeds, None, True)
        for turn in range(turns):
            if turn == turns - 1:
                before()
            await made._refresh()
        return [endpoint.url for endpoint in await made.endpoints(0.1)]


class _Endpoint(Endpoint):
    def __init__(self, url: str, world: World) -> None:
        super().__init__(url, EtcdSettings((url,)))
        self._world = world

    async def _send(self, path: str, body: Json, token: str, timeout: float, one: Try) -> Json:
        if self.url not in self._world.leads_to:
            raise ConnectionError("refused")
        cluster, member = self._world.leads_to[self.url]
        told = [{"ID": str(one), "clientURLs": urls} for one, urls in self._world.members[cluster].items()]
        return {"header": {"cluster_id": str(cluster), "member_id": str(member)}, "members": told}

    def _listen(self, path: str, body: Json, token: str) -> AsyncGenerator[list[Json], None]:
        raise NotImplementedError

    def _troubled(self) -> None:
        return

    def close(self) -> None:
        self._world.closed.append(self.url)


A, B, C, D = (f"http://10.0.0.{number}:2379" for number in (1, 2, 3, 4))


@pytest.fixture
def world() -> World:
    made = World()
    made.cluster(7, {1: [A], 2: [B], 3: [f"{C}/"]})
    made.leads_to = {A: (7, 1), B: (7, 2), C: (7, 3)}
    return made


async def test_members_that_no_endpoint_leads_to_are_taken_in(world: World) -> None:
    assert await world.ring(A) == [A, B, C]


async def test_a_member_that_is_reached_by_another_name_is_not_asked_twice(world: World) -> None:
    world.leads_to["http://etcd2:2379"] = (7, 2)
    assert await world.ring(A, "http://etcd2:2379") == [A, "http://etcd2:2379", C]


async def test_one_that_left_is_dropped_and_one_of_the_settings_is_asked_last(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    def replaced() -> None:
        world.cluster(7, {3: [C], 4: [D]})
        world.leads_to = {C: (7, 3), D: (7, 4)}

    assert await world.ring(A, turns=2, before=replaced) == [C, D, A]
    assert world.closed == [B]
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING] == [
        (
            f"etcd's members have other addresses than the settings name: nobody answers at {A}, which no member "
            "has any more. Change etcd3.hosts: an agent that is started needs at least one that answers"
        )
    ]


@pytest.mark.parametrize(
    "change",
    [
        {B: (8, 2)},  # somebody else's etcd
        {B: (7, 3)},  # another member than the one that was named
        {},  # nobody
    ],
)
async def test_one_that_answers_as_somebody_else_is_not_taken_in(world: World, change: dict[str, Any]) -> None:
    world.cluster(8, {2: [B]})
    world.cluster(7, {1: [A], 2: [B]})
    world.leads_to = {A: (7, 1), **change}
    assert await world.ring(A) == [A]
    assert world.closed == [B]


@pytest.mark.parametrize("url", ["http://localhost:2379", "http://127.0.0.1:2379", "https://10.0.0.2:2379"])
async def test_what_means_this_machine_or_another_protocol_is_not_even_asked(world: World, url: str) -> None:
    world.cluster(7, {1: [A], 2: [url]})
    world.leads_to[url] = (7, 2)
    assert await world.ring(A) == [A]
    assert world.made == [A]


async def test_what_leads_to_another_cluster_is_told_and_not_used_until_it_is_mended(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.cluster(8, {4: [D]})
    world.leads_to[D] = (8, 4)
    assert await world.ring(D, A, B) == [A, B, C]
    assert any(f"{D} belongs to another etcd cluster (8)" in record.getMessage() for record in caplog.records)

    def mended() -> None:
        world.cluster(7, {1: [A], 2: [B], 3: [C], 4: [D]})
        world.leads_to[D] = (7, 4)

    assert await world.ring(D, A, B, turns=2, before=mended) == [A, B, C, D]


async def test_when_nobody_answers_everything_stays(world: World) -> None:
    assert await world.ring(A, turns=2, before=world.leads_to.clear) == [A, B, C]


async def test_the_one_in_use_stays_in_use(world: World) -> None:
    made = Ring(world.endpoint, [A, B, C], None, True)
    made.use((await made.endpoints(1))[2])
    assert [endpoint.url for endpoint in await made.endpoints(1)] == [C, A, B]
    made.distrust()
    assert [endpoint.url for endpoint in await made.endpoints(1)] == [A, B, C]
    await made.close()


async def test_what_is_found_later_is_waited_for_no_longer_than_allowed(world: World) -> None:
    never = asyncio.get_running_loop().create_future()

    async def hanging() -> tuple[str, ...]:
        await never
        return (A,)

    made = Ring(world.endpoint, [], hanging, False)
    begun_at = asyncio.get_running_loop().time()
    with pytest.raises(Unreachable, match="no name server has answered yet"):
        await made.endpoints(0.2)
    assert asyncio.get_running_loop().time() - begun_at < 3
    await made.close()
