"""What the composition root does itself."""

from __future__ import annotations

import asyncio
import json
import os
import time
from pathlib import Path

import pytest

from haagent import app


async def test_a_start_without_etcd_knows_the_configuration_that_the_data_directory_keeps(tmp_path: Path) -> None:
    assert await app.last_known(str(tmp_path)) is None
    (tmp_path / app.DYNAMIC_COPY).write_text(json.dumps({"ttl": 20}))
    assert await app.last_known(str(tmp_path)) == {"ttl": 20}


async def test_a_data_disk_that_hangs_does_not_keep_the_agent_from_starting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fault 49."""
    monkeypatch.setattr(app, "DISK_S", 0.1)
    fifo = tmp_path / app.DYNAMIC_COPY
    os.mkfifo(fifo)
    began = time.monotonic()
    assert await app.last_known(str(tmp_path)) is None
    assert time.monotonic() - began < 1
    await asyncio.to_thread(fifo.write_text, "{}")
