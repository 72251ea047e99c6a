"""What other hands than the agent's do to PostgreSQL, to etcd and to the lease."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.sim.scenarios.scene import Scene, play
from tests.sim.world.events import Readonly, Writable
from tests.sim.world.knobs import Knobs


def test_a_standby_promoted_by_hand_is_stopped_and_made_a_standby_again() -> None:
    """Fault 58: the leader notices nothing."""

    async def script(s: Scene) -> None:
        leader, victim, began = s.leader, s.standbys[0], s.now
        s.do("promote by hand", victim)
        await s.until(lambda: any(e.where == victim for e in s.since(began, Readonly)), 8)
        assert (s.leader, s.leaders_since(began), s.states_since(began, leader)) == (leader, [], [])
        await s.until_whole()

    play(script)


def test_a_standby_promoted_while_etcd_was_away_wins_no_election_with_its_later_timeline() -> None:
    """Fault 58, and then the leader's host dies: the other standby has all that was acknowledged."""

    async def script(s: Scene) -> None:
        old, (stray, other) = s.leader, s.standbys
        s.do("etcd down", "etcd", 30)
        await s.wait(1)
        s.do("promote by hand", stray)
        await s.wait(20)
        s.do("kill agent", stray, 0.3)  # what is known of it outlives the agent
        s.do("power off", old, 90)
        await s.until(lambda: s.leader not in ("", old), 60)
        assert s.leader == other
        await s.wait(90)
        await s.until_whole()

    play(script)


def test_in_quorum_mode_nobody_leads_on_the_word_of_a_standby_promoted_by_hand() -> None:
    """Fault 58: what it confirmed before can't be told any more; the old leader's return ends that."""

    async def script(s: Scene) -> None:
        old, began = s.leader, s.now
        s.do("etcd down", "etcd", 12)
        await s.wait(1)
        s.do("promote by hand", s.standbys[0])
        await s.wait(8)
        s.do("power off", old, 60)
        await s.wait(55)
        assert s.promotions_since(began + 1.5) == []
        await s.wait(30)
        await s.until_whole()

    play(script, Knobs(synchronous_mode="quorum", synchronous_mode_strict=True))


def test_the_commits_of_a_standby_promoted_by_hand_are_refused_by_the_fence() -> None:
    """Fault 58, where the commit fence is loaded."""

    async def script(s: Scene) -> None:
        leader, victim, began = s.leader, s.standbys[0], s.now
        s.do("promote by hand", victim)
        await s.until(lambda: any(e.where == victim for e in s.since(began, Writable)), 8)
        await s.wait(20)
        assert s.acked_since(began) == [leader]

    play(script, Knobs(fence=True))


def test_a_primary_stopped_by_hand_is_started_again_in_place() -> None:
    """Fault 59, without a pause."""

    async def script(s: Scene) -> None:
        leader, began = s.leader, s.now
        s.do("stop by hand", leader)
        await s.wait(10)
        assert s.acked_since(s.now - 2) == [leader]
        assert s.leaders_since(began) == []

    play(script)


def test_a_primary_stopped_by_hand_in_a_pause_is_left_stopped() -> None:
    """Fault 59, in a pause: nobody else leads either; the resume starts it again."""

    async def script(s: Scene) -> None:
        leader, began = s.leader, s.now
        s.do("pause", leader, 60)
        await s.wait(5)
        s.do("stop by hand", leader)
        await s.wait(40)
        assert s.host(leader).server is None
        assert s.promotions_since(began) == []
        await s.wait(30)
        await s.until_whole()
        assert s.leader == leader

    play(script)


def test_a_primary_whose_host_dies_in_a_pause_is_followed_only_after_the_resume() -> None:
    """Fault 89."""

    async def script(s: Scene) -> None:
        old, other, began = s.leader, s.standbys[0], s.now
        s.do("pause", other, 60)
        await s.wait(5)
        s.do("power off", old, 120)
        await s.wait(45)
        assert (s.leader, s.promotions_since(began)) == ("", [])
        await s.until(lambda: bool(s.promotions_since(began)), 30)
        await s.wait(60)
        await s.until_whole()

    play(script)


def test_a_primary_promoted_by_hand_in_a_pause_leads_when_the_old_one_is_gone() -> None:
    async def script(s: Scene) -> None:
        old, other = s.leader, s.standbys[0]
        s.do("pause", other, 100)
        await s.wait(5)
        s.do("power off", old, 60)
        await s.wait(20)
        s.do("promote by hand", other)
        await s.until(lambda: s.leader == other, 20)
        await s.wait(90)
        await s.until_whole()
        assert s.leader == other
        whole = s.now
        await s.until(lambda: bool(s.acked_since(whole)), 120)
        assert s.acked_since(whole) == [other]

    play(script)


def test_a_crash_loop_ends_with_another_leader() -> None:
    """Fault 8: a few starts, then the lead is given up; no endless row of starts."""

    async def script(s: Scene) -> None:
        old, began = s.leader, s.now
        s.do("crash loop", old, 60)
        await s.until(lambda: s.leader not in ("", old) and bool(s.acked_since(s.now - 1)), 30)
        assert len([event for event in s.since(began, Writable) if event.where == old]) <= 4
        await s.wait(60)
        await s.until_whole()

    play(script)


def test_a_process_that_hears_no_signal_is_killed_before_the_permit_ends() -> None:
    """Fault 10: the guard stays armed until every process is gone."""

    async def script(s: Scene) -> None:
        old, began = s.leader, s.now
        s.host(old).stops_hang = 2
        s.do("isolate", old, 30)
        await s.until(lambda: bool(s.promotions_since(began)), 14)
        ended = [event.at for event in s.since(began, Readonly) if event.where == old]
        assert ended
        assert ended[0] < s.now
        s.host(old).stops_hang = 0
        await s.wait(40)
        await s.until_whole()

    play(script)


@pytest.mark.parametrize("hook", ["vetoes", "hangs"])
def test_a_pre_promote_that_does_not_agree_gives_the_key_back(hook: str) -> None:
    """Fault 13: the next candidate gets it."""

    async def script(s: Scene) -> None:
        old, unwilling, began = s.leader, s.standbys[0], s.now
        s.do("hook", unwilling, 200, hook)
        s.do("cut", old, 5, s.standbys[1])  # so that the unwilling one is the better candidate
        await s.wait(2)
        s.do("power off", old, 150)
        await s.until(lambda: bool(s.promotions_since(began)), 110)
        assert s.promotions_since(began) == [s.leader] != [unwilling]
        await s.wait(100)
        await s.until_whole()

    play(script, Knobs(pre_promote=True))


def test_a_stop_that_has_no_end_is_cut_short_before_the_permit_ends() -> None:
    """Faults 66, 67 and 68: an archiver, a logical walsender or a checkpoint holds up the orderly stop."""

    async def script(s: Scene) -> None:
        old, began = s.leader, s.now
        s.do("stops hang", old, 90)
        s.do("switchover", old)
        await s.until(lambda: bool(s.since(began, Readonly)), 3 * s.world.knobs.ttl)
        await s.until(lambda: bool(s.acked_since(s.now - 1)), 20)
        await s.wait(90)
        await s.until_whole()

    play(script, Knobs(speed=replace(Knobs().speed, fast_stop=1.0)))


def test_a_stop_does_not_wait_for_a_standby_that_stands_still_once_another_has_all() -> None:
    """Fault 67: its agent leaves only when PostgreSQL has ended, which waits for a receiver that never confirms."""

    async def script(s: Scene) -> None:
        old, (still, other), began = s.leader, s.standbys, s.now
        s.do("freeze host", still, 80)
        await s.wait(1)
        s.do("terminate agent", old)
        await s.until(lambda: s.leader == other, 15)
        assert [(event.where, event.how) for event in s.since(began, Readonly)] == [(old, "immediate stop")]
        ended = s.since(began, Readonly)[0].at
        assert ended - began < 15, "wal_sender_timeout is a minute"
        await s.wait(90)
        await s.until_whole()
        assert s.leaders_since(began) == [other]

    play(script)


def test_a_wiped_etcd_is_filled_again_by_the_running_primary() -> None:
    """Fault 43: nobody initializes, and nobody else leads."""

    async def script(s: Scene) -> None:
        leader, pid, began = s.leader, s.pid(s.leader), s.now
        s.do("etcd wiped", "etcd")
        await s.wait(20)
        assert (s.leader, s.pid(leader)) == (leader, pid)
        assert s.world.etcd.identity() == str(s.host(leader).data.system_id)
        assert s.promotions_since(began) == []
        assert s.whole()

    play(script)


def test_a_node_without_data_does_not_bootstrap_into_a_wiped_etcd() -> None:
    """Fault 43: it knows that somebody led a moment ago."""

    async def script(s: Scene) -> None:
        victim, before = s.standbys[0], s.host(s.leader).data.system_id
        s.do("copies fail", victim, 10)
        s.do("reinitialize", victim)
        await s.wait(5)
        for _ in range(5):
            s.do("etcd wiped", "etcd")
            await s.wait(4)
        await s.until_whole()
        assert {host.data.system_id for host in s.world.hosts.values()} == {before}

    play(script)


def test_an_etcd_set_back_to_an_older_snapshot_promotes_no_older_history() -> None:
    """Fault 42: the key names who led then; the data that has been written since stays."""

    async def script(s: Scene) -> None:
        first = s.leader
        s.do("etcd backed up", "etcd")
        await s.wait(5)
        s.do("switchover", first, other=s.standbys[0])
        await s.wait(20)
        second, timeline = s.leader, s.host(s.leader).data.timeline
        assert second != first
        s.do("etcd restored", "etcd")
        await s.wait(90)
        await s.until_whole(60)
        assert s.host(s.leader).data.timeline >= timeline

    play(script)


def test_an_agent_that_starts_under_a_key_of_the_past_waits_for_a_leader_that_it_can_not_see() -> None:
    """Fault 42, row 1009: it is cut off, and its permit runs; nobody within reach knows of a later history."""

    async def script(s: Scene) -> None:
        first = s.leader
        s.do("etcd backed up", "etcd")
        await s.wait(5)
        s.do("switchover", first, other=s.standbys[0])
        await s.until(lambda: s.leader not in (first, ""), 20)
        second = s.leader
        await s.until_whole(60)
        s.do("isolate", second, 24)
        await s.wait(4)
        s.do("etcd restored", "etcd")
        s.do("kill agent", first, 0.7)
        await s.until(lambda: 1009 in s.world.rows_taken, 20)
        await s.wait(60)
        await s.until_whole(60)

    play(script, Knobs(ttl=30.0, loop_wait=5.0, retry_timeout=5.0))


def test_agent_and_guard_killed_together_are_the_fences_affair() -> None:
    """Fault 2, with the guard gone too: the commit fence alone refuses past the permit."""

    async def script(s: Scene) -> None:
        old, began = s.leader, s.now
        s.do("kill agent and guard", old, 60)
        await s.until(lambda: bool(s.promotions_since(began)), 14)
        promoted = s.now
        server = s.host(old).server
        assert server is not None
        assert server.writable
        await s.wait(10)
        assert s.acked_since(promoted) == [s.leader]
        await s.wait(60)
        await s.until_whole()

    play(script, Knobs(fence=True))


def test_agents_restarted_in_a_pause_while_etcd_is_away_stop_nothing() -> None:
    """Fault 59: pause, then work on etcd and on the agents."""

    async def script(s: Scene) -> None:
        leader, pid, began = s.leader, s.pid(s.leader), s.now
        s.do("pause", leader, 90)
        await s.wait(5)
        s.do("etcd down", "etcd", 60)
        await s.wait(5)
        for name in s.world.hosts:
            s.do("terminate agent", name)
        await s.wait(40)
        assert s.pid(leader) == pid
        await s.wait(60)
        await s.until_whole()
        assert (s.leader, s.pid(leader), s.promotions_since(began)) == (leader, pid, [])

    play(script)


def test_an_agent_restarted_in_a_pause_leaves_a_starting_postgresql_alone() -> None:
    """Faults 12 and 59: an operator starts a standby by hand, and updates the agent before it answers."""

    async def script(s: Scene) -> None:
        leader, victim, began = s.leader, s.standbys[0], s.now
        s.do("pause", leader, 60)
        await s.wait(5)
        s.do("kill postmaster", victim)
        await s.until(lambda: s.states_since(began, victim)[-1:] == ["fenced"], 5)
        s.do("start by hand", victim)
        await s.wait(1)
        pid = s.pid(victim)
        s.do("terminate agent", victim)
        await s.until(lambda: s.host(victim).agent is None, 2, "its agent has left")
        await s.wait(70)
        await s.until_whole()
        assert pid is not None
        assert (s.leader, s.pid(victim), s.promotions_since(began)) == (leader, pid, [])

    play(script, replace(Knobs(), speed=replace(Knobs().speed, crash_recovery=8.0)))


def test_an_etcd_wiped_while_the_leaders_agent_is_away_is_filled_by_the_running_primary() -> None:
    """Faults 1 and 43: the new agent finds a primary and no trace of a cluster."""

    async def script(s: Scene) -> None:
        leader, pid, began = s.leader, s.pid(s.leader), s.now
        s.do("kill agent", leader, 1.0)
        await s.wait(0.8)
        s.do("etcd wiped", "etcd")
        await s.wait(20)
        assert (s.leader, s.pid(leader), s.promotions_since(began)) == (leader, pid, [])
        assert s.world.etcd.identity() == str(s.host(leader).data.system_id)
        await s.until_whole()

    play(script)
