"""One template of a PostgreSQL data directory for the whole run, and a server on a copy of it for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.server import Server, copy_of, template


@pytest.fixture(scope="session")
def data_template() -> Iterator[Path]:
    with template() as data_dir:
        yield data_dir


@pytest.fixture
def server(data_template: Path) -> Iterator[Server]:
    """Configured, not started."""
    with copy_of(data_template) as server:
        yield server
