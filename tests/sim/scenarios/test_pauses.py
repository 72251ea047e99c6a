"""Primaries that other hands made in a pause, and what becomes of them: in the pause, and when it ends."""

from __future__ import annotations

from tests.sim.scenarios.scene import Scene, becomes, play
from tests.sim.world.knobs import Knobs


def test_a_second_primary_of_a_pause_never_leads_and_is_stopped_when_the_pause_ends() -> None:
    """Fault 58: in a synchronous mode it is known that it may lack what was acknowledged."""

    async def script(s: Scene) -> None:
        leader, pid, stray, began = s.leader, s.pid(s.leader), s.standbys[1], s.now
        s.do("pause", s.standbys[0], 60)
        await s.wait(5)
        s.do("promote by hand", stray)
        await s.until(lambda: s.writes(stray), 5)
        await s.wait(3)
        for _ in range(2):
            s.do("terminate agent", stray)
            await s.wait(10)
        assert s.writes(stray), "in a pause it is the operator's"
        await s.wait(40)
        await s.until_whole()
        assert (s.leader, s.pid(leader), s.leaders_since(began)) == (leader, pid, [])

    play(script, Knobs(synchronous_mode="on"))


def test_an_old_primary_started_by_hand_in_a_pause_is_no_match_for_a_later_history() -> None:
    """Fault 58: those who led after it are away or standbys."""

    async def script(s: Scene) -> None:
        old, (new, third) = s.leader, s.standbys
        s.do("pause", third, 120)
        await s.wait(5)
        s.do("power off", old, 40)
        await s.wait(15)
        s.do("promote by hand", new)
        await s.until(lambda: s.leader == new, 20)
        await s.wait(15)
        s.do("power off", new, 150)
        await s.wait(15)
        s.do("start by hand", old)
        await s.wait(40)
        assert s.leader == ""
        s.do("terminate agent", old)
        await s.wait(5)
        assert s.writes(old)
        began = s.now
        await s.until(lambda: s.leader == third, 60)
        await s.wait(90)
        await s.until_whole()
        assert s.promotions_since(began) == [third]

    play(script)


def test_a_primary_started_by_hand_before_its_agent_is_stopped_when_etcd_falls_silent() -> None:
    """The whole cluster was shut down in good order; the operator starts PostgreSQL first, then the agent."""

    async def script(s: Scene) -> None:
        first = s.leader
        for host in s.world.hosts.values():
            host.agent_wanted = False
        for name in (*s.standbys, first):
            s.do("terminate agent", name)
            await s.wait(5)
        assert all(host.server is None for host in s.world.hosts.values())
        await s.wait(15)
        s.do("start by hand", first)
        await s.wait(3)
        s.when(becomes(first, "candidate"), "cut from etcd", first, 20)
        s.host(first).agent_wanted = True
        s.host(first).start_agent()
        await s.until(lambda: s.host(first).server is None, 15)
        for host in s.world.hosts.values():
            host.agent_wanted = True
            host.start_agent()
        await s.until_whole(60)

    play(script)


def test_the_only_primary_started_by_hand_in_a_pause_waits_for_its_turn_and_is_not_taken_for_a_stranger() -> None:
    """Fault 58: nobody knows that it led last, since other hands deleted the leader key; then the pause ends."""

    async def script(s: Scene) -> None:
        first, others = s.leader, s.standbys
        s.do("pause", first, 34)
        await s.wait(3)
        for name in others:
            s.do("power off", name, 200)
        s.do("power off", first, 25)
        await s.wait(5)
        s.do("leader key deleted", "etcd")
        await s.wait(20.5)
        s.do("start by hand", first)
        await s.until(lambda: s.leader == first, 60)
        await s.until_whole(300)

    play(script)
