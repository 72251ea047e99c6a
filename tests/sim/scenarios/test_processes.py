"""Faults of processes: agents, guards and postmasters killed and frozen."""

from __future__ import annotations

from tests.sim.scenarios.scene import Scene, play
from tests.sim.world.events import Fenced, LeaderKeyChanged, Readonly


def test_an_agent_killed_and_restarted_within_the_ttl_changes_nothing() -> None:
    """Fault 1."""

    async def script(s: Scene) -> None:
        leader, pid, began = s.leader, s.pid(s.leader), s.now
        s.do("kill agent", leader, 3)
        await s.wait(40)
        assert (s.leader, s.pid(leader)) == (leader, pid)
        assert s.leaders_since(began) == []
        assert s.whole()

    play(script)


def test_an_agent_killed_after_a_change_of_the_ttl_changes_nothing_either() -> None:
    """Fault 1: the leader key hangs on another lease than the one that it was won with."""

    async def script(s: Scene) -> None:
        leader, pid, began = s.leader, s.pid(s.leader), s.now
        s.world.operators.patch(leader, {"ttl": 20.0})
        await s.until(lambda: any(event.ttl == 20 for event in s.since(began, LeaderKeyChanged)), 10)
        s.do("kill agent", leader, 3)
        await s.wait(60)
        assert (s.leader, s.pid(leader)) == (leader, pid)
        assert s.leaders_since(began) == []
        assert s.whole()

    play(script)


def test_a_guard_of_the_past_leaves_the_standby_alone() -> None:
    """The next agent finds nothing of the term that was led, and starts a standby before the old permit ends."""

    async def script(s: Scene) -> None:
        leader, began = s.leader, s.now
        s.do("kill agent", leader, 1)
        await s.wait(0.1)
        s.host(leader).stored.clear()
        await s.wait(60)
        assert s.since(began, Fenced) == []
        await s.until_whole()

    play(script)


def test_a_guard_of_the_past_leaves_a_standby_alone_that_other_hands_started() -> None:
    async def script(s: Scene) -> None:
        leader, began = s.leader, s.now
        s.do("etcd down", "etcd", 40)
        s.do("kill agent", leader, 1.5)
        s.do("restart as standby", leader)
        await s.wait(60)
        assert s.since(began, Fenced) == []
        await s.until_whole()

    play(script)


def test_a_term_that_was_being_given_up_is_not_resumed() -> None:
    """Fault 1: the agent is killed with its resignation on the way, which may arrive when the next one leads by it."""

    async def script(s: Scene) -> None:
        leader, began = s.leader, s.now
        s.host(leader).stored["gave_up"] = s.host(leader).stored["term"]
        s.do("kill agent", leader, 2)
        await s.until(lambda: bool(s.leaders_since(began)), 30)
        await s.wait(30)
        await s.until_whole()

    play(script)


def test_an_agent_killed_for_good_is_fenced_and_followed_by_one_new_leader() -> None:
    """Fault 2."""

    async def script(s: Scene) -> None:
        leader, began = s.leader, s.now
        s.do("kill agent", leader, 60)
        took = await s.until(lambda: len(s.promotions_since(began)) == 1, 12)
        assert took <= s.world.knobs.ttl + 2
        assert [event.where for event in s.since(began, Fenced)] == [leader]
        await s.wait(60)
        assert s.promotions_since(began) == [s.leader] != [leader]
        await s.until_whole()

    play(script)


def test_an_agent_frozen_past_the_ttl_wakes_up_harmless() -> None:
    """Fault 3."""

    async def script(s: Scene) -> None:
        leader, began = s.leader, s.now
        s.do("freeze agent", leader, 30)
        await s.wait(30)
        thawed = s.now
        await s.wait(20)
        assert s.leader != leader
        assert s.acked_since(thawed) == [s.leader]
        assert s.leaders_since(began) == [s.leader]
        await s.until_whole()

    play(script)


def test_an_agent_frozen_for_a_moment_changes_nothing() -> None:
    """Fault 5."""

    async def script(s: Scene) -> None:
        leader, pid, began = s.leader, s.pid(s.leader), s.now
        s.do("freeze agent", leader, 4)
        await s.wait(30)
        assert (s.leader, s.pid(leader), s.leaders_since(began)) == (leader, pid, [])
        assert s.states_since(began, leader) == []

    play(script)


def test_a_killed_postmaster_is_started_again_in_place_without_a_failover() -> None:
    """Faults 6 and 7."""

    async def script(s: Scene) -> None:
        leader, began = s.leader, s.now
        s.do("kill postmaster", leader)
        await s.wait(0.2)
        assert s.pid(leader) is None or s.host(leader).server is not None
        await s.until(lambda: bool(s.acked_since(s.now - 0.5)) and s.leader == leader, 6)
        assert s.leaders_since(began) == []
        await s.until_whole()
        assert s.promotions_since(began) == []

    play(script)


def test_a_killed_guard_is_replaced_with_its_permit_and_nothing_else_happens() -> None:
    async def script(s: Scene) -> None:
        leader, pid, began = s.leader, s.pid(s.leader), s.now
        s.do("kill guard", leader)
        await s.wait(2)
        guard = s.host(leader).guard
        assert guard is not None
        assert guard.process.alive
        assert guard.watch.until is not None
        assert (s.leader, s.pid(leader), s.states_since(began, leader)) == (leader, pid, [])

    play(script)


def test_a_standby_whose_guard_has_fired_while_no_agent_ran_is_not_killed_again() -> None:
    """An agent that just started has not heard of the guard's verdict, and must clear it before it starts anything."""

    async def script(s: Scene) -> None:
        leader = s.leader
        s.do("kill agent", leader, 20)
        await s.wait(21)
        await s.until_whole(30)
        pid = s.pid(leader)
        await s.wait(10)
        assert s.pid(leader) == pid

    play(script)


def test_a_postmaster_that_hangs_while_it_promotes_keeps_its_guard() -> None:
    """Fault 9: its last answer said that it was in recovery, and it was promoted all the same."""

    async def script(s: Scene) -> None:
        old, began = s.leader, s.now
        s.do("switchover", old)
        await s.until(lambda: bool(s.promotions_since(began)), 10)
        new = s.promotions_since(began)[0]
        s.do("freeze postmaster", new, 40)
        await s.wait(8)
        s.do("isolate", new, 30)
        await s.wait(90)
        await s.until_whole(90)

    play(script)


def test_an_agent_told_to_stop_when_its_postgresql_has_just_died_gives_the_key_up_at_once() -> None:
    """Faults 1 and 6, as at the shutdown of a host: nobody waits for the lease."""

    async def script(s: Scene) -> None:
        leader, began = s.leader, s.now
        s.when(lambda event: isinstance(event, Readonly) and event.where == leader, "terminate agent", leader)
        s.do("kill postmaster", leader)
        took = await s.until(lambda: s.leader not in ("", leader), 5)
        assert took < 1
        await s.until_whole()
        assert s.promotions_since(began) == [s.leader]

    play(script)
