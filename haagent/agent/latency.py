"""How long something took, counted in buckets that Prometheus adds up over time and nodes."""

from __future__ import annotations

from bisect import bisect_left
from itertools import accumulate

BOUNDS_S = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class Latency:
    """A histogram of seconds."""

    def __init__(self) -> None:
        self._counts = [0] * (len(BOUNDS_S) + 1)
        self.sum_s = 0.0

    def took(self, seconds: float) -> None:
        """Count one."""
        self._counts[bisect_left(BOUNDS_S, seconds)] += 1
        self.sum_s += seconds

    def buckets(self) -> tuple[tuple[float, int], ...]:
        """Upper bound and how many took no longer, the last bound being infinity."""
        return tuple(zip((*BOUNDS_S, float("inf")), accumulate(self._counts), strict=True))
