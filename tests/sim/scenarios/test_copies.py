"""Standbys that are made anew: asked for by an operator, or because nothing else helps."""

from __future__ import annotations

from dataclasses import replace

import pytest

from haagent.core.facts import DataKind
from tests.sim.scenarios.scene import Scene, play
from tests.sim.world.events import StateChanged
from tests.sim.world.knobs import Knobs

SLOW_RECOVERY = replace(Knobs(), speed=replace(Knobs().speed, crash_recovery=20.0))


def test_a_new_copy_is_made_of_a_standby_that_replays_for_long() -> None:
    """Fault 61: the operator need not wait for the end of its crash recovery."""

    async def script(s: Scene) -> None:
        leader, victim, began = s.leader, s.standbys[0], s.now
        s.do("kill postmaster", victim)
        await s.until(lambda: s.states_since(began, victim)[-1:] == ["starting"], 10)
        await s.wait(1)
        s.do("reinitialize", victim)
        await s.until(lambda: s.host(victim).data.marker == "cloning", 5)
        await s.until_whole()
        assert len(s.host(victim).aside) == 1
        assert (s.leader, s.leaders_since(began)) == (leader, [])

    play(script, SLOW_RECOVERY)


def test_a_directory_that_vanishes_while_its_history_is_compared_is_copied_anew() -> None:
    """Faults 9 and 51: the old primary is back, the new one's PostgreSQL hangs, and somebody removes the data."""

    async def script(s: Scene) -> None:
        old = s.leader
        s.do("power off", old, 30)
        await s.until(lambda: s.leader not in ("", old), 20)
        leader = s.leader

        def compares() -> bool:
            agent = s.host(old).agent
            job = None if agent is None else agent.current().job
            return job is not None and job.kind == "compare" and not job.done

        await s.until(lambda: s.host(old).up, 40)
        s.do("freeze postmaster", leader, 6)
        await s.until(compares, 20, "its history is compared")
        s.do("data removed", old)
        await s.until(lambda: s.host(old).data.kind is DataKind.VALID, 60)
        await s.until_whole()
        assert s.leader == leader
        assert s.host(old).aside == []

    play(script)


@pytest.mark.parametrize("paused", [False, True])
def test_a_copy_that_lacks_wal_of_an_abandoned_history_is_cloned_anew(paused: bool) -> None:
    """Fault 63: PostgreSQL would start for ever; in a pause it is left alone, also when an operator has stopped it."""

    async def script(s: Scene) -> None:
        old, (victim, new) = s.leader, s.standbys
        s.do("cut", old, 3, new)
        await s.wait(2.5)
        s.do("power off", old, 120)
        s.do("power off", victim, 25)
        held = s.host(victim).data
        held.needs = held.end
        del held.records[-2:]  # the disk had not kept what it had confirmed
        await s.until(lambda: s.leader == new, 25)
        began = s.now
        await s.until(lambda: s.states_since(began, victim)[-1:] == ["starting"], 30)
        if paused:
            s.do("pause", new, 30)
            await s.wait(15)
            assert s.host(victim).aside == []
            s.do("stop by hand", victim)
            await s.wait(10)
            assert (s.host(victim).server, s.host(victim).aside) == (None, [])
        await s.until(lambda: bool(s.host(victim).aside), 40, "it is moved aside")
        assert "standby" not in s.states_since(began, victim)
        await s.until(lambda: s.states_since(began, victim)[-1:] == ["standby"], 40)
        assert s.leader == new
        await s.wait(90)
        await s.until_whole()

    play(script)


def test_an_agent_tells_a_standby_that_it_finds_starting_whom_to_stream_from() -> None:
    """Row 1029: what it waits for is the WAL that only a leader gives, and it was started while nobody led."""

    async def script(s: Scene) -> None:
        victim = s.standbys[0]
        held = s.host(victim).data
        for name in s.world.hosts:
            s.do("power off", name, 25 if name == victim else 60)
        await s.wait(1)
        held.needs = held.end
        del held.records[-2:]  # as pg_rewind leaves them when the primary goes on writing
        await s.until(lambda: s.pid(victim) is not None, 60, "it is started, though nobody leads")
        pid = s.pid(victim)
        assert held.configured is not None
        assert held.configured.upstream is None
        s.do("kill agent", victim)
        await s.until(lambda: 1029 in s.world.rows_taken, 20)
        await s.until_whole(90)
        assert s.pid(victim) == pid

    play(script)


def test_standbys_with_fewer_connections_than_the_restarted_primary_take_as_many_by_themselves() -> None:
    """Fault 75: the primary's WAL tells of more, and replay pauses until the agent starts PostgreSQL again."""

    async def script(s: Scene) -> None:
        leader, began = s.leader, s.now
        before = {name: s.pid(name) for name in s.standbys}
        s.do("restart", leader)
        await s.until(lambda: "demoting" in s.states_since(began, leader), 10)
        await s.until_whole()
        primary = s.pid(leader)
        for name in s.standbys:
            server = s.host(name).server
            assert server is not None
            server.fall_short("max_connections", 100, 300)
        await s.until(lambda: all(s.pid(name) not in (None, pid) for name, pid in before.items()), 30)
        told = [event.why for event in s.since(began, StateChanged) if event.new == "demoting"]
        assert sum("max_connections is 100, the primary has 300" in why for why in told) == 2
        await s.until_whole()
        assert (s.leader, s.pid(leader), s.promotions_since(began)) == (leader, primary, [])
        assert all(host.aside == [] for host in s.world.hosts.values())

    play(script)
