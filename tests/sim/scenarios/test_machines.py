"""Faults of machines and networks: power, freezes, cuts."""

from __future__ import annotations

from tests.sim.scenarios.scene import Scene, play
from tests.sim.world.events import LeaderKeyChanged
from tests.sim.world.knobs import Knobs


def test_a_leader_without_power_is_followed_and_comes_back_as_a_standby() -> None:
    """Fault 14."""

    async def script(s: Scene) -> None:
        leader, began = s.leader, s.now
        s.do("power off", leader, 40)
        took = await s.until(lambda: bool(s.promotions_since(began)), 14)
        assert took <= s.world.knobs.ttl + 2
        await s.wait(45)
        await s.until_whole()
        assert s.leader != leader
        assert len(s.promotions_since(began)) == 1
        assert "primary" not in s.states_since(began, leader)

    play(script)


def test_the_host_of_the_etcd_leader_goes_down_with_the_primary() -> None:
    """The key passes on by its standstill, not by a lease that a new etcd leader has started afresh."""

    async def script(s: Scene) -> None:
        leader, began = s.leader, s.now
        s.do("power off", leader, 60)
        await s.wait(0.5)
        s.do("etcd leader changes", "etcd")
        took = await s.until(lambda: bool(s.promotions_since(began)), 15)
        assert took <= s.world.knobs.ttl * 1.01 + 2
        assert [e.cause for e in s.since(began, LeaderKeyChanged) if e.name is None] == ["depose"]

    play(script, Knobs(speed=Knobs().speed))


def test_all_nodes_lose_power_and_the_cluster_is_the_same_afterwards() -> None:
    """Fault 16."""

    async def script(s: Scene) -> None:
        system = s.host("a").data.system_id
        acked = s.clients.heard
        for number, name in enumerate(s.world.hosts):
            s.do("power off", name, 30 + 7 * number)
        await s.wait(60)
        await s.until_whole(120)
        assert {host.data.system_id for host in s.world.hosts.values()} == {system}
        assert [host.aside for host in s.world.hosts.values()] == [[], [], []]
        await s.wait(10)
        assert s.clients.heard > acked

    play(script)


def test_an_isolated_leader_stops_before_another_writes() -> None:
    """Fault 22."""

    async def script(s: Scene) -> None:
        leader, began = s.leader, s.now
        s.do("isolate", leader, 60)
        await s.until(lambda: bool(s.promotions_since(began)), 14)
        assert not s.host(leader).server or not s.host(leader).server.writable  # type: ignore[union-attr]
        await s.wait(70)
        await s.until_whole()
        assert len(s.promotions_since(began)) == 1

    play(script)


def test_a_leader_cut_from_its_standbys_only_stays_leader() -> None:
    """Faults 24 and 26."""

    async def script(s: Scene) -> None:
        leader, began = s.leader, s.now
        for name in s.standbys:
            s.do("cut", leader, 60, name)
        await s.wait(90)
        assert s.leader == leader
        assert s.leaders_since(began) == []
        await s.until_whole()

    play(script)


def test_renewals_whose_answers_are_lost_count_as_not_done() -> None:
    """Fault 25: the leader stops by its own arithmetic, although etcd has the renewals."""

    async def script(s: Scene) -> None:
        leader, began = s.leader, s.now
        s.do("cut from etcd", leader, 30, "answers")
        await s.until(lambda: "demoting" in s.states_since(began, leader), s.world.knobs.ttl)
        await s.wait(40)
        await s.until_whole()

    play(script)


def test_a_link_that_flaps_makes_no_storm_of_leaders() -> None:
    """Fault 28."""

    async def script(s: Scene) -> None:
        began = s.now
        for _ in range(20):
            s.do("isolate", "a", 5)
            await s.wait(10)
        await s.until_whole()
        assert len(s.leaders_since(began)) <= 3
        assert [host.aside for host in s.world.hosts.values()] == [[], [], []]

    play(script)


def test_a_slow_road_to_etcd_demotes_nobody() -> None:
    """Fault 27."""

    async def script(s: Scene) -> None:
        leader, began = s.leader, s.now
        s.do("slow to etcd", leader, 60)
        await s.wait(80)
        assert s.leaders_since(began) == []
        assert s.leader == leader

    play(script)


def test_a_frozen_host_thaws_as_a_standby() -> None:
    """Fault 4; the commits of its first moments are the commit fence's affair."""

    async def script(s: Scene) -> None:
        leader, began = s.leader, s.now
        s.do("freeze host", leader, 30)
        await s.wait(31)
        thawed = s.now
        await s.wait(30)
        assert s.acked_since(thawed) == [s.leader] != [leader]
        assert s.leaders_since(began) == [s.leader]
        await s.until_whole()

    play(script)
    play(script, Knobs(fence=True))
