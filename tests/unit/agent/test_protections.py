"""What the log says of what protects a primary: enough to be heard, and no more."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import pytest

from haagent.agent.protections import REPEAT_S, Protections
from haagent.core.facts import GuardFacts, View, WatchdogFacts
from haagent.core.states import State
from haagent.core.terms import later
from tests.builders import NOW, a_guard, a_memory, a_primary, a_primary_view, a_view, some_settings

BARE = a_primary_view(guard=GuardFacts())
GUARDED = a_primary_view()


def a_primary_with(*, fence: bool = False, guard: bool = False, device: bool = False, **changes: Any) -> View:
    return a_primary_view(
        **{
            "postgres": a_primary(fenced=fence),
            "guard": a_guard(permit_s=8.0) if guard else GuardFacts(),
            "watchdog": WatchdogFacts("automatic", "/dev/watchdog", open=device),
        }
        | changes
    )


class Listener:
    """Ticks of one node, and what each of them says."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO, "haagent.protection")
        self._caplog = caplog
        self._protections = Protections()

    def tick(self, view: View, state: State | None = None, after_s: float = 0.0) -> list[str]:
        """What is said then; ``state`` is what the plan makes of the node, where that is another."""
        self._caplog.clear()
        moved = replace(view, now=later(NOW, after_s))
        self._protections.noted(moved, state or view.state)
        return [f"{record.levelname} {record.getMessage()}" for record in self._caplog.records]


def test_a_primary_that_nothing_protects_is_warned_of_each_minute_and_no_more_often(
    caplog: pytest.LogCaptureFixture,
) -> None:
    listener = Listener(caplog)
    said = {after_s: listener.tick(BARE, after_s=after_s) for after_s in range(0, 181, 3)}
    assert [after_s for after_s, lines in said.items() if lines] == [0, 60, 120, 180]
    [line] = said[0]
    assert line.startswith("WARNING nothing would keep this primary from accepting commits past its permit")
    assert all(word in line for word in ("make -C fence install", "no guard", "watchdog.mode"))


def test_protection_that_comes_and_goes_does_not_bring_more_warnings(caplog: pytest.LogCaptureFixture) -> None:
    listener = Listener(caplog)
    warned = []
    for after_s in range(0, 120, 5):
        flickers = BARE if after_s % 10 == 0 else GUARDED
        if any(line.startswith("WARNING") for line in listener.tick(flickers, after_s=after_s)):
            warned.append(after_s)
    assert warned == [0, REPEAT_S]


def test_what_protects_is_said_once_and_again_when_it_changes(caplog: pytest.LogCaptureFixture) -> None:
    listener = Listener(caplog)
    guard, all_three = a_primary_with(guard=True), a_primary_with(fence=True, guard=True, device=True)
    ticks = (guard, guard, all_three, all_three, guard)
    said = [listener.tick(view, after_s=100.0 * number) for number, view in enumerate(ticks)]
    words = "INFO commits past the permit are prevented by: "
    everything = [f"{words}commit fence, guard, watchdog device"]
    assert said == [[f"{words}guard"], [], everything, [], [f"{words}guard"]]


@pytest.mark.parametrize("fence", [True, False])
def test_one_protection_alone_is_no_reason_to_warn(fence: bool, caplog: pytest.LogCaptureFixture) -> None:
    listener = Listener(caplog)
    [line] = listener.tick(a_primary_with(fence=fence, device=not fence))
    assert line == f"INFO commits past the permit are prevented by: {'commit fence' if fence else 'watchdog device'}"


@pytest.mark.parametrize("view", [BARE, GUARDED], ids=["bare", "guarded"])
def test_who_is_no_primary_in_service_says_nothing(view: View, caplog: pytest.LogCaptureFixture) -> None:
    """A promotion arms the guard first; a demotion is not the time for advice."""
    listener = Listener(caplog)
    assert listener.tick(view, State.DEMOTING) == []
    assert listener.tick(a_primary_view(guard=view.guard, memory=a_memory(State.PROMOTING)), State.PRIMARY) == []
    assert listener.tick(a_view(guard=GuardFacts())) == []


def test_a_paused_cluster_says_nothing_and_its_end_says_all_again(caplog: pytest.LogCaptureFixture) -> None:
    """In a pause nobody fences, so that what is there protects nothing."""
    listener = Listener(caplog)
    paused = some_settings(pause=True)
    assert len(listener.tick(GUARDED)) == 1
    assert listener.tick(a_primary_view(settings=paused), after_s=5) == []
    assert listener.tick(a_primary_with(settings=paused), after_s=100) == []
    assert listener.tick(GUARDED, after_s=105) == ["INFO commits past the permit are prevented by: guard"]


def test_a_leader_elsewhere_in_between_makes_it_said_again(caplog: pytest.LogCaptureFixture) -> None:
    listener = Listener(caplog)
    assert len(listener.tick(GUARDED)) == 1
    assert listener.tick(a_view(), after_s=5) == []
    assert len(listener.tick(GUARDED, after_s=10)) == 1
