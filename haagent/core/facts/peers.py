"""What the other agents answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from haagent.core.facts.node import Tags
from haagent.core.terms import Instant, Lsn, Timeline


@dataclass(frozen=True, slots=True)
class PeerReply:
    """What another agent said of its node; ``reached`` False when it said nothing within the deadline."""

    name: str
    reached: bool
    why: str = ""
    running: bool = False
    in_recovery: bool = True
    leads: bool = False
    """It answered that it is a primary that holds the leader key."""
    timeline: Timeline = Timeline(0)
    newest_timeline: Timeline = Timeline(0)
    """The newest that it knows to be made, or claimed itself; also while its PostgreSQL is down and has no position."""
    lsn: Lsn = Lsn(0)
    replayed_lsn: Lsn = Lsn(0)
    tags: Tags = Tags()
    watchdog_failed: bool = False
    unfit: str = ""
    """Why its agent would not have it lead, whatever its position."""
    stray: bool = False
    """Its timeline was made by other hands, without a term."""
    demoted: bool = False
    """It is Patroni's, and says that it has demoted its PostgreSQL and that this is stopped."""
    complete: bool = True
    """Its position is the end of all the WAL that it has, not only of what it has replayed so far."""
    looked_s: float = 0.0
    """How old its look at PostgreSQL was when it answered; seconds."""
    lacks_slots: Mapping[str, str] = field(default_factory=dict)
    """Permanent logical slots that would be missing if it led now, and why."""


@dataclass(frozen=True, slots=True)
class PeerPoll:
    """All peers asked at once."""

    asked_at: Instant
    replies: tuple[PeerReply, ...] = ()

    def reply(self, name: str | None) -> PeerReply | None:
        return next((r for r in self.replies if r.name == name), None)
