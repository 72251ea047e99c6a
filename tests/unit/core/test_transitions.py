"""The table is whole: every state ends in a catch-all, no row is shadowed, every action has one handler."""

from __future__ import annotations

import inspect
import itertools

import pytest

from haagent.agent.perform import HANDLERS
from haagent.core import actions
from haagent.core.states import State
from haagent.core.transitions import TABLE, Row, rows_of

HUNDREDS = {
    State.VACANT: 1,
    State.INITIALIZING: 2,
    State.CLONING: 3,
    State.STARTING: 4,
    State.STANDBY: 5,
    State.CANDIDATE: 6,
    State.PROMOTING: 7,
    State.PRIMARY: 8,
    State.DEMOTING: 9,
    State.FENCED: 10,
    State.REWINDING: 11,
    State.FAILED: 12,
    State.STANDBY_LEADER: 13,
}


@pytest.mark.parametrize("state", State)
def test_every_state_ends_with_a_row_without_conditions(state: State) -> None:
    rows = rows_of(state)
    assert rows[-1].when == ()
    assert all(row.when for row in rows[:-1])


@pytest.mark.parametrize("state", State)
def test_rows_are_numbered_by_state_and_in_order(state: State) -> None:
    numbers = [row.id for row in rows_of(state)]
    assert numbers == sorted(set(numbers))
    assert {number // 100 for number in numbers} == {HUNDREDS[state]}


@pytest.mark.parametrize("state", State)
def test_no_row_is_shadowed_by_an_earlier_one_with_fewer_conditions(state: State) -> None:
    for earlier, later in itertools.combinations(rows_of(state), 2):
        names = {condition.__name__ for condition in later.when}
        assert not {condition.__name__ for condition in earlier.when} <= names, f"{earlier.id} shadows {later.id}"


def test_every_action_has_one_handler() -> None:
    known = {
        kind
        for kind in vars(actions).values()
        if inspect.isclass(kind) and issubclass(kind, actions.Action) and kind is not actions.Action
    }
    assert known == HANDLERS.keys()


@pytest.mark.parametrize("row", TABLE, ids=lambda row: str(row.id))
def test_every_row_says_why_in_one_sentence(row: Row) -> None:
    assert 7 < len(row.why) < 110
    assert not row.why.endswith(".")


def test_a_state_can_be_left_and_reached() -> None:
    entered = {row.to for row in TABLE if row.to is not row.state} | {State.FENCED}
    left = {row.state for row in TABLE if row.to is not row.state}
    assert entered == set(State)
    assert left == set(State)
