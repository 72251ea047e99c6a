"""Clocks that jump, that are apart, and that run at different rates."""

from __future__ import annotations

import pytest

from haagent.core.lease import DRIFT
from tests.sim.scenarios.scene import Scene, play
from tests.sim.world.events import Note
from tests.sim.world.knobs import Knobs


@pytest.mark.parametrize("jump", ["ahead", "back"])
def test_a_wall_clock_that_jumps_two_hours_changes_nothing(jump: str) -> None:
    """Faults 54 and 55."""

    async def script(s: Scene) -> None:
        leader, began = s.leader, s.now
        for name in s.world.hosts:
            s.do("wall clock jumps", name, 60, jump)
            await s.wait(15)
        assert (s.leader, s.leaders_since(began), s.states_since(began, leader)) == (leader, [], [])
        assert s.acked_since(s.now - 2) == [leader]

    play(script)


def test_wall_clocks_that_are_apart_elect_nobody_early() -> None:
    """Fault 56: a switchover is scheduled by the clock of the node that leads, and done once."""

    async def script(s: Scene) -> None:
        old, began = s.leader, s.now
        for name in s.standbys:
            s.do("wall clock jumps", name, 120, "a little")
        s.do("schedule switchover", old)
        await s.wait(60)
        assert len(s.leaders_since(began)) == 1
        assert s.leader != old
        assert any("switchover" in event.text and ": 202" in event.text for event in s.since(began, Note))
        await s.until_whole()

    play(script)


def test_boot_clocks_that_run_apart_within_the_promised_drift_keep_one_writer() -> None:
    """Fault 57: whoever counts faster takes the key no sooner than the slow one has stopped."""

    async def script(s: Scene) -> None:
        began = s.now
        for _ in range(3):
            s.do("isolate", s.leader, 30)
            await s.wait(50)
            await s.until_whole()
        assert len(s.promotions_since(began)) == 3

    half = DRIFT / 2
    for rates in ((1 - half, 1 + half, 1 + half), (1 + half, 1 - half, 1 + half)):
        play(script, Knobs(rates=rates, offsets=(5.0, 900_000.0, 12_345.0)))
