"""The few facts that survive the agent."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from haagent.host.store import FileStore


def test_what_was_saved_is_loaded_by_the_next_agent(tmp_path: Path) -> None:
    FileStore(tmp_path).save({"term": 7, "lease_id": 1234})
    assert FileStore(tmp_path).load() == {"term": 7, "lease_id": 1234}
    assert (tmp_path / "agent.json").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("content", ["", "{", "[]", "\0"])
def test_a_broken_file_counts_as_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "agent.json").write_text(content)
    assert FileStore(tmp_path).load() == {}


def test_a_disk_that_refuses_costs_a_warning_not_the_agent(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="haagent.store"):
        FileStore(tmp_path / "missing").save({"term": 7})
    assert "can't be written" in caplog.text
    assert FileStore(tmp_path / "missing").load() == {}
