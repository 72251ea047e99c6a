"""dsn and query: which member is meant, and how an answer is shown; real servers answer in tests/integration."""

from __future__ import annotations

import datetime

import pytest

from haagent.ctl.sql import Question, shown
from tests.builders import host_of
from tests.unit.ctl.world import World


@pytest.mark.parametrize(
    ("words", "node"),
    [((), "a"), (("-r", "leader"), "a"), (("-r", "replica"), "b"), (("-m", "c"), "c"), (("-r", "any"), "a")],
)
def test_dsn_of_a_member(words: tuple[str, ...], node: str) -> None:
    assert World().run("dsn", *words).output == f"host={host_of(node)} port=5432\n"


def test_a_member_that_runs_is_preferred() -> None:
    world = World()
    world.change_member("b", state="stopped")
    assert world.run("dsn", "-r", "replica").output == f"host={host_of('c')} port=5432\n"


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("-m", "z"), "no such member in cluster demo: z"),
        (("-r", "standby-leader"), "there is no standby-leader"),
        (("-r", "replica", "-m", "a"), "give --role or --member, not both"),
    ],
)
def test_nobody_is_meant(words: tuple[str, ...], text: str) -> None:
    result = World().run("dsn", *words)
    assert result.exit_code == 1
    assert text in result.output


def test_query_wants_sql() -> None:
    assert World().run("query").exit_code == 2
    assert World().run("query", "-c", "SELECT 1", "-f", "-").exit_code == 2


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ("tsv", "n\tday\n1\t2026-01-02\n2\t"),
        ("json", '[{"n": 1, "day": "2026-01-02"}, {"n": 2, "day": null}]'),
        ("yaml", "- day: '2026-01-02'\n  n: 1\n- day: null\n  n: 2"),
    ],
)
def test_how_rows_are_shown(form: str, text: str) -> None:
    rows = [(1, datetime.date(2026, 1, 2)), (2, None)]
    assert shown(["n", "day"], rows, Question("", form=form)) == text


def test_rows_as_a_table_and_with_another_delimiter() -> None:
    table = shown(["n"], [(1,)], Question("", form="table"))
    assert table.splitlines()[1] == "| n |"
    assert shown(["a", "b"], [(1, 2)], Question("", delimiter=";")) == "a;b\n1;2"
