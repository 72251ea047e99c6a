"""Implements ``ports.Watchdog``: one device, in the hands of one thread, so that a slow driver stalls nobody.

Laws: a keepalive follows only from a proven renewal; none reaches past the end of the lease that it stands for, so a
late answer of etcd buys less time; whatever fails leaves the timer running, unless PostgreSQL was seen not writable.
"""

from __future__ import annotations

import asyncio
import logging
import math
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import partial

from haagent.core.facts import WatchdogFacts
from haagent.core.lease import MIN_TTL
from haagent.core.terms import Instant
from haagent.ports import Clock, Refused, Unknown
from haagent.watchdog.drivers import DRIVERS, Driver, objection, words

log = logging.getLogger("haagent.watchdog")

LOOK_EVERY_S = 1.0
"""How often at most an unopened device is looked at."""
STICKY_S = 60.0
"""How long a device that could not be opened is taken for unusable, though nothing is to be seen from outside."""
REPEAT_S = 60.0
"""How often the same complaint is repeated."""


@dataclass(frozen=True, slots=True)
class WatchdogSettings:
    """The section ``watchdog`` of the file."""

    mode: str = "off"
    device: str = "/dev/watchdog"
    driver: str = "default"
    safety_margin: int = 5

    def timeout_for(self, ttl: float) -> int:
        """Whole seconds after the last keepalive at which the machine is reset; Refused when that is too soon.

        Always before the ttl's end: a margin of 0 leaves as much as whole seconds can say.
        """
        half = self.safety_margin < 0
        seconds = int(ttl) // 2 if half else min(int(ttl) - self.safety_margin, math.ceil(ttl) - 1)
        if seconds >= MIN_TTL:
            return seconds
        advice = f"to {2 * MIN_TTL:g} s, or set a watchdog.safety_margin" if half else "or lower watchdog.safety_margin"
        raise Refused(
            f"a ttl of {ttl:g} s with watchdog.safety_margin {self.safety_margin} leaves the device {seconds} s; it "
            f"must have at least {MIN_TTL:g}: raise ttl{' ' if half else ', '}{advice}"
        )


class DeviceWatchdog:
    """``settings`` may be replaced at any time; ``left`` tells that an earlier agent left the timer running."""

    def __init__(self, settings: WatchdogSettings, clock: Clock, *, left: bool = False) -> None:
        self.settings = settings
        self._clock = clock
        self._driver: Driver | None = None
        self._facts = WatchdogFacts(left=left)
        self._asked_s = 0
        self._looked_at = Instant(float("-inf"))
        self._said, self._said_at = "", Instant(0.0)
        self._next: tuple[Instant, float] | None = None
        self._jobs: queue.SimpleQueue[tuple[Future[None], Callable[[], None]]] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def facts(self) -> WatchdogFacts:
        """As last known; an unopened device is looked at from outside now and then."""
        known, mode = self._facts, self.settings.mode
        if known.open or mode == "off":
            return replace(known, mode=mode, why="" if mode == "off" else known.why)
        now = self._clock.now()
        fresh = known.failed_at is not None and now - known.failed_at < STICKY_S
        if not fresh and now - self._looked_at >= LOOK_EVERY_S:
            self._looked_at = now
            why = objection(self.settings.device, self.settings.driver)
            absent = (known.absent_since or now) if why else None
            self._facts = known = replace(known, device=self.settings.device, why=why, absent_since=absent)
        return replace(known, mode=mode)

    async def open(self, ttl: float, timeout: float) -> None:
        """Start the timer, or take over the one that an earlier agent left; Refused only where it is required."""
        try:
            await self._do(partial(self._open, self.settings, ttl), timeout)
        except (Refused, Unknown) as why:
            self._complain(str(why))
            if isinstance(why, Unknown) and not self._facts.open:  # should it open after all, that replaces this
                self._note_failure(str(why))
            if self.settings.mode == "required":
                raise

    def feed(self, until: Instant, ttl: float) -> None:
        """A renewal was proven: the lease ends at ``until``, and its ttl is this. Never blocks."""
        if not self._facts.open:
            return
        waiting, self._next = self._next, (until, ttl)
        if waiting is None:
            self._submit(self._feed)

    async def close(self, timeout: float) -> None:
        """Stop the timer: PostgreSQL is not writable, or the cluster paused."""
        left, settings = self._facts.left, self.settings
        self._facts = replace(self._facts, open=False, left=False, timeout_s=None)
        await self._do(partial(self._close, settings, left), timeout)

    # --- in the thread -----------------------------------------------------------------------------------------------

    def _open(self, settings: WatchdogSettings, ttl: float) -> None:
        if self._driver is not None:
            return
        try:
            self._asked_s = settings.timeout_for(ttl)
            self._driver = DRIVERS[settings.driver](settings.device)
            granted = self._driver.set_timeout(self._asked_s)
            self._check(settings, granted, ttl)
        except (OSError, Refused) as error:
            why = words(settings.device, error) if isinstance(error, OSError) else str(error)
            self._fail(why, farewell=True)
            raise Refused(why) from None
        log.info(
            "the watchdog device %s is open: it resets this machine %d s after the last proven renewal of the lease%s",
            settings.device,
            granted,
            "" if self._driver.stoppable else "; it can't be stopped again (nowayout), also not for a demotion",
        )
        if not self._driver.stoppable:
            log.warning(
                "%s can't be stopped once it is open: a demotion or an end of this agent resets the machine; load its "
                "driver with nowayout=0",
                settings.device,
            )
        self._facts = WatchdogFacts(settings.mode, settings.device, True, granted)

    def _check(self, settings: WatchdogSettings, granted: int, ttl: float) -> None:
        if granted < ttl:
            return
        text = (
            f"{settings.device} granted {granted} s instead of {self._asked_s} s, and a ttl of {ttl:g} s allows less "
            f"than that: it would reset this machine after another node may lead; raise ttl above {granted} s, or use "
            f"another driver"
        )
        if settings.mode == "required":
            raise Refused(text)
        self._complain(text)

    def _feed(self) -> None:
        told, self._next = self._next, None
        driver, settings = self._driver, self.settings
        if driver is None or told is None:
            return
        until, ttl = told
        try:
            full_s = settings.timeout_for(ttl)
            left_s = min(full_s, int(until - self._clock.now()))
            if left_s < 1:
                return
            if left_s != self._asked_s:
                self._asked_s = left_s
                granted = driver.set_timeout(left_s)
                if left_s == full_s and granted != self._facts.timeout_s:
                    self._check(settings, granted, ttl)
                    self._facts = replace(self._facts, timeout_s=granted)
            driver.beat()
        except Refused as why:
            self._fail(str(why), farewell=True)
        except OSError as error:
            self._fail(f"no keepalive: {words(settings.device, error)}", farewell=False)

    def _close(self, settings: WatchdogSettings, left: bool) -> None:
        driver = self._driver
        try:
            if driver is None and left:
                driver = DRIVERS[settings.driver](settings.device)
            if driver is not None:
                self._driver = None
                driver.stop()
                log.info("the watchdog device %s is stopped", settings.device)
        except OSError as error:
            raise Refused(
                f"the timer could not be stopped and may reset this machine: {words(settings.device, error)}"
            ) from None

    def _fail(self, why: str, *, farewell: bool) -> None:
        driver, self._driver = self._driver, None
        if driver is not None:
            try:
                (driver.stop if farewell else driver.drop)()
            except OSError as error:
                why += f"; nor could it be closed: {error.strerror}"
            self._complain(why)
        left = driver is not None and not farewell
        self._facts = replace(self._facts, open=False, left=left, timeout_s=None)
        self._note_failure(why)

    def _note_failure(self, why: str) -> None:
        now = self._clock.now()
        since = self._facts.absent_since or now
        self._facts = replace(self._facts, why=why, failed_at=now, absent_since=since)

    def _complain(self, why: str) -> None:
        now = self._clock.now()
        if why != self._said or now - self._said_at >= REPEAT_S:
            self._said, self._said_at = why, now
            log.warning("the watchdog device does not protect this node: %s", why)

    # --- the thread --------------------------------------------------------------------------------------------------

    async def _do(self, work: Callable[[], None], timeout: float) -> None:
        try:
            await asyncio.wait_for(asyncio.wrap_future(self._submit(work)), timeout)
        except TimeoutError:
            raise Unknown(f"{self.settings.device} has not answered for {timeout:g} s: its driver hangs") from None

    def _submit(self, work: Callable[[], None]) -> Future[None]:
        done: Future[None] = Future()
        self._jobs.put((done, work))
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="watchdog device", daemon=True)
            self._thread.start()
        return done

    def _work(self) -> None:
        while True:
            done, work = self._jobs.get()
            if not done.set_running_or_notify_cancel():
                continue
            try:
                work()
            except Refused as error:
                done.set_exception(error)
            else:
                done.set_result(None)
