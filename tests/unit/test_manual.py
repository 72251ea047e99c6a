"""The manual's page of transitions says what the table says."""

from __future__ import annotations

from pathlib import Path

from haagent.core.transitions import TABLE
from haagent.manual import PAGE, page


def test_the_page_in_the_repository_is_up_to_date() -> None:
    root = Path(__file__).parents[2]
    assert (root / PAGE).read_text() == page(), "run `make generate`"


def test_every_row_is_on_the_page() -> None:
    text = page()
    assert all(f"| {row.id} |" in text and row.why in text for row in TABLE)
