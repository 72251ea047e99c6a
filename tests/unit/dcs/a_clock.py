"""A clock that goes when it is told to."""

from __future__ import annotations

from dataclasses import dataclass

from haagent.core.terms import Instant


@dataclass
class AClock:
    at: float = 100.0

    def now(self) -> Instant:
        return Instant(self.at)

    def wall(self) -> float:
        return self.at
