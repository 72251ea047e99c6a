"""Standbys that are made anew: asked for by an operator, or because nothing else helps."""

from __future__ import annotations

from dataclasses import replace

from haagent.core.facts import DataKind
from tests.sim.scenarios.scene import Scene, play
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
