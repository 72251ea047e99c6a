"""The watchdog device over a FIFO, and the numbers of the kernel's interface against its own header.

The kernel's device itself is not opened here: it would reset the machine that runs the tests.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import subprocess
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from haagent.core.terms import Instant
from haagent.ports import Refused, Unknown
from haagent.watchdog import drivers
from haagent.watchdog.device import DeviceWatchdog, WatchdogSettings
from tests.real import waiting

TTL, MARGIN = 10.0, 4
HEADER = """
#include <stdio.h>
#include <linux/watchdog.h>
int main(void) {
    printf("%u %u %u %u %u", WDIOC_GETSUPPORT, WDIOC_SETTIMEOUT, WDIOC_GETTIMEOUT, WDIOF_SETTIMEOUT, WDIOF_MAGICCLOSE);
}
"""


class RealClock:
    def now(self) -> Instant:
        return Instant(waiting.now())

    def wall(self) -> float:
        raise AssertionError("no deadline is counted by the wall clock")


class Machine:
    """Whoever reads the FIFO, in place of the kernel."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.path = path
        self.end: int | None = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        self.heard = ""

    def listen(self) -> str:
        assert self.end is not None
        with contextlib.suppress(BlockingIOError):
            self.heard += os.read(self.end, 1 << 20).decode()
        return self.heard

    async def hears(self, what: str) -> None:
        until = waiting.now() + 10
        while not re.fullmatch(what, self.listen()):
            assert waiting.now() < until, f"heard {self.heard!r}, not {what!r}"
            await asyncio.sleep(0.01)

    def leave(self) -> None:
        if self.end is not None:
            os.close(self.end)
            self.end = None


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    machine = Machine(tmp_path / "device")
    yield machine
    machine.leave()


@pytest.fixture
def settings(machine: Machine) -> WatchdogSettings:
    return WatchdogSettings("required", str(machine.path), "testing", MARGIN)


@pytest.fixture
async def watchdog(settings: WatchdogSettings) -> AsyncIterator[DeviceWatchdog]:
    watchdog = DeviceWatchdog(settings, RealClock())
    yield watchdog
    await watchdog.close(1)


def lease_end(seconds: float = TTL) -> Instant:
    return Instant(waiting.now() + seconds)


async def test_opened_fed_and_stopped(watchdog: DeviceWatchdog, machine: Machine) -> None:
    await watchdog.open(TTL, 1)
    assert (watchdog.facts().open, watchdog.facts().timeout_s) == (True, 6)
    for beats in (1, 2, 3):
        watchdog.feed(lease_end(), TTL)
        await machine.hears(r"Ctimeout=6\n" + "1" * beats)
    await watchdog.close(1)
    await machine.hears(r"Ctimeout=6\n111V")
    assert not watchdog.facts().open
    watchdog.feed(lease_end(), TTL)
    await asyncio.sleep(0.05)
    await machine.hears(r"Ctimeout=6\n111V")


async def test_another_ttl_sends_another_timeout(watchdog: DeviceWatchdog, machine: Machine) -> None:
    await watchdog.open(TTL, 1)
    watchdog.feed(lease_end(30), 30.0)
    await machine.hears(r"Ctimeout=6\nCtimeout=26\n1")
    assert watchdog.facts().timeout_s == 26


async def test_a_late_answer_buys_less_time_and_one_too_late_none(watchdog: DeviceWatchdog, machine: Machine) -> None:
    await watchdog.open(TTL, 1)
    watchdog.feed(lease_end(3.9), TTL)
    await machine.hears(r"Ctimeout=6\nCtimeout=3\n1")
    watchdog.feed(lease_end(0.5), TTL)
    await asyncio.sleep(0.05)
    watchdog.feed(lease_end(), TTL)
    await machine.hears(r"Ctimeout=6\nCtimeout=3\n1Ctimeout=6\n1")
    assert watchdog.facts().timeout_s == 6


async def test_a_ttl_that_leaves_too_little_is_refused_and_the_running_timer_stopped(
    watchdog: DeviceWatchdog, machine: Machine
) -> None:
    with pytest.raises(Refused, match="leaves the device 1 s"):
        await watchdog.open(5.0, 1)
    await watchdog.open(TTL, 1)
    watchdog.feed(lease_end(5), 5.0)
    await machine.hears(r"Ctimeout=6\nV")
    assert "leaves the device 1 s" in watchdog.facts().why


async def test_without_anybody_to_hear_it_is_refused_where_required_and_told_where_not(
    settings: WatchdogSettings, machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    machine.leave()
    required = DeviceWatchdog(settings, RealClock())
    with pytest.raises(Refused, match="nobody reads from it"):
        await required.open(TTL, 1)
    assert required.facts().absent_since is not None
    automatic = DeviceWatchdog(replace(settings, mode="automatic"), RealClock())
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            await automatic.open(TTL, 1)
    said = [record for record in caplog.records if "does not protect this node" in record.message]
    assert len(said) == 2, "each device says it once, not at every try"
    assert "nobody reads from it" in automatic.facts().why


async def test_lost_on_the_way_it_says_so_and_a_later_try_takes_over(
    watchdog: DeviceWatchdog, machine: Machine
) -> None:
    await watchdog.open(TTL, 1)
    machine.leave()
    watchdog.feed(lease_end(), TTL)
    for _ in range(500):
        if not watchdog.facts().open:
            break
        await asyncio.sleep(0.01)
    facts = watchdog.facts()
    assert (facts.open, facts.left) == (False, True)
    assert "no keepalive" in facts.why
    machine.end = os.open(machine.path, os.O_RDONLY | os.O_NONBLOCK)
    await watchdog.open(TTL, 1)
    assert (watchdog.facts().open, watchdog.facts().why) == (True, "")


async def test_what_an_earlier_agent_left_running_can_be_stopped(settings: WatchdogSettings, machine: Machine) -> None:
    watchdog = DeviceWatchdog(settings, RealClock(), left=True)
    assert watchdog.facts().left
    await watchdog.close(1)
    await machine.hears("V")
    assert not watchdog.facts().left


async def test_a_driver_that_hangs_stalls_nobody(settings: WatchdogSettings, machine: Machine) -> None:
    """Opening a FIFO for writing alone blocks while nobody reads: as hung a driver as can be had."""
    machine.leave()
    drivers.DRIVERS["hanging"] = Hanging
    watchdog = DeviceWatchdog(replace(settings, driver="hanging"), RealClock())
    began = waiting.now()
    with pytest.raises(Unknown, match=r"has not answered for 0\.1 s: its driver hangs"):
        await watchdog.open(TTL, 0.1)
    watchdog.feed(lease_end(), TTL)
    assert waiting.now() - began < 2
    assert "its driver hangs" in watchdog.facts().why
    os.close(os.open(machine.path, os.O_RDONLY | os.O_NONBLOCK))


class Hanging(drivers.Fifo):
    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY)


@pytest.mark.parametrize(
    ("path", "driver", "why"),
    [
        ("/nowhere/watchdog", "default", "load its driver"),
        ("/etc/hostname", "default", "is no character device"),
        ("/dev/null", "testing", "is no FIFO"),
        ("/dev/null", "default", ""),
    ],
)
def test_what_shows_from_outside(path: str, driver: str, why: str) -> None:
    found = drivers.objection(path, driver)
    assert why in found
    assert bool(found) == bool(why)


async def test_a_character_device_that_is_no_watchdog_is_refused() -> None:
    watchdog = DeviceWatchdog(WatchdogSettings("required", "/dev/null", "default"), RealClock())
    with pytest.raises(Refused, match="/dev/null: Inappropriate ioctl"):
        await watchdog.open(30.0, 1)


def test_the_numbers_are_those_of_the_kernels_header(tmp_path: Path) -> None:
    source, program = tmp_path / "numbers.c", tmp_path / "numbers"
    source.write_text(HEADER)
    subprocess.run(["gcc", "-o", str(program), str(source)], check=True)
    printed = subprocess.run([program], capture_output=True, text=True, check=True).stdout
    ours = (
        drivers.WDIOC_GETSUPPORT,
        drivers.WDIOC_SETTIMEOUT,
        drivers.WDIOC_GETTIMEOUT,
        drivers.WDIOF_SETTIMEOUT,
        drivers.WDIOF_MAGICCLOSE,
    )
    assert [int(number) for number in printed.split()] == list(ours)
