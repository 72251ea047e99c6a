"""Whether this node may be elected, and who is better."""

from __future__ import annotations

from dataclasses import replace

from haagent.core import disks, election, failsafe, stray, synchrony, timelines
from haagent.core.conditions.leadership import led_by_other
from haagent.core.conditions.protection import fence_missing, watchdog_allows
from haagent.core.facts import Grounds, PeerReply, View
from haagent.core.terms import Lsn, Revision, Timeline

POLL_FRESH_S = 0.6


GIVE_WAY_S = 0.2
"""How long a candidate sleeps while a peer has the first right to the key."""


PATIENCE_S = 3.0
"""How long a candidate leaves the key to a better peer that does not take it."""


LET_GO_S = 2.0
"""How long a synchronous standby that is to stop waits to be let go."""


LINGER_S = 0.3
"""How long at least, so that no commit waits for it any more."""


def own_contender(v: View) -> election.Contender:
    server = v.postgres.server
    return election.Contender(
        v.me.name,
        server.timeline if server else v.postgres.data.timeline or Timeline(0),
        server.lsn if server else v.postgres.data.checkpoint_lsn or Lsn(0),
        v.me.tags,
        fit=server is not None and v.postgres.running,
        unfit=disks.trouble(v) or "",
    )


def optime(v: View) -> Lsn:
    """How far a candidate's WAL must reach, give or take ``maximum_lag_on_failover``: as far as the last leader's did.

    In a synchronous mode whoever may be elected holds every acknowledged commit: no lag speaks against it. Nor does it
    against a node that an operator names for a failover.
    """
    status = v.snapshot.status if v.snapshot else None
    return status.optime if status and synchrony.key(v) is None and not synchrony.forced(v) else Lsn(0)


def grounds(v: View) -> Grounds | None:
    """What must not have changed when a campaign arrives: another may have led meanwhile, and acknowledged commits."""
    found = v.snapshot
    if found is None:
        return None
    return Grounds(found.failsafe_revision, found.sync.revision if found.sync else Revision(0), found.claimed_revision)


def why_not_me(v: View) -> str | None:
    """Why this node may not lead now, in words; None when it may."""
    asked = asked_to_lead(v)
    if (unfenced := fence_missing(v)) is not None:
        return unfenced
    if not watchdog_allows(v):
        return f"watchdog.mode is required, but {v.watchdog.why}"
    if v.settings.pause and not asked:
        return "the cluster is paused"
    if v.now < v.memory.stand_back_until:
        left_s = v.memory.stand_back_until - v.now
        return f"it gave leadership up, or could not take it, and stands back for {left_s:.1f} s more"
    barred_by = promise_objection(v) or failsafe.left_out(v) or _barred_by(v)
    if barred_by:
        return barred_by
    request = v.snapshot.failover if v.snapshot else None
    if request and not asked and _names_other(v):
        return f"a change of leader to {request.candidate or 'another node'} is under way"
    return _on_past_timeline(v) or election.objection(own_contender(v), v.settings, optime(v))


def _on_past_timeline(v: View) -> str | None:
    """With ``check_timeline``: that this node's timeline is one that is known to have ended; None when it is not."""
    ended = max((int(line.timeline) for line in v.snapshot.history), default=0) if v.snapshot else 0
    own = int(own_contender(v).timeline)
    if not v.settings.check_timeline or own > ended:
        return None
    return f"it is on timeline {own}, and timeline {ended} has ended already; check_timeline is on"


def promise_objection(v: View) -> str | None:
    """Whom this node promised not to take the leader key, and for how long; None when it is free to."""
    promise = failsafe.promised(v)
    if promise is None:
        return None
    left_s = promise.until - v.now
    if not promise.name:
        return f"it, or its previous agent, may have promised not to take the leader key for {left_s:.1f} s more"
    return f"{promise.name} goes on without etcd, and this node promised it to wait for {left_s:.1f} s more"


def eligible(v: View) -> bool:
    return why_not_me(v) is None


def asked_to_lead(v: View) -> bool:
    """An operator named this node, and the request is due."""
    request = v.snapshot.failover if v.snapshot else None
    if request is None or request.candidate != v.me.name:
        return False
    return request.due(v.wall)


def _names_other(v: View) -> bool:
    """A request that is due names somebody else, who still lives, or asks this very node to step down."""
    request = v.snapshot.failover if v.snapshot else None
    if request is None or request.empty or v.snapshot is None:
        return False
    if request.scheduled_epoch is not None and request.scheduled_epoch > v.wall:
        return False
    beat, gone_at = v.cluster.heartbeat, v.memory.leaderless_since
    vacant_since = gone_at or (v.memory.since if beat is None else beat.seen_at)
    if vacant_since and v.now - vacant_since > PATIENCE_S:
        return False
    if request.candidate is not None:
        named = v.snapshot.member(request.candidate)
        return request.candidate != v.me.name and named is not None and named.running
    others = any(m.name != v.me.name and m.running for m in v.snapshot.members)
    return request.leader == v.me.name and others


def poll_fresh(v: View) -> bool:
    """The peers were asked after this node became a candidate, and not long ago."""
    if v.peers is None:
        return False
    return v.peers.asked_at >= v.memory.since and v.now - v.peers.asked_at <= v.settings.peer_timeout + POLL_FRESH_S


def primary_about(v: View) -> bool:
    return v.peers is not None and election.running_primary(v.peers, v.me.name) is not None


def better_peer(v: View) -> PeerReply | None:
    """The best of those peers that may lead and are better placed than this node."""
    if v.peers is None:
        return None
    rivals = replace(v.peers, replies=synchrony.electable(v, v.peers.replies))
    return election.better(own_contender(v), rivals, v.settings, optime(v))


def barred(v: View) -> bool:
    """A synchronous mode, or a timeline that other hands made or that was succeeded, forbids to elect this node."""
    return _barred_by(v) is not None


def _barred_by(v: View) -> str | None:
    return stray.objection(v) or synchrony.objection(v) or _succeeded(v)


def _succeeded(v: View) -> str | None:
    """That another may have been primary since this running one was: it can lead again only on a timeline of its own.

    On the old one it would acknowledge what those who followed the other would never see as a fork.
    """
    server = v.postgres.server
    if v.snapshot is None or server is None or not v.postgres.writable or (v.settings.pause and synchrony.forced(v)):
        return None
    later = timelines.newest_in_dcs(v.snapshot)
    if later <= server.timeline:
        return None
    return f"its PostgreSQL runs as a primary on timeline {server.timeline}, and timeline {later} was begun after it"


def votes_missing(v: View) -> bool:
    """In quorum mode too few nodes show that this one holds every acknowledged commit."""
    return synchrony.votes_missing(v) is not None


def counted_on(v: View) -> bool:
    """Commits wait for this standby: before it goes, the leader is given the time to do without it."""
    found, since = synchrony.key(v), v.memory.leaving_at
    waited = 0.0 if since is None else v.now - since
    named = v.snapshot is not None and found is not None and v.me.name in found.standbys and led_by_other(v)
    return (named and waited < LET_GO_S) or (since is not None and waited < LINGER_S)


def outranked(v: View) -> bool:
    """A peer is better and still within the time it is given to take the key."""
    if v.peers is None or asked_to_lead(v):
        return False
    ahead = better_peer(v)
    if ahead is None:
        return False
    return ahead.timeline > own_contender(v).timeline or v.now - v.memory.since <= PATIENCE_S


def outdated(v: View) -> bool:
    """A peer's history is later than this node's: another primary came after this one."""
    own = own_contender(v).timeline
    return v.peers is not None and any(
        reply.reached and reply.timeline > own and not reply.stray for reply in v.peers.replies
    )


def overtaken(v: View) -> bool:
    """A peer leads too, or has a timeline that etcd knows no claim of: it was set back, and the leader key with it.

    A timeline that this node made itself, and of which its control file does not know yet, was claimed.
    """
    claimed = v.snapshot.claimed if v.snapshot else None
    known = max(int(own_contender(v).timeline), int(claimed or 0))
    replies = [reply for reply in v.peers.replies if reply.reached and not reply.stray] if v.peers else []
    return any(reply.leads or max(reply.timeline, reply.newest_timeline) > known for reply in replies)


def lately_set_back(v: View) -> bool:
    """etcd knows nothing of the timeline that this node is on: it was set back, and so was the leader key.

    Whoever led since may hold a permit for a ttl yet; this agent, which has just started, never saw it lead.
    """
    if v.snapshot is None:
        return False
    unheard_of = own_contender(v).timeline > timelines.newest_in_dcs(v.snapshot)
    return unheard_of and v.now - v.memory.since < v.settings.ttl * (1 + v.timing.drift)


def hook_pending(v: View) -> bool:
    return bool(v.settings.pre_promote) and not v.memory.prepared
