"""Waiting for something to become true, with a deadline that says what was waited for."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def now() -> float:
    """Seconds on CLOCK_BOOTTIME: one clock for every namespace of this machine, and the one that agents use."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def wait_until(condition: Callable[[], T | None], what: str, timeout_s: float, every_s: float = 0.05) -> T:
    """The first true value of the condition; AssertionError when none came in time.

    Exceptions of the usual kinds of "not yet" (OSError) count as not yet; the last one is named in the message.
    """
    deadline = now() + timeout_s
    last: object = None
    while True:
        try:
            last = condition()
        except OSError as error:
            last = error
        else:
            if last:
                return last
        if now() > deadline:
            raise AssertionError(f"waited {timeout_s:g} s in vain for: {what} (last seen: {last!r})")
        time.sleep(every_s)
