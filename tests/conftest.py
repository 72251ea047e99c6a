"""What a whole run of the tests is told, and what it leaves out where it is not told."""

from __future__ import annotations

from pathlib import Path

import pytest

ROWS = "--rows-of-the-soak"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(ROWS, type=Path, help="how often a soak took each row of the table: a file that it wrote")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption(ROWS) is None:
        config.hook.pytest_deselected(items=[item for item in items if _asks_for_rows(item)])
        items[:] = [item for item in items if not _asks_for_rows(item)]


def _asks_for_rows(item: pytest.Item) -> bool:
    return "rows_of_the_soak" in getattr(item, "fixturenames", ())


@pytest.fixture
def rows_of_the_soak(request: pytest.FixtureRequest) -> Path:
    """The file of the option."""
    path: Path = request.config.getoption(ROWS)
    return path
