"""Long jobs and the outcomes of actions."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

from haagent.core.terms import Instant, Lsn, Timeline


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a long job is."""

    phase: str
    done_bytes: int = 0
    total_bytes: int = 0
    bytes_per_s: float = 0.0
    eta_s: float | None = None

    @property
    def percent(self) -> int | None:
        return None if self.total_bytes <= 0 else min(100, self.done_bytes * 100 // self.total_bytes)


@dataclass(frozen=True, slots=True)
class JobFacts:
    """The one long job under way or just ended."""

    kind: str
    """``initialize``, ``clone``, ``rewind``, ``move aside``, ``check``, ``checkpoint``, ``pre_promote``, …"""
    started_at: Instant
    done: bool = False
    error: str | None = None
    failure: Failure | None = None
    """Which of the three failures it was; None when it was none of them."""
    result: Any = None
    progress: Progress | None = None


@dataclass(frozen=True, slots=True)
class Divergence:
    """How this node's history lies to another's; a result of the ``check`` job.

    ``fork_lsn`` is where the histories part, None when they do not; ``lost_bytes`` and ``lost_commits`` are what this
    node wrote past it and would give up.
    """

    leader: str
    leader_timeline: Timeline
    own_timeline: Timeline
    own_lsn: Lsn
    fork_lsn: Lsn | None = None
    lost_bytes: int = 0
    lost_commits: int | None = None
    reason: str = ""
    wal_gone: str = ""
    """That the WAL which this copy needs next is gone, in words; empty when it is not, or when that was not asked."""

    @property
    def diverged(self) -> bool:
        return self.fork_lsn is not None


class Failure(Enum):
    """The three ways in which a port can fail."""

    REFUSED = "refused"
    UNKNOWN = "unknown"
    UNREACHABLE = "unreachable"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one action of the last plan."""

    action: str
    """The class name of the action."""
    failure: Failure | None = None
    detail: str = ""
    result: Any = None

    @property
    def ok(self) -> bool:
        return self.failure is None


IMMOVABLE = "immovable"
"""As the result of a failed ``MoveAside``: it will fail again, until an operator does something."""
