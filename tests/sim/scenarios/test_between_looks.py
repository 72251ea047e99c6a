"""What happens between two looks of an agent, and what it makes of both at once: rows that hardly any seed takes."""

from __future__ import annotations

import asyncio

from haagent.core.states import State
from tests.sim.scenarios.scene import Scene, play, renews, resigns, wins
from tests.sim.world.events import Fenced, LeaderKeyChanged
from tests.sim.world.knobs import Knobs
from tests.sim.world.server import Speed

WIDE = Knobs(ttl=30.0, loop_wait=10.0, retry_timeout=10.0)


def test_a_primary_that_hears_of_its_lost_key_and_no_more_goes_on_while_all_members_promised_to_wait() -> None:
    """Row 812."""

    async def script(s: Scene) -> None:
        leader, pid = s.leader, s.pid(s.leader)
        agent = s.host(leader).agent
        assert agent is not None
        s.do("cut from etcd", leader, 30)
        await s.until(lambda: s.leader == "", 30)
        while agent.current().lease.lost is None:
            await asyncio.sleep(0.0002)
        s.do("cut from etcd", leader, 5)
        await s.wait(4)
        assert 812 in s.world.rows_taken
        assert (s.pid(leader), s.writes(leader)) == (pid, True)
        await s.wait(10)
        assert (s.leader, s.pid(leader)) == (leader, pid)

    play(script, Knobs(failsafe_mode=True))


def test_an_agent_that_wakes_with_a_proven_lease_after_its_guard_fired_hands_over() -> None:
    """Row 825: frozen between a renewal and its answer, which reaches neither the keeper nor the guard in time."""

    async def script(s: Scene) -> None:
        leader, began = s.leader, s.now
        await s.until(lambda: any(map(renews(leader), s.since(began, LeaderKeyChanged))), 10)
        s.do("cut from etcd", leader, 13)
        s.when(renews(leader), "freeze agent", leader, 18)
        await s.until(lambda: 825 in s.world.rows_taken, 40)
        await s.until_whole()
        assert [event.where for event in s.since(began, Fenced)] == [leader]
        assert leader not in s.promotions_since(began)

    play(script, WIDE)


def test_a_standby_by_other_hands_is_not_promoted_without_the_device_that_leading_requires() -> None:
    """Row 844: PostgreSQL was restarted as a standby while the agent stood still, and the device was lost."""

    async def script(s: Scene) -> None:
        leader, began = s.leader, s.now
        s.do("freeze agent", leader, 3)
        s.do("watchdog device fails", leader, 60)
        s.do("restart as standby", leader)
        await s.until(lambda: s.leader not in ("", leader), 20)
        assert 844 in s.world.rows_taken
        assert leader not in s.promotions_since(began)
        await s.wait(60)
        await s.until_whole()

    play(script, Knobs(watchdog="required"))


def test_a_leader_restarted_as_a_standby_by_other_hands_is_promoted_again() -> None:
    """Row 845: its agent stood still meanwhile, and its permit still runs."""

    async def script(s: Scene) -> None:
        leader, began = s.leader, s.now
        s.do("freeze agent", leader, 3)
        s.do("restart as standby", leader)
        await s.until(lambda: 845 in s.world.rows_taken, 20)
        await s.until_whole()
        assert (s.leader, s.promotions_since(began)) == (leader, [leader])

    play(script, WIDE)


def test_a_primary_by_hand_leads_under_a_key_that_it_won_without_hearing_so() -> None:
    """Row 527: the answer was lost, and an operator pauses the cluster and promotes the winner meanwhile."""

    async def script(s: Scene) -> None:
        began, (winner, other) = s.now, s.standbys
        for name in s.standbys:
            s.when(wins(name), "cut from etcd", name, 25)
        s.do("power off", s.leader, 90)
        await s.until(lambda: bool(s.leaders_since(began)), 50)
        won = s.now
        winner, other = (winner, other) if s.leader == winner else (other, winner)
        await s.until(lambda: s.state(winner) is State.STANDBY, 22)
        s.do("freeze agent", winner, won + 26 - s.now)
        s.do("pause", other, 60)
        await s.wait(2)
        s.do("promote by hand", winner)
        await s.wait(won + 30 - s.now)
        assert 527 in s.world.rows_taken
        assert s.leader == winner
        await s.wait(60)
        await s.until_whole()

    play(script, WIDE)


async def _old_primary_started_by_hand(s: Scene, *, other_s: float, new_s: float) -> tuple[str, str, float]:
    """Its successor gave the key up and is away for so long, as is the third node: both names, and since when."""
    old, (first, second) = s.leader, s.standbys
    s.do("power off", old, 80)
    await s.until(lambda: s.leader in (first, second), 30)
    new, other = (first, second) if s.leader == first else (second, first)
    await s.wait(10)
    s.do("terminate agent", other)
    await s.until(lambda: s.host(other).server is None, 10)
    s.do("power off", other, other_s)
    await s.wait(5)
    s.when(resigns(), "power off", new, new_s)
    s.do("terminate agent", new)
    await s.until(lambda: s.leader == "", 20)
    began = s.now
    await s.until(lambda: s.host(old).up, 60)
    s.do("start by hand", old)
    await s.until(lambda: 648 in s.world.rows_taken, 20)
    return old, new, began


def test_an_old_primary_started_by_other_hands_is_stopped_where_the_sync_key_names_another() -> None:
    """Row 648: the key is free, since the last primary gave it up and went; only that one has every commit."""

    async def script(s: Scene) -> None:
        _, new, began = await _old_primary_started_by_hand(s, other_s=120, new_s=60)
        assert s.leaders_since(began) == []
        await s.until(lambda: s.leader == new, 120)
        await s.until_whole(120)

    play(script, Knobs(synchronous_mode="on"))


def test_an_old_primary_started_by_other_hands_leads_again_only_on_a_timeline_of_its_own() -> None:
    """Row 648: asynchronously what the last primary wrote may be lost, but the timeline before it is not reused."""

    async def script(s: Scene) -> None:
        old, new, _ = await _old_primary_started_by_hand(s, other_s=150, new_s=120)
        await s.until(lambda: s.leader == old, 60)
        await s.until(lambda: s.host(old).data.timeline > s.host(new).data.timeline, 10)
        await s.until_whole(150)

    play(script, Knobs())


def test_a_backend_that_crashes_in_the_midst_of_a_promotion_brings_no_old_timeline_back() -> None:
    """PostgreSQL by itself would come back writable on the old one, since standby.signal is gone by then."""

    async def script(s: Scene) -> None:
        old, began = s.leader, s.now
        timeline = s.host(old).data.timeline
        s.do("power off", old, 60)
        servers = [s.host(name).server for name in s.standbys]
        await s.until(lambda: any(server is not None and server.promoting for server in servers), 30)
        winner = next(server.host.name for server in servers if server is not None and server.promoting)
        s.do("crash backend", winner)
        await s.until(lambda: bool(s.promotions_since(began)), 30)
        assert s.host(s.leader).data.timeline > timeline
        await s.wait(60)
        await s.until_whole()

    play(script, Knobs(speed=Speed(promote=2.0)))


def test_leadership_is_given_up_when_no_guard_can_be_had_for_a_ttl() -> None:
    """Row 848."""

    async def script(s: Scene) -> None:
        leader = s.leader
        s.do("no guard starts", leader, 60)
        s.do("kill guard", leader)
        await s.until(lambda: s.leader not in ("", leader), 30)
        assert 848 in s.world.rows_taken
        await s.wait(60)
        await s.until_whole()

    play(script)


def test_a_new_copy_is_made_of_a_node_whose_postgresql_does_not_start() -> None:
    """Row 1040: the operator asks in the pause between two tries."""

    async def script(s: Scene) -> None:
        leader, victim = s.leader, s.standbys[0]
        s.do("starts fail", victim, 30)
        s.do("kill postmaster", victim)
        await s.until(lambda: s.state(victim) is State.FENCED and s.host(victim).server is None, 10)
        s.do("reinitialize", victim)
        await s.until(lambda: 1040 in s.world.rows_taken, 20)
        await s.wait(30)
        await s.until_whole()
        assert (s.leader, len(s.host(victim).aside)) == (leader, 1)

    play(script)
