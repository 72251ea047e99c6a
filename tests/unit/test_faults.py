"""Every fault of the numbered list is cited by a test, or docs/guarantees.md says in a sentence why it is not."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
NUMBERS = range(1, 103)
CITATION = re.compile(r"\b[Ff]aults? (\d+(?:(?:,| and|, and) \d+)*)")
UNTESTED = re.compile(r"^\| (\d+) \| (\S.*\S) \|$", re.MULTILINE)


@cache
def cited() -> dict[int, set[str]]:
    """Each number that a test names as ``fault N`` or ``faults N, M and O``, and the files that do."""
    found: dict[int, set[str]] = {}
    for path in sorted((ROOT / "tests").rglob("*.py")):
        if path == Path(__file__):
            continue
        for match in CITATION.finditer(path.read_text()):
            for number in re.findall(r"\d+", match[1]):
                found.setdefault(int(number), set()).add(str(path.relative_to(ROOT)))
    return found


def untested() -> dict[int, str]:
    """The numbers that the page of guarantees owns up to, and its reasons."""
    section = (ROOT / "docs" / "guarantees.md").read_text().partition("## Faults without a test")[2]
    return {int(number): reason for number, reason in UNTESTED.findall(section.partition("\n## ")[0])}


def test_every_fault_is_cited_by_a_test_or_said_to_have_none() -> None:
    missing = [number for number in NUMBERS if number not in cited() and number not in untested()]
    assert missing == [], f"cite these in a test, or say in docs/guarantees.md why not: {missing}"


def test_what_is_tested_is_not_said_to_have_no_test() -> None:
    assert [number for number in untested() if number in cited()] == []


def test_no_test_cites_a_fault_that_is_none() -> None:
    assert [number for number in cited() if number not in NUMBERS] == []


def test_every_test_that_the_guarantees_name_is_there() -> None:
    """``file.py::test_name``; a name that was changed would leave a promise that nothing shows."""
    named = re.findall(r"`(test_\w+\.py)::(test_\w+)`", (ROOT / "docs" / "guarantees.md").read_text())
    assert len(named) > 20
    for file, test in named:
        found = [path for path in (ROOT / "tests").rglob(file) if f"def {test}(" in path.read_text()]
        assert found, f"docs/guarantees.md names {file}::{test}, which is not there"


def test_several_numbers_may_be_cited_at_once() -> None:
    found = [re.findall(r"\d+", match[1]) for match in CITATION.finditer("Faults 86, 87 and 90; fault 4.")]
    assert found == [["86", "87", "90"], ["4"]]
