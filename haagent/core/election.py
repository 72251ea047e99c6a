"""Who may lead, and who of those that may is the best: the same verdict on every node that sees the same replies."""

from __future__ import annotations

from dataclasses import dataclass

from haagent.core.facts import PeerPoll, PeerReply, Settings, Tags
from haagent.core.terms import Lsn, Timeline


@dataclass(frozen=True, slots=True)
class Contender:
    """A node as an election sees it."""

    name: str
    timeline: Timeline
    lsn: Lsn
    tags: Tags
    fit: bool = True
    """Running, in recovery, and answering."""
    unfit: str = ""
    """Why it should not lead although it runs, as its disk."""

    @property
    def rank(self) -> tuple[int, int, int]:
        """Later history first, then more WAL, then the operator's preference."""
        return (int(self.timeline), int(self.lsn), self.tags.priority)


def contender(reply: PeerReply) -> Contender:
    """A peer's answer as a contender."""
    fit = reply.reached and reply.running and reply.in_recovery and not reply.watchdog_failed
    return Contender(reply.name, reply.timeline, reply.lsn, reply.tags, fit, reply.unfit)


def objection(one: Contender, settings: Settings, optime: Lsn) -> str | None:
    """Why a node may not be elected by itself, in words with numbers; None when it may.

    ``optime`` is how far the last leader's WAL was known to reach.
    """
    if not one.fit:
        return f"{one.name} does not answer as a running standby"
    if one.unfit:
        return f"{one.name} is not fit to lead: {one.unfit}"
    if one.tags.nofailover:
        return f"{one.name} has the tag nofailover"
    if not one.tags.may_lead:
        return f"{one.name} has failover_priority {one.tags.priority}, which forbids it to lead"
    behind = int(optime) - int(one.lsn)
    if 0 <= settings.maximum_lag_on_failover < behind:
        return (
            f"{one.name} is {behind} bytes behind the last known position of the leader ({optime}); "
            f"maximum_lag_on_failover is {settings.maximum_lag_on_failover}"
        )
    return None


def better(own: Contender, poll: PeerPoll, settings: Settings, optime: Lsn) -> PeerReply | None:
    """The peer to whom this node must leave the leader key, if there is one.

    Equals are told apart by the order of their names, so that two never defer to each other.
    """
    rivals = [
        (one, reply)
        for reply in poll.replies
        if reply.name != own.name
        for one in (contender(reply),)
        if objection(one, settings, optime) is None
    ]
    ahead = [(one, reply) for one, reply in rivals if (one.rank, _first(own.name, one.name)) > (own.rank, 0)]
    if not ahead:
        return None
    return max(ahead, key=lambda pair: (pair[0].rank, _inverse(pair[0].name)))[1]


def running_primary(poll: PeerPoll, me: str) -> PeerReply | None:
    """A peer that still answers as a primary: nobody campaigns against it while it says so."""
    return next((r for r in poll.replies if r.name != me and r.reached and not r.in_recovery), None)


def _first(own: str, other: str) -> int:
    return 1 if other < own else -1


def _inverse(name: str) -> tuple[int, ...]:
    return tuple(-ord(letter) for letter in name)
