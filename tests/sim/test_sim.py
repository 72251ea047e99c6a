"""Production agents in simulated worlds: known seeds, a few fresh ones, and one seed that is always one run."""

from __future__ import annotations

import asyncio
import hashlib
import os
import sys
from dataclasses import replace

import pytest

from haagent.core.terms import Lsn
from tests.sim import faults, plan
from tests.sim.faults import KINDS, Deed
from tests.sim.mutants.edits import MUTANTS, applied
from tests.sim.plan import deeds_of, only
from tests.sim.simulation import Result, Simulation, shorten
from tests.sim.world.events import Committed
from tests.sim.world.knobs import Knobs, draw

FIXED = (1, 2, 5, 12, 34, 144, 300)
"""Of these some have once shown a bug."""
ELSEWHERE = (1, 3, 8)


def _said(result: Result) -> str:
    told = [*result.crash_reports, *result.violations[:5]]
    told += [str(deed) for deed in result.deeds]
    told.append(f"python -m tests.sim.run --seed {result.seed}")
    return "\n".join(told)


@pytest.mark.parametrize("seed", FIXED)
def test_no_invariant_is_broken_on_a_known_seed(seed: int) -> None:
    result = Simulation(seed, keep_lines=False).run()
    assert result.ok, _said(result)
    assert result.commits > 50


@pytest.mark.parametrize("seed", ELSEWHERE)
def test_a_standby_cluster_keeps_the_invariants_and_is_never_writable(seed: int) -> None:
    result = Simulation(seed, knobs=replace(draw(seed), elsewhere=True), keep_lines=False).run()
    assert result.ok, f"{_said(result)} --elsewhere"
    assert result.rows[1399] > 20


async def _digest(hash_seed: str) -> str:
    """What a process with that order of its sets prints for one seed."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.sim.run", "--seed", "15"),
        env=os.environ | {"PYTHONHASHSEED": hash_seed},
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    printed, _ = await process.communicate()
    assert len(printed) > 10_000
    return hashlib.sha256(printed).hexdigest()


async def test_a_seed_is_one_run_whatever_the_process() -> None:
    assert await _digest("1") == await _digest("2")


def test_the_deeds_of_a_seed_are_its_own_and_use_every_kind() -> None:
    assert faults.draw(7, draw(7), 0, 360) == faults.draw(7, draw(7), 0, 360)
    drawn = {
        deed.kind for seed in range(60) for deed in faults.draw(seed, Knobs(fence=True, failsafe_mode=True), 0, 360)
    }
    assert drawn == set(KINDS) - {"WAL recycled", "suspend host"}, "which only scenarios do"


def test_bursts_and_calm_leave_sixty_faults_an_hour_and_more() -> None:
    hours = faults_drawn = 0.0
    for seed in range(1, 61):
        knobs = draw(seed)
        drawn = plan.draw(seed, knobs, 3600 * plan.hours_for(knobs))
        assert drawn == plan.draw(seed, knobs, 3600 * plan.hours_for(knobs))
        settling_s = len(drawn) * (plan.SETTLE_TTLS * knobs.ttl + plan.SETTLE_S)
        hours += (sum(burst.seconds + burst.calm_s for burst in drawn) + settling_s) / 3600
        faults_drawn += len(deeds_of(drawn))
    assert faults_drawn / hours > 60


def test_of_a_plan_only_some_deeds_by_their_numbers() -> None:
    drawn = plan.draw(5, Knobs(), 7200)
    deeds = deeds_of(drawn)
    chosen = only(drawn, [0, len(deeds) - 1])
    assert deeds_of(chosen) == [deeds[0], deeds[-1]]
    assert all(burst.deeds for burst in chosen)
    assert deeds_of(only(drawn, [])) == []


def test_without_the_commit_fence_agent_and_guard_are_never_blind_at_once() -> None:
    knobs = Knobs(ttl=10.0, restart_after=1.0)
    deeds = [Deed(40, "freeze agent", "a", 30), Deed(60, "kill guard", "a"), Deed(95, "kill guard", "a")]
    assert faults.legal(deeds, knobs) == [deeds[0], deeds[2]]


def test_in_failsafe_mode_etcd_loses_no_data_while_a_primary_may_be_without_it() -> None:
    deeds = [Deed(40, "cut from etcd", "a", 30), Deed(80, "etcd wiped", "etcd"), Deed(95, "etcd wiped", "etcd")]
    assert faults.legal(deeds, Knobs(ttl=10.0, failsafe_mode=True)) == [deeds[0], deeds[2]]
    assert faults.legal(deeds, Knobs(ttl=10.0)) == deeds


def test_a_failing_plan_is_shortened_to_what_it_needs() -> None:
    guardless = next(one for one in MUTANTS if one.name == "guard removed")
    deeds = [
        Deed(40, "etcd compacts", "etcd"),
        Deed(45, "cut", "b", 2, "c"),
        Deed(50, "freeze agent", "leader", 60),
        Deed(120, "kill guard", "b"),
    ]
    with applied(guardless):
        long = Simulation(1, knobs=Knobs(), deeds=deeds).run()
        short = shorten(long)
        again = Simulation(1, knobs=Knobs(), deeds=deeds, only=short.only).run()
    assert not long.ok
    assert again.violations == short.violations
    assert [deed.kind for deed in short.deeds] == ["freeze agent"]
    assert Simulation(1, knobs=Knobs(), deeds=deeds).run().ok


def test_an_event_is_one_line_in_fixed_columns() -> None:
    line = Committed(1.5, "a", 7, 8, 1, Lsn(16), 1, True, 9.0).line()
    assert line.startswith("      1.5000  a         Committed     commit=7 uid=8 timeline=1 lsn=0/10")
