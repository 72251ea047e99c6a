"""What the table makes of trouble that passes: nothing is thrown away for it, and nobody is stuck because of it."""

from __future__ import annotations

from dataclasses import replace

from haagent.core.actions import MoveAside, Plan
from haagent.core.decide import decide
from haagent.core.facts import DataKind, JobFacts, View
from haagent.core.states import State
from tests.builders import NOW, a_memory, a_view, stopped


def state_after(plan: Plan) -> State:
    return plan.memory.state


def a_failed_clone(kind: DataKind) -> View:
    job = JobFacts("clone", NOW, done=True, error="it is not empty: it is not cloned over")
    return a_view(memory=a_memory(State.CLONING), postgres=stopped(kind), job=job)


def test_a_failed_clone_leaves_data_alone_that_it_did_not_write() -> None:
    for kind in DataKind:
        plan = decide(a_failed_clone(kind))
        moved = any(isinstance(action, MoveAside) for action in plan.actions)
        assert moved is (kind is DataKind.UNFINISHED), kind


def test_a_disk_that_does_not_answer_is_waited_for() -> None:
    for state in (State.FENCED, State.VACANT):
        assert state_after(decide(a_view(memory=a_memory(state), postgres=stopped(DataKind.UNKNOWN)))) is state
    found = a_view(memory=a_memory(State.VACANT), postgres=stopped())
    assert state_after(decide(found)) is State.FENCED
    gone = replace(found, memory=a_memory(State.FENCED), postgres=stopped(DataKind.ABSENT))
    assert state_after(decide(gone)) is State.VACANT
