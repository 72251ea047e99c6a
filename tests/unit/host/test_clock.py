"""Fault 57: whatever counts a permit counts by CLOCK_BOOTTIME, which alone goes on while the machine is suspended."""

from __future__ import annotations

import os
import re
import select
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from haagent.guard import main as guard
from haagent.guard.watch import Watch
from haagent.host.clock import BoottimeClock
from haagent.postgres import adapter

ROOT = Path(__file__).parents[3]
READ_AT = 12345.5
KERNELS_BOOTTIME = 7
"""CLOCK_BOOTTIME in include/uapi/linux/time.h."""


@pytest.mark.parametrize("now", [BoottimeClock().now, guard.now, adapter.boottime], ids=["agent", "guard", "postgres"])
def test_agent_and_guard_read_the_clock_that_goes_on(now: Callable[[], float], monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes compare these instants, so that they must be of one clock as well."""
    clocks = {time.CLOCK_BOOTTIME: READ_AT}
    monkeypatch.setattr(time, "clock_gettime", clocks.__getitem__)
    assert now() == READ_AT


def test_the_guards_timer_is_due_at_an_instant_of_that_clock(tmp_path: Path) -> None:
    """A timer of CLOCK_MONOTONIC, or poll's own timeout, would wake it as late as the machine slept."""
    with socket.socket(socket.AF_UNIX) as listener, _ready() as awake:
        scribe = guard.Scribe(str(tmp_path / "marker"))
        made = guard.Guard(listener, str(tmp_path), 1.0, Watch(0, None, None), scribe)
        made.poll.register(awake, select.POLLIN)
        made._sleep(guard.now() + 3600)
        told = Path(f"/proc/self/fdinfo/{made.timer}").read_text()
        os.close(made.timer)
    fields = dict(re.findall(r"^(\w[\w ]*):\s*(.*)$", told, re.MULTILINE))
    assert int(fields["clockid"]) == KERNELS_BOOTTIME
    assert int(fields["settime flags"]) == guard.TFD_TIMER_ABSTIME
    assert 3590 < int(fields["it_value"].strip("()").split(",")[0]) <= 3600


def _ready() -> socket.socket:
    """Something that poll finds readable at once."""
    one, other = socket.socketpair()
    other.close()
    return one


def test_the_commit_fence_reads_no_other_clock() -> None:
    """What PostgreSQL counts by, the wall clock, is changed by hands and by NTP."""
    source = (ROOT / "fence" / "haagent_fence.c").read_text()
    code = re.sub(r"/\*.*?\*/", "", source, flags=re.DOTALL)
    assert re.findall(r"clock_gettime\((\w+)", code) == ["CLOCK_BOOTTIME"]
    assert re.findall(r"\b(?:GetCurrent\w*Timestamp\w*|gettimeofday|time|clock|INSTR_TIME_\w+) ?\(", code) == []
