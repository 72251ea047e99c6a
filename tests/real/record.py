"""What writers saw: every attempt with its instants and its outcome."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from enum import Enum

_numbers = itertools.count(1)


class Outcome(Enum):
    """What the writer knows of its row."""

    ACKNOWLEDGED = "acknowledged"
    REFUSED = "refused"
    """It is surely not there."""
    UNKNOWN = "unknown"
    """The answer was lost."""


@dataclass(frozen=True)
class Attempt:
    """One numbered row that was sent; the commit, if any, lies between the two instants."""

    number: int
    route: str
    started_at: float
    ended_at: float
    outcome: Outcome
    node: str | None = None
    timeline: int | None = None
    reason: str = ""


@dataclass(frozen=True)
class Gap:
    """A time without acknowledged writes."""

    began_at: float
    ended_at: float

    @property
    def length_s(self) -> float:
        """How long; seconds."""
        return self.ended_at - self.began_at


@dataclass
class Record:
    """Every attempt of every writer, in no certain order."""

    attempts: list[Attempt] = field(default_factory=list, repr=False)

    @staticmethod
    def next_number() -> int:
        """A number that no row of any record of this process has."""
        return next(_numbers)

    def acknowledged(self, route: str = "", since: float = 0, until: float = float("inf")) -> list[Attempt]:
        """Acknowledged attempts by the instant of the answer; of all routes whose name begins like that."""
        chosen = [
            attempt
            for attempt in list(self.attempts)
            if attempt.outcome is Outcome.ACKNOWLEDGED
            and attempt.route.startswith(route)
            and since <= attempt.ended_at <= until
        ]
        return sorted(chosen, key=lambda attempt: attempt.ended_at)

    def longest_gap(self, route: str, since: float, until: float) -> Gap:
        """The longest time without an acknowledgement on a route between two instants."""
        marks = [since, *(attempt.ended_at for attempt in self.acknowledged(route, since, until)), until]
        return max((Gap(*pair) for pair in itertools.pairwise(marks)), key=lambda gap: gap.length_s)
