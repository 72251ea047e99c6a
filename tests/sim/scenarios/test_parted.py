"""A node whose history parted from the leader's: rewound, cloned anew, or left to its operator, and what those do."""

from __future__ import annotations

from dataclasses import replace

import pytest

from haagent.core.facts import DataKind
from tests.sim.scenarios.scene import Scene, play
from tests.sim.world.dcs import PREFIX
from tests.sim.world.events import Readonly, StateChanged
from tests.sim.world.knobs import Knobs

KEPT = Knobs(use_pg_rewind=False, may_discard=False)
"""A diverged copy is the operator's."""


async def part(s: Scene) -> str:
    """The leader is cut off, writes on until its permit ends, and comes back to a cluster led by another; its name."""
    old, began = s.leader, s.now
    s.do("isolate", old, 25)
    await s.until(lambda: bool(s.promotions_since(began)), 20)
    await s.until(lambda: bool(s.acked_since(s.now - 1)), 10)
    return old


async def fail(s: Scene) -> str:
    """The same, and nothing is allowed to be done about it."""
    old, began = await part(s), s.now
    await s.until(lambda: "failed" in s.states_since(began, old), 40, "it asks for its operator")
    return old


def why(s: Scene, name: str) -> str:
    """What its agent says it is about."""
    agent = s.host(name).agent
    return "" if agent is None else agent.current().memory.why


def start_writable(s: Scene, name: str) -> None:
    """Somebody removes standby.signal and starts PostgreSQL."""
    data = s.host(name).data
    data.tainted, data.standby_signal = data.standby_signal, False
    s.do("start by hand", name)


async def until_it_rewinds(s: Scene, name: str) -> None:
    await s.until(lambda: s.host(name).data.marker == "rewinding", 60, "pg_rewind is running")


def test_a_parted_copy_that_may_not_be_touched_waits_for_its_operator() -> None:
    """Fault 21: it is never started, and says why; the operator then asks for a new copy."""

    async def script(s: Scene) -> None:
        old = await fail(s)
        parted, asked = list(s.host(old).data.records), s.now
        await s.wait(60)
        assert (s.host(old).server, s.host(old).data.records) == (None, parted)
        assert "neither pg_rewind nor a new copy is allowed" in why(s, old)
        assert s.leaders_since(asked) == []
        s.do("reinitialize", old)
        await s.until_whole()
        assert [data.records for data in s.host(old).aside] == [parted], "nothing is thrown away"

    play(script, KEPT)


def test_what_other_hands_start_on_a_failed_node_never_serves_writes_for_long() -> None:
    """Faults 21 and 58: started writable it is stopped; asked to stop while it starts, the agent waits for its end."""

    async def script(s: Scene) -> None:
        old = await fail(s)
        leader, began = s.leader, s.now
        start_writable(s, old)
        await s.until(lambda: any(e.where == old for e in s.since(began, Readonly)), 15, "it is stopped again")
        await s.until(lambda: s.states_since(began, old)[-1:] == ["failed"], 30)
        start_writable(s, old)
        await s.wait(0.1)
        s.do("terminate agent", old)
        await s.until(lambda: s.states_since(began, old)[-1:] == ["demoting"], 10)
        await s.until(lambda: s.host(old).server is None, 10)
        await s.wait(10)
        assert (s.leader, s.leaders_since(began)) == (leader, [])
        assert s.acked_since(began) == [leader], "the commit fence refuses what is written meanwhile"

    play(script, replace(KEPT, fence=True, speed=replace(KEPT.speed, start=2.0)))


def test_a_copy_that_the_operator_mended_by_hand_follows_again() -> None:
    """Fault 21: pg_rewind and pg_ctl start by hand are all it takes; the agent goes on from there."""

    async def script(s: Scene) -> None:
        old = await fail(s)
        host, leader, began = s.host(old), s.host(s.leader).data, s.now
        host.data.take_over(leader, leader.end)
        host.data.clean, host.data.in_production = True, False
        host.start_server(primary=False)
        await s.until_whole()
        assert s.states_since(began, old) == ["standby"]
        assert s.promotions_since(began) == []

    play(script, KEPT)


def test_a_failed_node_that_finds_another_cluster_in_etcd_touches_nothing() -> None:
    """Fault 92."""

    async def script(s: Scene) -> None:
        old = await fail(s)
        data, began = s.host(old).data, s.now
        s.do("identity forged", "etcd", 20)
        await s.until(lambda: any("another cluster" in e.why for e in s.since(began, StateChanged)), 10)
        await s.wait(25)
        assert (s.host(old).server, s.host(old).data, s.host(old).aside) == (None, data, [])
        s.do("reinitialize", old)
        await s.until_whole()
        assert s.promotions_since(began) == []

    play(script, KEPT)


def test_an_agent_asked_to_stop_ends_pg_rewind_and_leaves() -> None:
    """Fault 62: the half-rewound directory is never started; the next agent makes it anew."""

    async def script(s: Scene) -> None:
        old = await part(s)
        await until_it_rewinds(s, old)
        began = s.now
        s.do("terminate agent", old)
        await s.until(lambda: s.host(old).agent is None, 2, "its agent has left")
        assert s.host(old).data.kind is DataKind.UNFINISHED
        await s.until_whole()
        assert "rewinding" not in s.states_since(began, old)
        assert [data.marker for data in s.host(old).aside] == ["rewinding"]

    play(script, replace(Knobs(), speed=replace(Knobs().speed, rewind=10.0)))


def test_a_half_rewound_node_waits_for_somebody_to_copy_from() -> None:
    """Fault 62, and then the source is lost too: nothing is moved aside while nobody leads."""

    async def script(s: Scene) -> None:
        old = await part(s)
        others = [*s.standbys, s.leader]
        await until_it_rewinds(s, old)
        s.do("power off", old, 20)
        for name in others:
            if name != old:
                s.do("power off", name, 60)
        await s.wait(45)
        assert (s.host(old).data.marker, s.host(old).aside, s.leader) == ("rewinding", [], "")
        assert "there is no primary to clone from" in why(s, old)
        await s.until_whole(120)
        assert s.leader != old

    play(script, replace(Knobs(), speed=replace(Knobs().speed, rewind=10.0)))


@pytest.mark.parametrize("allowed", [True, False])
def test_a_rewind_that_fails_three_times_ends_in_a_new_copy_or_with_the_operator(allowed: bool) -> None:
    """Fault 63: the diverged copy is never started as a follower."""

    async def script(s: Scene) -> None:
        old = await part(s)
        host, began = s.host(old), s.now
        host.rewinds_fail = 1
        await s.until(lambda: ("vacant" if allowed else "failed") in s.states_since(began, old), 90)
        assert s.states_since(began, old).count("rewinding") == 3
        if not allowed:
            assert "pg_rewind failed, and a new copy is not allowed" in why(s, old)
            await s.wait(30)
            assert (host.server, host.aside) == (None, [])
            s.do("reinitialize", old)
        await s.until_whole()
        assert len(host.aside) == 1

    play(script, Knobs(may_discard=allowed))


def test_a_leader_without_a_member_key_is_no_source_for_a_rewind() -> None:
    """Somebody deletes the new leader's member key while the old one has just learnt that it must be rewound."""

    async def script(s: Scene) -> None:
        old = await part(s)
        began = s.now

        def diverged() -> bool:
            agent = s.host(old).agent
            found = None if agent is None else agent.current().memory.divergence
            return found is not None and found.diverged

        s.host(old).rewinds_fail = 1
        await s.until(lambda: diverged() and s.states_since(began, old)[-1:] == ["fenced"], 60)
        s.host(old).rewinds_fail = 0
        s.world.etcd.etcd.delete(f"{PREFIX}members/{s.leader}")
        await s.until_whole()
        assert (s.promotions_since(began), s.host(old).aside) == ([], [])

    play(script)
