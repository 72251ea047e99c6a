"""Faults of the DCS."""

from __future__ import annotations

from tests.sim.scenarios.scene import Scene, play
from tests.sim.world.events import Note
from tests.sim.world.knobs import Knobs
from tests.sim.world.server import Speed


def test_a_change_of_the_etcd_leader_demotes_nobody() -> None:
    """Fault 33."""

    async def script(s: Scene) -> None:
        leader, began = s.leader, s.now
        for _ in range(3):
            s.do("etcd leader changes", "etcd")
            await s.wait(10)
        assert (s.leader, s.leaders_since(began), s.states_since(began, leader)) == (leader, [], [])

    play(script)


def test_an_etcd_without_quorum_stops_the_primary_and_starts_no_storm_afterwards() -> None:
    """Fault 34."""

    async def script(s: Scene) -> None:
        began = s.now
        for member in ("etcd1", "etcd2"):
            s.do("etcd member stops", member, 40)
        await s.wait(12)
        assert not s.judged().primaries or s.host(s.leader).server is None or not s.acked_since(s.now - 1)
        await s.wait(30)
        await s.until_whole()
        assert len(s.promotions_since(began)) <= 1

    play(script)


def test_a_frozen_etcd_member_demotes_nobody() -> None:
    """Fault 35."""

    async def script(s: Scene) -> None:
        leader, began = s.leader, s.now
        for member in ("etcd1", "etcd2", "etcd3"):
            s.do("etcd member freezes", member, 15)
            await s.wait(20)
        assert (s.leader, s.leaders_since(began), s.states_since(began, leader)) == (leader, [], [])

    play(script)


def test_a_keepalive_that_lies_keeps_nobody_in_office() -> None:
    """Fault 37: the agent wakes to keepalives that are answered OK, and its key is another's."""

    async def script(s: Scene) -> None:
        leader = s.leader
        s.do("etcd lies", "etcd", 60)
        s.do("freeze host", leader, 20)
        await s.wait(25)
        thawed = s.now
        await s.wait(20)
        assert s.leader != leader
        assert s.acked_since(thawed) == [s.leader]

    play(script)


def test_compacted_history_costs_no_watcher_its_sight() -> None:
    """Fault 38."""

    async def script(s: Scene) -> None:
        began = s.now
        for _ in range(3):
            s.do("etcd compacts", "etcd")
            await s.wait(5)
        s.do("power off", s.leader, 60)
        await s.until(lambda: bool(s.promotions_since(began)), 14)

    play(script)


def test_a_full_etcd_counts_as_the_loss_of_the_lease() -> None:
    """Fault 41."""

    async def script(s: Scene) -> None:
        s.do("etcd full", "etcd", 30)
        await s.wait(12)
        assert s.acked_since(s.now - 1) == []
        await s.wait(25)
        await s.until_whole()

    play(script)


def test_a_leader_of_the_past_gives_its_resurrected_key_up_while_the_present_one_still_writes() -> None:
    """Fault 42: etcd is set back to a backup during a promotion, and the leader of then starts at that moment."""

    async def script(s: Scene) -> None:
        past, before = s.leader, s.now
        s.do("etcd backed up", "etcd")
        s.do("power off", past, 11)
        await s.until(lambda: bool(s.leaders_since(before)), 14)
        present = s.leader
        await s.wait(1.5)
        s.do("etcd restored", "etcd")
        restored = s.now
        await s.wait(8)
        assert any(e.text == "agent starts" for e in s.since(restored, Note) if e.where == past)
        assert "promoting" not in s.states_since(restored, past)
        await s.until_whole(120)
        assert s.leader == present

    play(script, Knobs(fence=False, speed=Speed(promote=2.0)))
