"""Trouble that lasts is said at once, now and then, and when it is over."""

from __future__ import annotations

import logging

import pytest

from haagent.agent.lasting import AGAIN_S, Lasting
from tests.unit.dcs.a_clock import AClock


def test_trouble_is_said_now_and_then_with_its_age(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    clock = AClock()
    trouble = Lasting(logging.getLogger("trial"), clock, "etcd answers again")

    trouble.is_over()
    trouble.goes_on("etcd is silent")
    trouble.goes_on("etcd is silent")
    clock.at += AGAIN_S
    trouble.goes_on("etcd is still silent")
    clock.at += 1
    trouble.is_over()
    trouble.is_over()
    trouble.goes_on("silent once more")

    assert [record.getMessage() for record in caplog.records] == [
        "etcd is silent",
        "etcd is still silent (for 15 s now, 3 times)",
        "etcd answers again after 16.0 s (3 times)",
        "silent once more",
    ]
