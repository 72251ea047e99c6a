"""Two primaries may make timelines of one number: the one that nobody streamed from must not follow the other."""

from __future__ import annotations

from dataclasses import replace

from haagent.core import orders, publish
from haagent.core.actions import MoveAside, Promote, Remember, StopPostgres
from haagent.core.conditions import twin, upstream
from haagent.core.decide import decide
from haagent.core.facts import DataKind, Settings, View
from haagent.core.states import State
from haagent.core.terms import Timeline
from tests.builders import NOW, a_cluster, a_guard, a_lease, a_member, a_memory, a_standby, a_view, stopped


def a_view_of(leader_timeline: int | None, made: int | None, *, running: bool = True) -> View:
    """Node b, on timeline 2, while ``a`` leads; ``made`` is what b's own promotion made."""
    leader = a_member("a", timeline=leader_timeline or 1)
    if leader_timeline is None:
        leader = replace(leader, timeline=None, role="replica")
    postgres = a_standby(timeline=2) if running else stopped(DataKind.VALID, timeline=Timeline(2))
    state = State.STANDBY if running else State.FENCED
    return replace(
        a_view(cluster=a_cluster(leader, a_member("b"), leader="a"), postgres=postgres),
        memory=a_memory(state, made=None if made is None else Timeline(made)),
    )


def test_a_timeline_of_the_same_number_is_not_followed() -> None:
    assert twin(a_view_of(2, made=2))
    assert upstream(a_view_of(2, made=2)) is None
    plan = decide(a_view_of(2, made=2))
    assert plan.row == 574
    assert any(isinstance(action, StopPostgres) for action in plan.actions)


def test_nothing_is_followed_before_the_leader_shows_its_timeline() -> None:
    assert upstream(a_view_of(None, made=2)) is None


def test_later_timelines_and_those_of_others_are_followed() -> None:
    for view in (a_view_of(3, made=2), a_view_of(2, made=None), a_view_of(2, made=1)):
        assert not twin(view)
        assert upstream(view) is not None


def test_the_copy_is_moved_aside_only_where_the_operator_said_so() -> None:
    kept = decide(a_view_of(2, made=2, running=False))
    assert kept.memory.state is State.FAILED
    assert not any(isinstance(action, MoveAside) for action in kept.actions)
    allowed = replace(
        a_view_of(2, made=2, running=False), settings=Settings(remove_data_directory_on_diverged_timelines=True)
    )
    assert any(isinstance(action, MoveAside) for action in decide(allowed).actions)


def test_a_promotion_is_noted_before_it_happens() -> None:
    view = replace(
        a_view(postgres=a_standby(timeline=2), lease=a_lease(), guard=a_guard()), memory=a_memory(State.CANDIDATE)
    )
    actions = orders.promote(view).actions
    noted = next(i for i, one in enumerate(actions) if one == Remember(Timeline(3)))
    assert noted < next(i for i, one in enumerate(actions) if isinstance(one, Promote))


def test_a_new_copy_forgets() -> None:
    view = replace(a_view_of(3, made=2), memory=a_memory(State.CLONING, made=Timeline(2), since=NOW))
    started = orders.start_clone(view)
    assert Remember(None) in started.actions
    assert started.memory["made"] is None
    assert publish.followed(view)
