"""Timelines as arithmetic: where two histories part, and whether something was written past that point.

A history is the path of timelines that led to a server's present one. A server that ends on a timeline which another
left at some LSN has diverged exactly when it holds a WAL record that starts at or past that LSN.

A number names one timeline for ever: whoever is to make one first claims, in the DCS and in its own term, a number
above all that anybody is known to have claimed or made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from haagent.core.facts import HistoryLine, Snapshot, View
from haagent.core.terms import Lsn, Term, Timeline


@dataclass(frozen=True, slots=True)
class History:
    """The present timeline and, oldest first, the timelines it descends from and where each was left."""

    timeline: Timeline
    lines: tuple[HistoryLine, ...] = ()

    def path(self) -> tuple[tuple[Timeline, Lsn | None], ...]:
        """Every timeline with the LSN at which it was left; the present one is not left (None)."""
        return (*((line.timeline, line.lsn) for line in self.lines), (self.timeline, None))


@dataclass(frozen=True, slots=True)
class Fork:
    """Where two histories part: on their last common timeline, at ``lsn``; None when neither has left it."""

    timeline: Timeline
    lsn: Lsn | None


def parse_history(text: str) -> tuple[HistoryLine, ...]:
    """Read a .history file: timeline, LSN at which it was left, reason; ValueError on a line that is none of these.

    Source: PostgreSQL, src/backend/access/transam/timeline.c, which ignores empty lines and those that begin with #.
    """
    lines: list[HistoryLine] = []
    for raw in text.splitlines():
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        fields = line.split(None, 2)
        if len(fields) < 2 or not fields[0].isdigit():
            raise ValueError(f"not a line of a timeline history: {raw!r}")
        reason = fields[2] if len(fields) == 3 else ""
        found = HistoryLine(Timeline(int(fields[0])), Lsn.parse(fields[1]), reason)
        if lines and found.timeline <= lines[-1].timeline:
            raise ValueError(f"timeline {found.timeline} comes after {lines[-1].timeline} in a timeline history")
        lines.append(found)
    return tuple(lines)


def history_of(timeline: Timeline, lines: Sequence[HistoryLine]) -> History:
    """A history from the lines of its .history file; ValueError when they do not lead to that timeline."""
    if lines and lines[-1].timeline >= timeline:
        raise ValueError(f"timeline {timeline} cannot descend from timeline {lines[-1].timeline}")
    return History(timeline, tuple(lines))


def fork_of(own: History, other: History) -> Fork:
    """Where two histories part; Fork(0, 0) when they have no timeline in common."""
    common = Fork(Timeline(0), Lsn(0))
    for (own_timeline, own_end), (other_timeline, other_end) in zip(own.path(), other.path(), strict=False):
        if own_timeline != other_timeline:
            return common
        ends = [end for end in (own_end, other_end) if end is not None]
        common = Fork(own_timeline, min(ends) if ends else None)
        if own_end != other_end:
            return common
    return common


def needs_look(own: History, fork: Fork) -> bool:
    """Whether only the WAL itself can tell: this server ends on the very timeline that the other left."""
    return fork.lsn is not None and own.timeline == fork.timeline


# --- which number comes next ---


def newest_known(v: View) -> Timeline:
    """The newest timeline that this node, a peer or the DCS knows to have been made."""
    snapshot = v.cluster.snapshot
    known: list[int] = [newest_here(v)]
    if snapshot is not None:
        known.append(_newest_in_history(snapshot))
        known += [member.timeline for member in snapshot.members if member.timeline is not None]
    if v.peers is not None:
        known += [max(reply.timeline, reply.newest_timeline) for reply in v.peers.replies if reply.reached]
    return Timeline(max(known))


def newest_in_dcs(snapshot: Snapshot) -> Timeline:
    """The newest timeline that the DCS knows to have been begun or claimed; the first needs nobody to tell of it."""
    return max(_newest_in_history(snapshot), snapshot.claimed or Timeline(0))


def _newest_in_history(snapshot: Snapshot) -> Timeline:
    """A line tells where a timeline was left for the next."""
    return Timeline(max((line.timeline + 1 for line in snapshot.history), default=1))


def newest_here(v: View) -> Timeline:
    """The newest timeline that this node's own disk and server tell of; 0 when they tell of none."""
    server = v.postgres.server
    return max(
        v.postgres.data.heard, v.postgres.data.timeline or Timeline(0), server.timeline if server else Timeline(0)
    )


def number_claimed(v: View) -> Timeline | None:
    """The number that this term has claimed, if it is still above all that is known; else None."""
    claim, snapshot = v.memory.claim, v.cluster.snapshot
    if claim is None or claim[0] != v.lease.term or claim[1] <= newest_known(v):
        return None
    later = snapshot is not None and snapshot.claimed is not None and snapshot.claimed > claim[1]
    return None if later else claim[1]


def number_to_claim(v: View) -> Timeline:
    """The number for the next promotion."""
    claimed = v.cluster.snapshot.claimed if v.cluster.snapshot else None
    return Timeline(max(int(newest_known(v)), int(claimed or 0)) + 1)


def claim_of(v: View) -> tuple[Term, Timeline] | None:
    """What was last claimed for sure; a claim of unknown outcome counts for nothing, its number is merely skipped."""
    done = [one.result for one in v.outcomes if one.action == "ClaimTimeline" and one.ok]
    return done[-1] if done else v.memory.claim
