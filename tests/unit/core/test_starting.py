"""A standby that starts for long is compared with the leader: it may wait for WAL that nobody has."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from haagent.core.actions import (
    ClearGuard,
    Compare,
    Configure,
    DisarmGuard,
    MoveAside,
    Plan,
    StartStandby,
    StopPostgres,
)
from haagent.core.decide import decide
from haagent.core.facts import Divergence, Goal, GuardFacts, JobFacts, PostgresFacts, View
from haagent.core.states import State
from haagent.core.terms import Timeline, later
from tests.builders import LSN, NOW, a_guard, a_lease, a_memory, a_primary, a_standby, a_view, some_settings, stopped

PARTED = Divergence("a", Timeline(2), Timeline(1), LSN, LSN, reason="parted")
GONE = replace(PARTED, wal_gone="this copy needs more than there is")


def starting(since_s: float = 30.0, postgres: PostgresFacts | None = None, **changes: Any) -> View:
    """PostgreSQL runs, and lets nobody in yet."""
    memory = a_memory(State.STARTING, since=later(NOW, -since_s), divergence=changes.pop("divergence", None))
    silent = replace(a_standby(), server=None)
    return a_view(postgres=postgres or silent, memory=memory, **changes)


def test_a_long_start_is_compared_with_the_leader_and_a_short_one_is_not() -> None:
    plan = decide(starting())
    assert plan.row == 485
    assert any(isinstance(action, Compare) for action in plan.actions)
    assert decide(starting(1.0)).row == 499


def test_one_that_is_found_starting_is_told_whom_to_stream_from() -> None:
    """It was started while nobody led, and the WAL that it waits for is the leader's."""
    found = replace(a_standby(), server=None, starting=True, data=replace(a_standby().data, standby_signal=True))
    view = a_view(postgres=found, memory=a_memory(State.FENCED))
    plan = decide(view)
    assert (plan.row, plan.memory.state) == (1029, State.STARTING)
    (configure,) = [action for action in plan.actions if isinstance(action, Configure)]
    assert configure.config.upstream is not None
    assert configure.config.upstream.name == "a"
    primary = replace(found, data=replace(found.data, standby_signal=False))
    assert decide(replace(view, postgres=primary)).row == 1030
    assert decide(replace(view, lease=a_lease())).row != 1029


def test_the_verdict_is_noted_and_a_start_that_is_only_slow_goes_on() -> None:
    same = Divergence("a", Timeline(1), Timeline(1), LSN, reason="both are on one timeline")
    plan = decide(starting(job=JobFacts("compare", NOW, done=True, result=same)))
    assert (plan.row, plan.memory.divergence) == (470, same)
    assert decide(starting(divergence=same)).row == 499


@pytest.mark.parametrize(("verdict", "row", "goal"), [(PARTED, 475, Goal.FOLLOW), (GONE, 472, Goal.REINIT)])
def test_one_that_has_parted_is_stopped_to_be_rewound_or_cloned(verdict: Divergence, row: int, goal: Goal) -> None:
    plan = decide(starting(divergence=verdict))
    assert (plan.row, plan.memory.state, plan.memory.goal) == (row, State.DEMOTING, goal)
    assert any(isinstance(action, StopPostgres) for action in plan.actions)
    paused = starting(divergence=verdict, settings=some_settings(pause=True))
    assert decide(paused).row == 499


def test_a_copy_that_can_never_be_consistent_is_moved_aside_when_found_stopped() -> None:
    memory = a_memory(State.FENCED, divergence=GONE)
    plan = decide(a_view(postgres=stopped(cluster_state="in archive recovery"), memory=memory))
    assert (plan.row, plan.memory.state) == (1057, State.VACANT)
    assert any(isinstance(action, MoveAside) for action in plan.actions)


def test_a_comparison_that_fails_is_made_again_later() -> None:
    failed = JobFacts("compare", NOW, done=True, error="no connection")
    plan = decide(starting(job=failed))
    assert plan.row == 480
    assert plan.memory.retry_at > NOW


def test_a_start_that_fails_again_is_compared_before_the_next() -> None:
    """PostgreSQL may refuse its own history each time; only the leader's tells so."""
    once = decide(a_view(postgres=stopped(), memory=a_memory(State.STARTING, divergence=PARTED)))
    assert (once.row, once.memory.start_failures, once.memory.divergence) == (430, 1, PARTED)
    twice = decide(a_view(postgres=stopped(), memory=a_memory(State.STARTING, start_failures=1, divergence=PARTED)))
    assert (twice.memory.start_failures, twice.memory.divergence) == (2, None)
    standby = replace(stopped(), data=replace(stopped().data, cluster_state="in archive recovery"))
    failed = a_view(postgres=standby, memory=a_memory(State.FENCED, start_failures=1))
    assert decide(failed).row == 1066
    plan = decide(replace(failed, memory=a_memory(State.FENCED, start_failures=2)))
    assert plan.row == 1072
    assert any(isinstance(action, Compare) for action in plan.actions)


@pytest.mark.parametrize("guard", [GuardFacts(), a_guard(permit_s=4)], ids=["not met", "armed"])
@pytest.mark.parametrize(("state", "job"), [(State.CLONING, "clone"), (State.REWINDING, "rewind")])
def test_a_guard_of_the_past_is_disarmed_before_the_start_unless_something_may_be_writable(
    guard: GuardFacts, state: State, job: str
) -> None:
    """A program that makes copies, or other hands, may have left PostgreSQL running."""

    def plan(postgres: PostgresFacts) -> Plan:
        done = JobFacts(job, later(NOW, -5.0), done=True)
        return decide(a_view(postgres=postgres, guard=guard, job=done, memory=a_memory(state)))

    started = [type(action) for action in plan(stopped()).actions]
    assert started.index(DisarmGuard) < started.index(ClearGuard) < started.index(StartStandby)
    for left in (a_primary(), replace(stopped(), orphans=1)):
        assert DisarmGuard not in [type(action) for action in plan(left).actions]
