"""What the log says of a trouble that lasts: at once, again now and then, and when it is over.

The log is a queue that drops lines rather than wait, so that the lease path may speak too.
"""

from __future__ import annotations

import logging

from haagent.core.terms import Instant
from haagent.ports import Clock

AGAIN_S = 15.0


class Lasting:
    """One kind of trouble; ``over_text`` is said when it ends."""

    def __init__(self, log: logging.Logger, clock: Clock, over_text: str) -> None:
        self._log, self._clock, self._over_text = log, clock, over_text
        self._since: Instant | None = None
        self._said_at = Instant(0.0)
        self._times = 0

    def goes_on(self, text: str) -> None:
        """It is there, or still there."""
        now = self._clock.now()
        if self._since is None:
            self._since, self._times = now, 0
        self._times += 1
        if self._times == 1:
            self._log.warning("%s", text)
        elif now - self._said_at >= AGAIN_S:
            self._log.warning("%s (for %.0f s now, %d times)", text, now - self._since, self._times)
        else:
            return
        self._said_at = now

    def is_over(self) -> None:
        """It is not there; nothing is said if it never was."""
        if self._since is not None:
            self._log.info("%s after %.1f s (%d times)", self._over_text, self._clock.now() - self._since, self._times)
            self._since = None
