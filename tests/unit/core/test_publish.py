"""What PostgreSQL is to be told; here, whether it loads the commit fence."""

from __future__ import annotations

from dataclasses import replace

import pytest

from haagent.core.facts import FenceFacts, View
from haagent.core.publish import fenced, server_config
from tests.builders import a_primary_view, a_view, some_settings

THERE = FenceFacts("auto", installed=True, page="/run/haagent/demo.page")
LIBRARIES = "shared_preload_libraries"


def loaded(fence: FenceFacts, libraries: str | None = None) -> str | None:
    """What PostgreSQL preloads on a node whose operator asks for these."""
    asked = {} if libraries is None else {LIBRARIES: libraries}
    return fenced(a_view(fence=fence), asked).get(LIBRARIES)


@pytest.mark.parametrize("mode", ["auto", "required"])
def test_the_fence_that_is_installed_is_loaded_and_told_its_page(mode: str) -> None:
    fence = replace(THERE, mode=mode)
    assert fenced(a_view(fence=fence), {"work_mem": "8MB"}) == {
        "work_mem": "8MB",
        LIBRARIES: "haagent_fence",
        "haagent_fence.page": THERE.page,
    }


@pytest.mark.parametrize("asked", [{}, {"work_mem": "8MB"}, {LIBRARIES: "pg_stat_statements, auto_explain"}])
@pytest.mark.parametrize(
    "fence",
    [
        replace(THERE, mode="off"),
        *(FenceFacts(mode, page=THERE.page, why="not there") for mode in ("auto", "required")),
    ],
    ids=["off", "missing", "missing though required"],
)
def test_what_is_off_or_missing_changes_nothing(fence: FenceFacts, asked: dict[str, str]) -> None:
    """PostgreSQL would not start at all with a library that is not there."""
    assert fenced(a_view(fence=fence), asked) == asked


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("", "haagent_fence"),
        ("  ", "haagent_fence"),
        ("pg_stat_statements", "haagent_fence, pg_stat_statements"),
        ("timescaledb, pg_stat_statements,auto_explain", "haagent_fence, timescaledb, pg_stat_statements,auto_explain"),
    ],
)
def test_the_operators_libraries_stay_in_their_order_behind_it(asked: str, expected: str) -> None:
    assert loaded(THERE, asked) == expected


def test_what_was_asked_for_is_left_as_it_was() -> None:
    asked = {LIBRARIES: "auto_explain"}
    fenced(a_view(fence=THERE), asked)
    assert asked == {LIBRARIES: "auto_explain"}


@pytest.mark.parametrize("view", [a_view(fence=THERE), a_primary_view(fence=THERE)], ids=["standby", "primary"])
def test_a_standby_loads_it_as_a_primary_does(view: View) -> None:
    """A library is loaded at the start only: a standby without it would be promoted unfenced."""
    view = replace(view, settings=some_settings(parameters={LIBRARIES: "auto_explain"}))
    told = server_config(view, None).parameters
    assert (told[LIBRARIES], told["haagent_fence.page"]) == ("haagent_fence, auto_explain", THERE.page)
    assert LIBRARIES not in server_config(replace(view, fence=FenceFacts(), settings=some_settings()), None).parameters
