"""The few facts that survive the agent."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from pathlib import Path

import pytest

from haagent.host.store import FileStore


async def test_what_was_saved_is_loaded_by_the_next_agent(tmp_path: Path) -> None:
    await FileStore(tmp_path).keep(term=7, watchdog=1234)
    assert FileStore(tmp_path).load() == {"term": 7, "watchdog": 1234}
    assert (tmp_path / "agent.json").stat().st_mode & 0o777 == 0o600


async def test_what_one_keeps_another_does_not_wipe_and_none_forgets(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    await asyncio.gather(store.keep(promised_s=10.1), store.keep(term=7), store.keep(watchdog=3))
    await store.keep(watchdog=None)
    assert store.load() == FileStore(tmp_path).load() == {"promised_s": 10.1, "term": 7}


@pytest.mark.parametrize("content", ["", "{", "[]", "\0"])
def test_a_broken_file_counts_as_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "agent.json").write_text(content)
    assert FileStore(tmp_path).load() == {}


async def test_a_disk_that_refuses_costs_a_warning_not_the_agent(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, logger="haagent.store"):
        await FileStore(tmp_path / "missing").keep(term=7)
    assert "can't be written" in caplog.text
    assert FileStore(tmp_path / "missing").load() == {}


async def test_a_disk_that_hangs_holds_up_nothing_but_its_thread(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Faults 49 and 50: the values count at once, and are written as soon as the disk answers."""
    monkeypatch.setattr("haagent.host.store.PATIENCE_S", 0.1)
    os.mkfifo(tmp_path / "agent.new")
    store, ticks = FileStore(tmp_path), 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    ticking = asyncio.create_task(tick())
    began = time.monotonic()
    await store.keep(term=7)
    assert time.monotonic() - began < 1
    assert ticks >= 5
    ticking.cancel()
    assert "hangs" in caplog.text
    assert store.load() == {"term": 7}
    assert await asyncio.to_thread((tmp_path / "agent.new").read_text) == '{"term": 7}'


async def test_a_disk_that_hangs_collects_no_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fault 50: what comes while a write hangs is written together, by the one after it."""
    monkeypatch.setattr("haagent.host.store.PATIENCE_S", 0.02)
    os.mkfifo(tmp_path / "agent.new")
    store, before = FileStore(tmp_path), threading.active_count()
    assert [await store.keep(term=term) for term in range(10)] == [False] * 10
    assert threading.active_count() - before == 2
    await asyncio.to_thread((tmp_path / "agent.new").read_text)
    monkeypatch.setattr("haagent.host.store.PATIENCE_S", 2)
    assert await store.keep(watchdog=1)
    assert FileStore(tmp_path).load() == {"term": 9, "watchdog": 1}
