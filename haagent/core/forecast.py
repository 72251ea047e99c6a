"""What would happen if the leader died now: who takes over, what would be lost, and how long nobody would write.

Law: no rule of elections, of synchronous modes or of deadlines stands here; each candidate is asked as it would ask
itself, by the view that it would have, with the leader's key gone and the leader silent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from haagent.core import conditions as c
from haagent.core import election, lease, synchrony
from haagent.core.facts import (
    ClusterFacts,
    DataFacts,
    DataKind,
    GuardFacts,
    Heartbeat,
    LeaseFacts,
    Me,
    Memory,
    PeerPoll,
    PeerReply,
    PostgresFacts,
    Process,
    ServerFacts,
    Settings,
    Snapshot,
    Timing,
    View,
)
from haagent.core.states import State
from haagent.core.terms import Instant, Lsn, Revision, SystemId, Term

NOW = Instant(0.0)
REPLAY_BYTES_PER_S = 50_000_000
"""What one process replays at least on common disks; an assumption."""
PROMOTE_S = 1.0
"""From the order to promote to the first commit, without anything left to replay; an assumption."""
WRITES = 4
"""Of etcd from the vacancy to the leader key: a lease, the old key's removal, the new one, the timeline's claim."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A member other than the leader; ``objection`` is None when it could take over."""

    name: str
    objection: str | None
    lsn: Lsn = Lsn(0)
    behind: int | None = None
    """Bytes of the leader's WAL that it lacks; None: not known."""
    acknowledged: bool = False
    """It holds every acknowledged commit: what it lacks was promised to nobody."""
    replay_bytes: int = 0
    wins: bool = False

    @property
    def lost(self) -> int | None:
        """Bytes of WAL with acknowledged commits that would be lost at most."""
        return 0 if self.acknowledged else self.behind


@dataclass(frozen=True, slots=True)
class Part:
    """A span of the time without a primary."""

    what: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Fault:
    """One way for a leader to be lost; ``taker`` is None when nobody takes over."""

    id: str
    what: str
    then: str
    taker: str | None
    parts: tuple[Part, ...] = ()
    endless: bool = False
    """Nobody writes until an operator, or what failed, comes back."""

    @property
    def seconds(self) -> float | None:
        """Without a primary, at worst; None: until somebody mends it."""
        return None if self.endless else sum(part.seconds for part in self.parts)


@dataclass(frozen=True, slots=True)
class Forecast:
    """The whole answer."""

    leader: str
    lsn: Lsn
    candidates: tuple[Candidate, ...]
    faults: tuple[Fault, ...]

    @property
    def winner(self) -> Candidate | None:
        """Who takes over."""
        return next((one for one in self.candidates if one.wins), None)


def forecast(
    snapshot: Snapshot,
    settings: Settings,
    replies: Mapping[str, PeerReply],
    told: Mapping[str, str],
    etcd_s: float = 0.0,
) -> Forecast | None:
    """From what all agents answered just now; None when nobody leads.

    ``told`` holds what agents said themselves of why they may not lead; ``etcd_s`` is how long etcd takes to answer.
    """
    if snapshot.leader is None:
        return None
    leader = snapshot.leader.name
    orphaned = replace(snapshot, leader=None)
    deadlines = lease.timing(*lease.adjusted(settings.ttl, settings.loop_wait, settings.retry_timeout)[:3])
    own = replies.get(leader)
    known = snapshot.status.optime if snapshot.status else Lsn(0)
    end = max(known, own.lsn) if own is not None and own.reached and not own.in_recovery else known
    others = [replies.get(m.name, PeerReply(m.name, reached=False)) for m in snapshot.members if m.name != leader]
    judged = [_candidate(orphaned, settings, deadlines, one, others, told.get(one.name), end) for one in others]
    candidates = _with_winner(orphaned, settings, deadlines, judged, others)
    winner = next((one for one in candidates if one.wins), None)
    return Forecast(leader, end, tuple(candidates), tuple(_faults(leader, winner, settings, deadlines, etcd_s)))


def _candidate(
    snapshot: Snapshot,
    settings: Settings,
    deadlines: Timing,
    reply: PeerReply,
    others: Sequence[PeerReply],
    told: str | None,
    end: Lsn,
) -> Candidate:
    if not reply.reached:
        return Candidate(reply.name, f"its agent does not answer: {reply.why or 'no answer'}")
    view = _as_seen_by(snapshot, settings, deadlines, reply, others)
    objection = (
        c.why_not_me(view)
        or election.objection(election.contender(reply), settings, c.optime(view))
        or synchrony.votes_missing(view)
        or told
    )
    bound = synchrony.key(view)
    acknowledged = bound is not None and synchrony.objection(view) is None
    behind = max(0, int(end) - int(reply.lsn))
    replay = max(0, int(reply.lsn) - int(reply.replayed_lsn))
    return Candidate(reply.name, objection, reply.lsn, behind, acknowledged, replay)


def _with_winner(
    snapshot: Snapshot,
    settings: Settings,
    deadlines: Timing,
    candidates: Sequence[Candidate],
    replies: Sequence[PeerReply],
) -> list[Candidate]:
    """The one of those who could that leaves the key to no other."""
    able = [one for one in replies if any(c.name == one.name and c.objection is None for c in candidates)]
    winner = next(
        (one.name for one in able if c.better_peer(_as_seen_by(snapshot, settings, deadlines, one, able)) is None), None
    )
    return [replace(one, wins=one.name == winner) for one in candidates]


def _as_seen_by(
    snapshot: Snapshot, settings: Settings, deadlines: Timing, reply: PeerReply, others: Sequence[PeerReply]
) -> View:
    """What that candidate would know once the leader is gone and all others have been asked."""
    server = ServerFacts(
        seen_at=NOW,
        in_recovery=reply.in_recovery,
        timeline=reply.timeline,
        version=0,
        started_at="",
        system_id=SystemId(""),
        received_lsn=reply.lsn,
        replayed_lsn=reply.replayed_lsn,
    )
    postgres = PostgresFacts(DataFacts(DataKind.VALID), Process(1, 1) if reply.running else None, server)
    return View(
        now=NOW,
        wall=0.0,
        me=Me(reply.name, "", "", 0, "", "", reply.tags),
        settings=settings,
        timing=deadlines,
        postgres=postgres,
        cluster=ClusterFacts(snapshot, NOW),
        lease=LeaseFacts(),
        guard=GuardFacts(),
        memory=Memory(State.CANDIDATE),
        peers=PeerPoll(NOW, tuple(one for one in others if one.name != reply.name)),
    )


def _faults(leader: str, winner: Candidate | None, settings: Settings, t: Timing, etcd_s: float) -> list[Fault]:
    beat = Heartbeat(Term(1), Revision(2), NOW, t.ttl)
    free_s = lease.standstill_at(beat, t.drift) or t.ttl
    taker = winner.name if winner else None
    nobody = winner is None
    after = _takeover(winner, settings, etcd_s) if winner else ()
    crash = _crash(leader, taker, settings, after)
    until_cut = (Part("from the permit's end until the key may be taken", free_s - t.fence_after), *after)
    until_demoted = (Part("from the demotion until the key may be taken", free_s - t.demote_after), *after)
    failsafe = "; with failsafe_mode it goes on while every other member consents" * settings.failsafe_mode
    return [
        Fault(
            "host",
            f"the host of {leader} dies",
            f"its key stands still for {free_s:.1f} s, then {taker or 'nobody'} takes it",
            taker,
            (Part("until the key may be taken", free_s), *after),
            nobody,
        ),
        crash,
        Fault(
            "agent",
            f"the agent of {leader} dies and is not started again",
            f"{leader} accepts writes until its permit ends, {t.fence_after:.1f} s after the last renewal; then its "
            "guard ends PostgreSQL. Started again before, it goes on as if nothing had been",
            taker,
            until_cut,
            nobody,
        ),
        Fault(
            "etcd-access",
            f"{leader} alone reaches etcd no more",
            f"it demotes itself {t.demote_after:.1f} s after the last renewal{failsafe}",
            taker,
            until_demoted,
            nobody,
        ),
        _without_etcd(leader, settings, t),
    ]


def _takeover(winner: Candidate, settings: Settings, etcd_s: float) -> tuple[Part, ...]:
    replay_s = winner.replay_bytes / REPLAY_BYTES_PER_S
    return (
        Part("election: the dead are waited for, etcd written", settings.peer_timeout + WRITES * etcd_s),
        Part("promotion, with what is left to replay", PROMOTE_S + replay_s),
    )


def _crash(leader: str, taker: str | None, settings: Settings, after: tuple[Part, ...]) -> Fault:
    what, limit = f"PostgreSQL of {leader} crashes", settings.primary_start_timeout
    if settings.pause:
        return Fault("postgresql", what, "in maintenance mode it is left alone", None, (), True)
    if limit == 0 and taker is not None:
        then = f"primary_start_timeout is 0: {leader} gives the key up at once"
        return Fault("postgresql", what, then, taker, after)
    up = f"{leader} starts it again in place, with nothing lost"
    if taker is None:
        return Fault("postgresql", what, f"{up}; nobody else could", None, (Part("crash recovery", limit),), True)
    then = f"{up}; only if it is not up after {limit:g} s (primary_start_timeout) {taker} takes over"
    return Fault("postgresql", what, then, taker, (Part("crash recovery that does not end", limit), *after))


def _without_etcd(leader: str, settings: Settings, t: Timing) -> Fault:
    if settings.failsafe_mode:
        then = f"failsafe_mode: {leader} goes on while every other member answers and consents"
        return Fault("etcd", "etcd dies altogether", then, leader)
    then = f"{leader} demotes itself {t.demote_after:.1f} s after the last renewal; nobody leads before etcd is back"
    return Fault("etcd", "etcd dies altogether", then, None, (), True)
