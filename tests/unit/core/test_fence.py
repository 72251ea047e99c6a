"""What the table makes of a commit fence that is required: nobody comes to lead whose PostgreSQL has not loaded it."""

from __future__ import annotations

from haagent.core.actions import Promote, Resign, StartPrimary
from haagent.core.conditions import why_not_me
from haagent.core.decide import decide
from haagent.core.facts import FenceFacts, Goal, View
from haagent.core.states import State
from haagent.core.status import status
from haagent.core.terms import later
from tests.builders import (
    NOW,
    a_memory,
    a_primary,
    a_primary_view,
    a_standby,
    a_view,
    a_winner,
    some_settings,
    stopped,
)

REQUIRED = FenceFacts("required", installed=True)
AUTO = FenceFacts("auto", installed=True)
GONE = FenceFacts("required", why="haagent_fence.so is not installed for this PostgreSQL")


def kinds(view: View) -> list[type]:
    return [type(action) for action in decide(view).actions]


def test_a_standby_that_was_started_without_it_is_no_candidate_and_says_what_mends_it() -> None:
    view = a_view(fence=REQUIRED, postgres=a_standby(fenced=False))
    assert why_not_me(view) == "postgresql.commit_fence is required, but this PostgreSQL was started without it"
    assert status(view)["haagent"]["advice"].startswith("haagent-ctl restart demo b")
    assert why_not_me(a_view(fence=REQUIRED, postgres=a_standby(fenced=True))) is None
    assert why_not_me(a_view(fence=AUTO, postgres=a_standby(fenced=False))) is None


def test_what_an_old_look_at_a_server_said_of_it_bars_nobody() -> None:
    assert why_not_me(a_view(fence=REQUIRED, postgres=a_standby(fenced=False, stale=True))) is None


def test_whoever_won_the_key_without_it_gives_the_key_up() -> None:
    view = a_winner(fence=REQUIRED, postgres=a_standby(fenced=False))
    plan = decide(view)
    assert Promote not in kinds(view)
    assert Resign in kinds(view)
    assert plan.memory.state is State.STANDBY
    assert plan.memory.stand_back_until > NOW
    assert "was started without it" in plan.why
    assert Promote in kinds(a_winner(fence=REQUIRED, postgres=a_standby(fenced=True)))
    assert Promote in kinds(a_winner(fence=AUTO, postgres=a_standby(fenced=False)))


def test_a_running_primary_without_it_goes_on_and_says_so() -> None:
    """To end its service would protect nobody: a switchover or a restart at a time of the operator's choice does."""
    view = a_primary_view(fence=REQUIRED, postgres=a_primary(fenced=False))
    assert decide(view).memory.state is State.PRIMARY
    assert "was started without it" in status(view)["haagent"]["unfit"]
    assert status(view)["haagent"]["protection"] == ["guard"]


def test_a_crashed_primary_is_started_in_place_only_where_the_library_is_there() -> None:
    assert StartPrimary in kinds(a_primary_view(fence=REQUIRED, postgres=stopped()))
    crashed = a_primary_view(fence=GONE, postgres=stopped())
    assert StartPrimary not in kinds(crashed)
    assert decide(crashed).memory.state is State.FENCED


def test_a_restart_in_place_loads_it() -> None:
    memory = a_memory(State.DEMOTING, goal=Goal.RESTART, stop_mode="fast")
    assert StartPrimary in kinds(a_primary_view(fence=REQUIRED, memory=memory, postgres=stopped()))
    assert StartPrimary not in kinds(a_primary_view(fence=GONE, memory=memory, postgres=stopped()))


def test_in_a_paused_cluster_none_is_needed() -> None:
    view = a_primary_view(
        fence=GONE, settings=some_settings(pause=True), memory=a_memory(State.PRIMARY, since=later(NOW, -1))
    )
    assert decide(view).memory.state is State.PRIMARY
