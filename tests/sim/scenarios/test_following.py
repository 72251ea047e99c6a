"""A standby cluster in trouble: its leader's PostgreSQL, agent and keys, its operators, and the primary far away."""

from __future__ import annotations

from collections.abc import Callable

from haagent.core.states import State
from tests.sim.scenarios.scene import Scene, becomes, play
from tests.sim.scenarios.test_elsewhere import FOLLOWING, follow, never_writable, until_all_have
from tests.sim.world.events import Event, LeaderKeyChanged
from tests.sim.world.knobs import Knobs


async def until_another_leads(s: Scene, before: str, within: float = 15.0) -> float:
    return await s.until(lambda: s.leader not in ("", before), within, f"another than {before} leads")


async def until_it_follows(s: Scene, within: float = 120.0) -> None:
    await s.until_whole(within)
    await until_all_have(s)


def at_once(s: Scene, matches: Callable[[Event], bool], then: Callable[[], None]) -> None:
    """Do something at the very instant of the first such event."""
    waiting = [then]

    def hear(event: Event) -> None:
        if waiting and matches(event):
            waiting.pop()()

    s.world.listeners.append(hear)


def start_agents(s: Scene) -> None:
    for host in s.world.hosts.values():
        host.start_agent()


# --- the cluster is made ---


def test_an_etcd_that_goes_away_while_the_far_primary_is_copied_costs_no_second_copy() -> None:
    async def script(s: Scene) -> None:
        await s.wait(5 * s.world.speed.start)  # so that the far primary is there
        start_agents(s)
        await s.until(lambda: any(s.state(name) is State.INITIALIZING for name in s.world.hosts), 20)
        first = next(name for name in s.world.hosts if s.state(name) is State.INITIALIZING)
        aside = sum(len(host.aside) for host in s.world.hosts.values())
        s.do("etcd down", "etcd", 20)
        await s.wait(15)
        assert s.state(first) is State.INITIALIZING
        assert s.host(first).server is None
        await s.until_whole(60)
        assert s.leader == first
        assert sum(len(host.aside) for host in s.world.hosts.values()) == aside
        await until_all_have(s)

    assert never_writable(play(script, FOLLOWING, from_nothing=True))


def test_an_etcd_that_goes_away_during_initdb_costs_no_second_one() -> None:
    async def script(s: Scene) -> None:
        start_agents(s)
        await s.until(lambda: any(s.state(name) is State.INITIALIZING for name in s.world.hosts), 20)
        first = next(name for name in s.world.hosts if s.state(name) is State.INITIALIZING)
        s.do("etcd down", "etcd", 20)
        await s.wait(15)
        assert s.state(first) is State.INITIALIZING
        assert not s.writes(first)
        await s.until_whole(60)
        assert s.promotions_since(0) == []
        assert s.leader == first
        assert not any(host.aside for host in s.world.hosts.values())

    play(script, from_nothing=True)


# --- its leader is hit ---


def test_whatever_ends_its_leader_another_follows_at_once() -> None:
    """Faults 7, 51 and 58: the key is given up, not waited for, and nothing is written anywhere."""

    async def script(s: Scene) -> None:
        for blow in ("kill postmaster", "terminate agent", "restart", "data removed", "promote by hand"):
            old = s.leader
            s.do(blow, old)
            took = await until_another_leads(s, old)
            assert took < s.world.knobs.ttl / 2, (blow, took)
            await until_it_follows(s)
            assert not s.writes(old), blow

    s = play(script, FOLLOWING)
    assert not s.promotions_since(0)


def test_a_leader_that_ends_just_as_it_wins_the_key_gives_it_up() -> None:
    """Fault 7: it had won and its machine stood still for a moment, in which PostgreSQL was killed."""

    async def script(s: Scene) -> None:
        old, hit = s.leader, [""]

        def strike() -> None:
            hit[0] = s.leader
            s.do("freeze agent", s.leader, 0.5)
            s.do("kill postmaster", s.leader)

        at_once(s, lambda event: isinstance(event, LeaderKeyChanged) and event.cause == "campaign", strike)
        s.do("power off", old, 60)
        await s.until(lambda: s.leader not in ("", old, *hit), 30, "the third one leads")
        assert hit[0]
        await s.wait(60)
        await until_it_follows(s)

    assert never_writable(play(script, FOLLOWING))


def test_an_agent_that_comes_back_goes_on_leading_or_gives_the_key_up() -> None:
    """Fault 1: what matters is whether PostgreSQL still follows."""

    async def script(s: Scene) -> None:
        leader, pid, began = s.leader, s.pid(s.leader), s.now
        s.do("kill agent", leader, 2)
        await s.wait(10)
        assert (s.leader, s.pid(leader), s.leaders_since(began)) == (leader, pid, [])
        s.do("kill agent", leader, 2)
        s.do("kill postmaster", leader)
        took = await until_another_leads(s, leader)
        assert took < s.world.knobs.ttl
        await until_it_follows(s)

    assert never_writable(play(script, FOLLOWING))


def test_a_leader_key_that_somebody_deletes_is_had_again() -> None:
    async def script(s: Scene) -> None:
        began = s.now
        s.do("leader key deleted", "etcd")
        await s.until(lambda: bool(s.leaders_since(began)), 3 * s.world.knobs.ttl)
        await until_it_follows(s)

    assert never_writable(play(script, FOLLOWING))


# --- its operators ---


def test_in_a_pause_it_goes_on_without_its_agent_and_what_hands_do_is_undone_after_it() -> None:
    """Fault 58, in a pause."""

    async def script(s: Scene) -> None:
        leader, pid = s.leader, s.pid(s.leader)
        s.do("pause", s.standbys[0], 60)
        await s.wait(5)
        s.do("terminate agent", leader)
        await s.wait(20)
        assert (s.leader, s.pid(leader)) == (leader, pid)
        s.do("promote by hand", leader)
        await s.wait(20)
        assert s.writes(leader)
        assert s.leader == leader
        await s.until(lambda: not s.writes(leader), 60)
        await until_it_follows(s)
        assert all(s.world.far.holds(record.uid) for record in s.host(leader).data.records)

    assert play(script, FOLLOWING).promotions_since(0) == []


def test_told_to_stand_alone_in_a_pause_it_does_so_when_the_pause_ends() -> None:
    async def script(s: Scene) -> None:
        leader = s.leader
        s.do("pause", leader, 40)
        await s.wait(5)
        follow(s, far=False)
        await s.wait(30)
        assert not s.writes(leader)
        await s.until(lambda: s.writes(leader), 20)
        await s.until_whole()
        assert s.promotions_since(0) == [leader]

    play(script, FOLLOWING)


def test_told_to_stand_alone_while_the_leaders_agent_is_away_the_same_node_is_promoted() -> None:
    """Fault 1."""

    async def script(s: Scene) -> None:
        leader = s.leader
        s.do("kill agent", leader, 3)
        await s.wait(1)
        follow(s, far=False)
        await s.until(lambda: s.writes(leader), 15)
        await s.until_whole()
        assert s.promotions_since(0) == [leader]

    play(script, FOLLOWING)


def test_a_switchover_that_comes_due_in_a_pause_is_refused() -> None:
    async def script(s: Scene) -> None:
        leader, began = s.leader, s.now
        s.do("schedule switchover", leader, other=s.standbys[0])
        await s.wait(1)
        s.do("pause", leader, 60)
        await s.wait(45)
        assert s.leader == leader
        await s.wait(60)
        assert s.leaders_since(began) == []

    assert never_writable(play(script, FOLLOWING))


# --- a primary is told to follow ---


def test_an_agent_that_was_away_when_the_sides_were_changed_stops_its_primary() -> None:
    """Fault 1."""

    async def script(s: Scene) -> None:
        far, old = s.world.far, s.leader
        far.follow(old)
        await s.wait(20)
        s.do("kill agent", old, 3)
        await s.wait(1)
        follow(s, far=True)
        await s.until(lambda: not s.writes(old), 10)
        await s.wait(2)
        far.promote()
        await s.until(s.whole, 200, "the cluster follows")
        await until_all_have(s)

    play(script)


def test_a_promotion_is_broken_off_when_the_cluster_is_to_follow() -> None:
    """Fault 60: it hangs; nothing has been written yet."""

    async def script(s: Scene) -> None:
        old, began = s.leader, s.now
        s.world.far.follow(old)
        await s.wait(20)
        for name in s.standbys:
            s.do("promotions hang", name, 120)
        s.do("power off", old, 60)
        await until_another_leads(s, old, 30)
        await s.wait(1)
        s.world.operators.patch(s.leader, {"standby_cluster": {"host": "far"}})
        await s.wait(20)
        s.world.far.promote()
        await s.until(s.whole, 200, "the cluster follows")
        assert s.promotions_since(began) == []
        await until_all_have(s)

    play(script)


def test_a_primary_that_does_not_come_up_is_not_tried_again_when_the_cluster_is_to_follow() -> None:
    async def script(s: Scene) -> None:
        far, old = s.world.far, s.leader
        far.follow(old)
        await s.wait(20)
        s.do("starts fail", old, 30)
        s.do("restart", old)
        await s.until(lambda: s.state(old) is State.PROMOTING, 10)
        s.do("freeze agent", old, 2)
        follow(s, far=True)
        await s.wait(5)
        far.promote()
        await s.until(s.whole, 200, "the cluster follows")
        await until_all_have(s)

    play(script)


def test_a_primary_stopped_by_hand_in_a_pause_does_not_come_back_when_the_cluster_is_to_follow() -> None:
    """Fault 59."""

    async def script(s: Scene) -> None:
        far, old = s.world.far, s.leader
        far.follow(old)
        await s.wait(20)
        s.do("pause", old, 30)
        await s.wait(5)
        s.do("stop by hand", old)
        await s.wait(5)
        follow(s, far=True)
        await s.wait(5)
        far.promote()
        await s.wait(20)
        began = s.now
        await s.until(s.whole, 200, "the cluster follows")
        assert s.acked_since(began) == []
        await until_all_have(s)

    play(script)


def test_a_second_primary_of_a_pause_is_stopped_when_the_cluster_is_to_follow() -> None:
    """Fault 58: promoted by hand, stopped for that, and started by hand again in the pause."""

    async def script(s: Scene) -> None:
        far, old = s.world.far, s.leader
        far.follow(old)
        await s.wait(20)
        stray = s.standbys[0]
        s.when(becomes(stray, "demoting"), "pause", old, 60)
        s.do("promote by hand", stray)
        await s.wait(10)
        s.do("start by hand", stray)
        await s.wait(15)
        assert s.writes(stray)
        follow(s, far=True)
        await s.until(lambda: not s.writes(old) and not s.writes(stray), 60)
        await s.wait(2)
        far.promote()
        await s.until(s.whole, 200, "the cluster follows")
        await until_all_have(s)

    play(script)


# --- the far primary ---


def test_a_far_primary_that_is_away_when_the_sides_are_changed_is_followed_once_it_is_there() -> None:
    """Fault 80: the former primary is started read-only until it can be compared; what far lacks is given up."""

    async def script(s: Scene) -> None:
        far, old = s.world.far, s.leader
        far.follow(old)
        await s.wait(20)
        assert far.server is not None
        far.server.end("its host is gone")
        follow(s, far=True)
        await s.until(lambda: not s.writes(old), 20)
        began = s.now
        await s.wait(120)
        assert all(host.server is not None for host in s.world.hosts.values())
        assert s.promotions_since(began) == []
        far.run(primary=False)
        await s.wait(3)
        far.promote()
        await s.until(s.whole, 200, "the cluster follows")
        await until_all_have(s)
        histories = [host.data.records for host in s.world.hosts.values()]
        assert all(far.holds(record.uid) for records in histories for record in records)

    play(script)


def test_a_far_primary_that_goes_away_is_asked_why_nothing_comes() -> None:
    """Fault 80."""

    async def script(s: Scene) -> None:
        far, old = s.world.far, s.leader
        far.follow(old)
        await s.wait(20)
        follow(s, far=True)
        await s.until(lambda: not s.writes(old), 20)
        await s.wait(2)
        far.promote()
        await s.until(s.whole, 200, "the cluster follows")
        s.do("switchover", s.leader, other=old)
        await s.until(lambda: s.leader == old, 20)
        await s.until_whole()
        assert far.server is not None
        far.server.end("its host is gone")
        await s.wait(60)
        assert s.leader == old
        agent = s.host(old).agent
        assert agent is not None
        assert "far" in agent.current().memory.why
        far.run(primary=True)
        await until_it_follows(s)

    play(script)


LAGGING = Knobs(nodes=("a", "b"), elsewhere=True, maximum_lag_on_failover=2000)


async def left_behind(s: Scene) -> str:
    """The leader is off, and the other node lags further than it may to be elected; its name."""
    left = s.standbys[0]
    s.do("cut", left, 60, s.leader)
    await s.wait(40)
    s.do("power off", s.leader, 120)
    return left


def test_a_standby_that_lags_too_far_to_lead_does_not_part_from_a_far_primary_that_is_away() -> None:
    """Fault 80: it goes on read-only, and leads only when it has what its leader had."""

    async def script(s: Scene) -> None:
        all_of_it = s.host(s.leader).data
        left = await left_behind(s)
        assert s.world.far.server is not None
        s.world.far.server.end("its host is gone")
        pid = s.pid(left)
        await s.wait(60)
        assert (s.leader, s.pid(left)) == ("", pid)
        s.world.far.run(primary=True)
        await s.until(lambda: s.leader != "", 120)
        assert s.host(s.leader).data.end >= all_of_it.end
        await until_it_follows(s)

    assert never_writable(play(script, LAGGING))


def test_a_standby_that_nobody_leads_is_rewound_when_the_far_cluster_failed_over_to_less() -> None:
    """What the new far primary lacks is given up here too."""

    async def script(s: Scene) -> None:
        far = s.world.far
        left = await left_behind(s)
        far.fail_over(lost=90)
        await s.wait(60)
        assert all(far.holds(record.uid) for record in s.host(left).data.records)
        await s.wait(80)
        await until_it_follows(s)
        histories = [host.data.records for host in s.world.hosts.values()]
        assert all(far.holds(record.uid) for records in histories for record in records)

    assert never_writable(play(script, LAGGING))


def test_more_connections_on_the_far_primary_cost_each_node_a_restart_and_no_more() -> None:
    """Fault 75: replay has stopped on all nodes at the record of the change; whoever leads gives the key up first."""

    async def script(s: Scene) -> None:
        began, pids = s.now, {name: s.pid(name) for name in s.world.hosts}
        for host in s.world.hosts.values():
            assert host.server is not None
            host.server.fall_short("max_connections", 100, 200)
        await s.until(lambda: all(s.pid(name) not in (None, pid) for name, pid in pids.items()), 30)
        await until_it_follows(s)
        pids = {name: s.pid(name) for name in s.world.hosts}
        await s.wait(30)
        assert pids == {name: s.pid(name) for name in s.world.hosts}
        assert len(s.leaders_since(began)) <= 3

    assert never_writable(play(script, FOLLOWING))
