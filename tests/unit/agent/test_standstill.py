"""What counts as a standstill."""

from __future__ import annotations

import asyncio

import pytest

from haagent.agent import standstill
from haagent.agent.standstill import Standstills
from tests.unit.dcs.a_clock import AClock


async def test_a_late_awakening_is_counted_once_and_said_with_its_length(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(standstill, "EVERY_S", 0.01)
    clock = AClock()
    watched = Standstills(clock)
    task = asyncio.create_task(watched.watch())
    for forward_s in (0.01, 0.9, 1.71, 0.01):
        await asyncio.sleep(0)
        clock.at += forward_s
        await asyncio.sleep(0.05)
    task.cancel()
    assert watched.count == 1
    assert [record.getMessage() for record in caplog.records] == [
        "the loop stood still for 1.7 s: this machine is overloaded or was paused"
    ]
