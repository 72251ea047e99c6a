"""Clocks that jump, that are apart, and that run at different rates."""

from __future__ import annotations

import pytest

from haagent.core.lease import DRIFT
from haagent.core.terms import Instant
from tests.sim.scenarios.scene import Scene, play
from tests.sim.world.events import Acked, Fenced, LeaderKeyChanged, Note
from tests.sim.world.knobs import Knobs
from tests.sim.world.time import Clock


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


async def _woken_late(s: Scene) -> str:
    """The leader's host sleeps until after another leads, and wakes up; whose it is."""
    old, began = s.leader, s.now
    s.do("suspend host", old, 25)
    await s.until(lambda: bool(s.promotions_since(began)), 24)
    await s.wait(began + 25 - s.now)
    return old


@pytest.mark.parametrize("seed", range(1, 4))
@pytest.mark.parametrize("fence", [True, False])
def test_a_leader_that_was_suspended_for_long_is_fenced_as_it_wakes_up(fence: bool, seed: int) -> None:
    """Fault 57: asyncio's timers stood still meanwhile, and the permit did not."""

    async def script(s: Scene) -> None:
        began, old = s.now, await _woken_late(s)
        woke = s.now
        # Sooner than any timer of asyncio's by which the loop or the keeper would look at etcd.
        await s.until(lambda: [event.where for event in s.since(woke - 0.01, Fenced)] == [old], 0.2, "it is fenced")
        await s.until_whole()
        assert [event for event in s.since(woke, Acked) if event.where == old] == []
        assert s.leaders_since(began) == s.promotions_since(began) == [s.leader] != [old]

    play(script, Knobs(fence=fence), seed=seed)


@pytest.mark.parametrize("fence", [True, False])
def test_deadlines_by_a_clock_that_stops_in_a_suspend_are_caught(fence: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fault 57: with CLOCK_MONOTONIC for the permit the old leader would go on where it was."""

    def now(self: Clock) -> Instant:
        return Instant(self.offset + self.rate * (self.loop.true_time - self.slept))

    def true(self: Clock, instant: Instant) -> float:
        return (instant - self.offset) / self.rate + self.slept

    async def script(s: Scene) -> None:
        old, woke = await _woken_late(s), s.now
        await s.wait(5)
        assert old in s.acked_since(woke)
        assert any("one writer" in found for found in s.violations)
        s.violations.clear()

    monkeypatch.setattr(Clock, "now", now)
    monkeypatch.setattr(Clock, "true", true)
    play(script, Knobs(fence=fence))


@pytest.mark.parametrize("seconds", [3.0, 12.0, 60.0])
def test_standbys_that_were_suspended_take_nothing_from_a_leader_that_was_not(seconds: float) -> None:
    """Fault 57: on their clocks the key has stood still for long, and nobody looked: etcd is asked again first."""

    async def script(s: Scene) -> None:
        leader, began = s.leader, s.now
        for name in s.standbys:
            s.do("suspend host", name, seconds)
        await s.wait(seconds + 30)
        assert s.leader == leader
        assert [event.cause for event in s.since(began, LeaderKeyChanged) if event.cause != "renewal"] == []
        await s.until_whole()

    play(script)


@pytest.mark.parametrize("seed", range(1, 5))
def test_a_whole_cluster_that_was_suspended_is_led_again_by_one(seed: int) -> None:
    """Fault 57: all wake up at once, and the lease has run out: whoever led asks etcd, not its timers."""

    async def script(s: Scene) -> None:
        began, all_nodes = s.now, list(s.world.hosts)
        for name in all_nodes:
            s.do("suspend host", name, 40)
        await s.wait(40.5)
        woke = s.now
        await s.until(lambda: bool(s.acked_since(woke)), 30, "commits again")
        await s.until_whole()
        assert s.leaders_since(began) == [s.leader]
        assert s.acked_since(woke) == [s.leader]

    play(script, seed=seed)


def test_a_leader_that_was_suspended_for_less_than_its_permit_goes_on() -> None:
    """Faults 19 and 57: at ttl 30, a few seconds in which even the clocks of its timers stood still."""

    async def script(s: Scene) -> None:
        leader, began, pid = s.leader, s.now, s.pid(s.leader)
        for _ in range(8):
            s.do("suspend host", leader, 5)
            await s.wait(17.3)  # at another point between two renewals each time
        assert (s.leader, s.pid(leader)) == (leader, pid)
        assert s.states_since(began, leader) == []
        assert s.acked_since(s.now - 5) == [leader]

    play(script, Knobs(ttl=30.0, loop_wait=10.0, retry_timeout=10.0))
