"""Places for nodes, and one template of a data directory for the whole run with a server on a copy for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.contract.pgnode import a_home, ordinary_user
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


@pytest.fixture
async def home() -> AsyncIterator[Path]:
    """A directory for nodes of an ordinary user."""
    with ordinary_user():
        async with a_home() as path:
            yield path
