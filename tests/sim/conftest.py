"""The simulator silences haagent's logging; the tests of others need it."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    log = logging.getLogger("haagent")
    level = log.level
    yield
    log.setLevel(level)
