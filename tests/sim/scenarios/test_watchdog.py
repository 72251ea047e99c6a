"""A watchdog device on every node: it resets who can't be trusted, and nobody else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.sim.scenarios.scene import Scene, becomes, play
from tests.sim.world.events import Fenced
from tests.sim.world.knobs import Knobs
from tests.sim.world.world import World

DEFAULT = Knobs(watchdog="required")
WIDE = Knobs(watchdog="required", ttl=30.0, loop_wait=10.0, retry_timeout=10.0, safety_margin=-1)
LATE = Knobs(watchdog="automatic", safety_margin=1)


def resets(world: World) -> int:
    return sum(host.device.resets for host in world.hosts.values())


def running(s: Scene) -> list[str]:
    return [name for name, host in s.world.hosts.items() if host.device.runs]


@pytest.mark.parametrize("knobs", [DEFAULT, WIDE, LATE], ids=["default", "half the ttl", "late"])
def test_without_faults_only_the_leaders_timer_runs_and_none_ends(knobs: Knobs) -> None:
    async def script(s: Scene) -> None:
        leader, began = s.leader, s.now
        await s.wait(5 * knobs.ttl)
        assert (s.leader, s.leaders_since(began)) == (leader, [])
        assert running(s) == [leader]
        s.do("switchover", leader, other=s.standbys[0])
        await s.until(lambda: s.leader not in ("", leader), 3 * knobs.ttl)
        await s.until_whole()
        assert running(s) == [s.leader]
        s.do("terminate agent", s.leader)
        await s.wait(2 * knobs.ttl)
        await s.until_whole()
        assert running(s) == [s.leader]

    assert resets(play(script, knobs).world) == 0


@pytest.mark.parametrize("knobs", [DEFAULT, WIDE, LATE], ids=["default", "half the ttl", "late"])
def test_a_leader_that_loses_etcd_stops_postgresql_before_its_machine_would_be_reset(knobs: Knobs) -> None:
    async def script(s: Scene) -> None:
        leader, began = s.leader, s.now
        s.do("cut from etcd", leader, 3 * knobs.ttl)
        await s.until(lambda: leader not in running(s), knobs.ttl)
        assert s.host(leader).up
        await s.wait(3 * knobs.ttl)
        await s.until_whole()
        assert s.since(began, Fenced) == [], "the agent needed no guard for it"

    assert resets(play(script, knobs).world) == 0


@pytest.mark.parametrize("knobs", [DEFAULT, WIDE, LATE], ids=["default", "half the ttl", "late"])
def test_a_leader_whose_agent_stays_frozen_is_reset_and_comes_back_as_a_standby(knobs: Knobs) -> None:
    async def script(s: Scene) -> None:
        leader, began = s.leader, s.now
        s.do("freeze agent", leader, 2 * knobs.ttl)
        took = await s.until(lambda: not s.host(leader).up, knobs.ttl)
        assert took < knobs.ttl
        await s.until(lambda: s.leader not in ("", leader), 2 * knobs.ttl)
        await s.wait(2 * knobs.ttl)
        await s.until_whole()
        assert s.leaders_since(began) == [s.leader]

    assert resets(play(script, knobs).world) == 1


def test_an_agent_killed_and_restarted_goes_on_with_the_timer_it_left() -> None:
    async def script(s: Scene) -> None:
        leader, pid, began = s.leader, s.pid(s.leader), s.now
        s.do("kill agent", leader, 2)
        await s.wait(30)
        assert (s.leader, s.pid(leader), s.leaders_since(began)) == (leader, pid, [])
        assert running(s) == [leader]

    assert resets(play(script, DEFAULT).world) == 0


def test_a_device_lost_in_a_pause_costs_the_lead_when_the_pause_ends() -> None:
    """The timer was stopped by the pause, so that the machine is not reset."""

    async def script(s: Scene) -> None:
        leader, began = s.leader, s.now
        s.do("pause", s.standbys[0], 30)
        await s.wait(5)
        s.do("watchdog device fails", leader, 90)
        await s.wait(20)
        assert s.acked_since(s.now - 2) == [leader]
        await s.until(lambda: s.leader not in ("", leader), 30)
        await s.until_whole()
        assert s.promotions_since(began) == [s.leader]
        assert running(s) == [s.leader]

    assert resets(play(script, DEFAULT).world) == 0


def test_a_device_lost_during_a_promotion_breaks_it_off() -> None:
    async def script(s: Scene) -> None:
        old, new, began = s.leader, s.standbys[0], s.now
        s.do("promotions hang", new, 60)
        s.do("switchover", old, other=new)
        await s.until(lambda: "promoting" in s.states_since(began, new), 10)
        await s.wait(0.5)
        s.do("watchdog device fails", new, 60)
        await s.until(lambda: s.leader not in ("", new), 15)
        await s.until(lambda: s.promotions_since(began) == [s.leader], 10)
        assert s.leader != new
        await s.wait(60)
        await s.until_whole()

    assert resets(play(script, DEFAULT).world) == 0


def test_device_and_postgresql_lost_while_pre_promote_runs_leave_the_key_to_another() -> None:
    async def script(s: Scene) -> None:
        old, new, began = s.leader, s.standbys[0], s.now
        s.host(new).hook = "hangs"
        s.do("switchover", old, other=new)
        await s.until(lambda: s.leader == new, 10)
        await s.wait(1)
        s.do("watchdog device fails", new, 60)
        s.do("kill postmaster", new)
        await s.until(lambda: s.leader not in ("", new), 15)
        await s.until(lambda: s.acked_since(s.now - 1) == [s.leader], 10)
        assert new not in s.promotions_since(began)
        await s.wait(60)
        await s.until_whole()

    assert resets(play(script, replace(DEFAULT, pre_promote=True)).world) == 0


def test_device_and_postgresql_lost_during_a_promotion_leave_the_key_to_another() -> None:
    async def script(s: Scene) -> None:
        old, new, began = s.leader, s.standbys[0], s.now
        s.when(becomes(new, "promoting"), "watchdog device fails", new, 60)
        s.when(becomes(new, "promoting"), "kill postmaster", new)
        s.do("switchover", old, other=new)
        await s.until(lambda: s.leader == new, 10)
        await s.until(lambda: s.leader not in ("", new), 15)
        await s.until(lambda: s.acked_since(s.now - 1) == [s.leader], 10)
        assert new not in s.promotions_since(began)
        await s.wait(60)
        await s.until_whole()

    assert resets(play(script, DEFAULT).world) == 0
