"""The ``Dcs`` over an etcd in memory that misbehaves in ways that real members cannot be made to."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from haagent.core.terms import LeaseId, Term
from haagent.dcs.etcd import EtcdDcs
from haagent.dcs.kv import RangeReply
from haagent.ports import PortError, Refused, Unknown, Unreachable
from tests.sim.world.etcd import Etcd, FakeKv, Link
from tests.unit.dcs.a_clock import AClock

PREFIX = "/service/demo/"
T = 0.4
"""Seconds for each call."""


class Stale(FakeKv):
    """Some of its members serve what they held some revisions ago."""

    def __init__(self, etcd: Etcd, *stale: bool) -> None:
        super().__init__(etcd, [Link(etcd, f"etcd{number}") for number in range(len(stale))])
        self.stale = stale
        self.behind = 0

    async def range(self, key: str, timeout: float, *, prefix: bool = False) -> RangeReply:
        reply = await super().range(key, timeout, prefix=prefix)
        if not self.stale[self._current % len(self.stale)]:
            return reply
        return replace(reply, revision=reply.revision - self.behind, kvs=())


class Node:
    """An etcd, a way there, and a node's view of it."""

    def __init__(self, *links: str) -> None:
        self.etcd = Etcd(time.monotonic)
        self.links = [Link(self.etcd, name) for name in links or ("etcd1",)]
        self.clock = AClock()
        self.kv = FakeKv(self.etcd, self.links)
        self.dcs = EtcdDcs(self.kv, PREFIX, self.clock)

    async def elect(self, name: str = "a") -> tuple[LeaseId, Term]:
        lease = await self.dcs.open_lease(10, T)
        return lease, await self.dcs.campaign(name, lease, T)


async def test_an_older_answer_is_ignored_and_another_member_asked() -> None:
    """Fault 36."""
    etcd = Etcd(time.monotonic)
    kv = Stale(etcd, True, False)
    dcs = EtcdDcs(kv, PREFIX, AClock())
    await dcs.put_config({"ttl": 10}, None, T)
    await dcs.snapshot(T)
    kv.behind = 1
    config = (await dcs.snapshot(T)).config
    assert config is not None
    assert config.document == {"ttl": 10}


async def test_older_answers_only_are_no_answer() -> None:
    etcd, clock = Etcd(time.monotonic), AClock()
    kv = Stale(etcd, True, True)
    dcs = EtcdDcs(kv, PREFIX, clock)
    await dcs.put_config({"ttl": 10}, None, T)
    kv.behind = 1
    begun_at = asyncio.get_running_loop().time()
    with pytest.raises(Unreachable, match="older than an earlier one: revision 1 after 2"):
        await dcs.snapshot(T)
    assert asyncio.get_running_loop().time() - begun_at < T + 0.1


async def test_a_store_that_was_set_back_is_believed_in_the_end() -> None:
    """Fault 42: what was seen of the old one is forgotten."""
    node = Node()
    await node.elect()
    await node.dcs.snapshot(T)
    beat = node.dcs.heartbeat()
    assert beat is not None
    node.kv.etcd = Etcd(time.monotonic)
    with pytest.raises(Unreachable, match="the answer is ignored"):
        await node.dcs.snapshot(T)
    node.clock.at += 31
    snapshot = await node.dcs.snapshot(T)
    assert (snapshot.revision, snapshot.leader) == (1, None)
    await node.elect("b")
    await node.dcs.snapshot(T)
    beat = node.dcs.heartbeat()
    assert beat is not None
    assert beat.name == "b"


async def test_a_keepalive_that_lies_keeps_nobody_leader() -> None:
    """Fault 37: the lease was revoked, and etcd goes on to say that it lives."""
    node = Node()
    lease, term = await node.elect()
    node.etcd.lying_keepalive = True
    node.etcd.revoke(lease)
    await node.dcs.keepalive(lease, T)
    with pytest.raises(Refused, match="nobody holds it"):
        await node.dcs.renew("a", term, lease, T)


async def test_a_definite_no_is_not_waited_for_the_other_half() -> None:
    node = Node()
    lease, term = await node.elect()
    await node.dcs.resign(term, T)
    never = asyncio.get_running_loop().create_future()

    async def silent(lease: int, timeout: float) -> float:
        await never
        return 1.0

    node.kv.keepalive = silent  # type: ignore[method-assign]
    begun_at = asyncio.get_running_loop().time()
    with pytest.raises(Refused, match="nobody holds it"):
        await node.dcs.renew("a", term, lease, 5.0)
    assert asyncio.get_running_loop().time() - begun_at < 4


@pytest.mark.parametrize(
    ("keepalive", "kind"),
    [(Unknown("lost"), Unknown), (Unreachable("cut"), Unreachable), (Refused("dead"), Refused)],
)
async def test_a_renewal_needs_the_keepalive_too(keepalive: PortError, kind: type[PortError]) -> None:
    node = Node()
    lease, term = await node.elect()

    async def failing(lease: int, timeout: float) -> float:
        raise keepalive

    node.kv.keepalive = failing  # type: ignore[method-assign]
    with pytest.raises(kind):
        await node.dcs.renew("a", term, lease, T)


LOST: dict[str, Callable[[EtcdDcs, Term, LeaseId], object]] = {
    "renew": lambda dcs, term, lease: dcs.renew("a", term, lease, T),
    "put_config": lambda dcs, term, lease: dcs.put_config({}, None, T),
    "put_status": lambda dcs, term, lease: dcs.put_history([], term, T),
    "begin_initialize": lambda dcs, term, lease: dcs.begin_initialize(T),
    "resign": lambda dcs, term, lease: dcs.resign(term, T),
}


@pytest.mark.parametrize("write", LOST)
@pytest.mark.parametrize("links", [("etcd1",), ("etcd1", "etcd2")])
async def test_a_lost_answer_does_not_hide_success(write: str, links: tuple[str, ...]) -> None:
    node = Node(*links)
    lease, term = await node.elect()
    node.links[0].lose_answers = 1
    await LOST[write](node.dcs, term, lease)  # type: ignore[misc]
    assert node.links[0].lose_answers == 0


async def test_two_nodes_that_begin_at_once_never_both_believe_it() -> None:
    """Neither is misled by an empty key that the other made while its own answer was lost."""
    etcd = Etcd(time.monotonic)
    links = [Link(etcd, "etcd1"), Link(etcd, "etcd1")]
    links[0].lose_answers = links[1].lose_answers = 1
    nodes = [EtcdDcs(FakeKv(etcd, [link]), PREFIX, AClock()) for link in links]
    outcomes = await asyncio.gather(*(node.begin_initialize(T) for node in nodes), return_exceptions=True)
    assert sorted(isinstance(outcome, int) for outcome in outcomes) == [False, True]


async def test_an_unreadable_configuration_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    node = Node()
    await node.dcs.put_config({}, None, T)
    key = PREFIX + "config"
    node.etcd.keys[key] = replace(node.etcd.keys[key], value=b"ttl: 10")
    for _ in range(3):
        assert (await node.dcs.snapshot(T)).config is None
    assert [record.getMessage() for record in caplog.records] == [
        f"{key} is no JSON object; write it anew: haagent-ctl edit-config"
    ]
