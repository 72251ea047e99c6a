"""The named conditions that rows of the table combine; each reads one View and answers yes or no."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from haagent.core import disks, election, failsafe, lease, mixed, remote, stray, synchrony
from haagent.core.durations import parse_seconds
from haagent.core.facts import IMMOVABLE, DataKind, Failure, Goal, Heartbeat, PeerReply, Pending, Upstream, View
from haagent.core.methods import ReplicaMethod
from haagent.core.terms import Instant, Lsn, Timeline, later

Condition = Callable[[View], bool]

BREAKER_STARTS = 3
BREAKER_WINDOW_S = 300.0
LONG_START_S = 5.0
"""After this a standby that does not answer yet has its history compared with the leader's."""
POLL_FRESH_S = 0.6
STAND_BACK_S = 0.2
WATCHDOG_RETRY_S = 5.0
"""How long after a vain try a watchdog device is tried again."""
PATIENCE_S = 3.0
"""How long a candidate leaves the key to a better peer that does not take it."""
STRANDED_S, STRANDED_LONGEST_S = 10.0, 300.0
"""How long a standby may take to go over to the leader's timeline before it is started anew: at first, and at last."""
REMOTE_TRIES = 3
"""How often a remote primary is asked in vain before PostgreSQL is started without having been compared with it."""
REMOTE_SILENT_S = 2.0
"""How long a standby leader waits for its stream before it compares its history with the remote primary's."""
LET_GO_S = 2.0
"""How long a synchronous standby that is to stop waits to be let go."""
LINGER_S = 0.3
"""How long at least, so that no commit waits for it any more."""
ESCALATE_S = 0.6
"""An orderly stop becomes an immediate one this long before the permit ends."""


def negated(condition: Condition) -> Condition:
    """The opposite, under a name that a reader of the table understands."""

    def opposite(view: View) -> bool:
        return not condition(view)

    opposite.__name__ = f"not {condition.__name__}"
    return opposite


# --- the agent and the operator ---


def stopping(v: View) -> bool:
    return v.stopping


def paused(v: View) -> bool:
    return v.settings.pause


def waiting(v: View) -> bool:
    """A retry is due later."""
    return v.now < v.memory.retry_at


def standing_back(v: View) -> bool:
    return v.now < v.memory.stand_back_until


def _pending(v: View, kind: str) -> Pending | None:
    return next((p for p in v.memory.pending if p.intent.kind == kind and not p.phase), None)


def restart_asked(v: View) -> bool:
    return _pending(v, "restart") is not None


def immovable(v: View) -> bool:
    """The data directory could not be moved aside, nor will it be at the next try."""
    return any(o.action == "MoveAside" and o.result == IMMOVABLE for o in v.outcomes)


def reinit_asked(v: View) -> bool:
    return _pending(v, "reinitialize") is not None


# --- the DCS ---


def silent(v: View) -> bool:
    return v.snapshot is None


def leaderless(v: View) -> bool:
    return v.snapshot is not None and v.snapshot.leader is None


def led_by_other(v: View) -> bool:
    return v.leader is not None and v.leader.name != v.me.name


def led_by_me(v: View) -> bool:
    """The leader key is of the term that this node holds."""
    return v.leader is not None and v.leader.name == v.me.name and v.leader.term == v.lease.term


def led_by_my_past(v: View) -> bool:
    """The leader key has this node's name, but this agent does not hold its term."""
    return v.leader is not None and v.leader.name == v.me.name and v.leader.term != v.lease.term


def won_unheard(v: View) -> bool:
    """The leader key hangs on this node's present lease: its own campaign succeeded, and the answer was lost."""
    ours = v.leader is not None and v.leader.lease_id == v.lease.lease_id and led_by_my_past(v)
    return ours and v.lease.term is None and (may_lead_here(v) or writable(v))


def deposed(v: View) -> bool:
    """The cluster shows another term than the one this node believes it leads."""
    return v.lease.term is not None and v.snapshot is not None and not led_by_me(v)


def robbed(v: View) -> bool:
    """The leader key has vanished although this node's permit runs: by other hands, or etcd revoked a living lease.

    Nobody else takes a key that was not released before this permit has ended; in a paused cluster nobody does at all.
    """
    in_time = v.settings.pause or (v.lease.demote_at is not None and v.now < v.lease.demote_at)
    return v.lease.term is not None and leaderless(v) and in_time


def stood_still(v: View) -> bool:
    """The leader key's heartbeat has not moved for the ttl that etcd granted, on this node's own clock."""
    beat = v.cluster.heartbeat
    if beat is None or v.leader is None or beat.revision != v.leader.revision or v.leader.name == v.me.name:
        return False
    at = lease.standstill_at(beat, v.timing.drift)
    return at is not None and v.now >= at


def let_go(v: View) -> bool:
    """There is no leader key, and whoever held it last can't accept commits any more.

    It gave the key up in good order (a Patroni member says so when asked), or its permit has surely ended, counted from
    the last heartbeat seen here: a key that was deleted by other hands, or lost with etcd's data, says nothing about
    its holder. Where no heartbeat was seen it counts whether a leader wrote anything after the last release.
    """
    beat = v.cluster.heartbeat
    if v.snapshot is None or v.snapshot.leader is not None:
        return False
    if beat is None:
        at = unheard_at(v)
        return v.snapshot.led_revision <= v.snapshot.released_revision or (at is not None and v.now >= at)
    if beat.name == v.me.name:
        return True
    released = v.snapshot.released is not None and v.snapshot.released >= beat.term
    return released or mixed.handed_over(v) or v.now >= outlasted_at(v, beat)


def unheard_at(v: View) -> Instant | None:
    """When the permit of a leader that this node never heard of has surely ended: a ttl after its key was gone."""
    since = v.memory.leaderless_since
    return None if since is None else later(since, v.settings.ttl * (1 + v.timing.drift))


def outlasted_at(v: View, beat: Heartbeat) -> Instant:
    """When the permit behind a heartbeat has surely ended; by this node's own ttl where etcd's grant is not known.

    Of a holder that never wrote the key again it is when it took it: it may be about to renew it for the first time.
    """
    ttl = v.settings.ttl if beat.granted_ttl is None else beat.granted_ttl
    return later(beat.seen_at, ttl * (1 + v.timing.drift))


def handing_over_unnoted(v: View) -> bool:
    """A Patroni member has deleted its leader key, and has not said yet that its PostgreSQL does not write."""
    return mixed.outgoing(v) is not None and not let_go(v)


def vacancy(v: View) -> bool:
    """The leader key may be taken."""
    return (let_go(v) or stood_still(v)) and not promised(v)


def promised(v: View) -> bool:
    """This node gave its word to a primary without etcd, or its previous agent did, and the time is not over."""
    return failsafe.promised(v) is not None


def vouched(v: View) -> bool:
    """The permit rests on the promises of all other members, not on etcd."""
    return v.lease.vouched_until is not None


def outlives_its_key(v: View) -> bool:
    """The leader key is lost, but the members' promises hold until this node must stop."""
    in_time = v.lease.demote_at is not None and v.now < v.lease.demote_at
    return vouched(v) and v.lease.lost is not None and in_time


def uninitialized(v: View) -> bool:
    return v.snapshot is not None and v.snapshot.initialize is None


def leaderless_methods(v: View) -> tuple[ReplicaMethod, ...]:
    """The operator's ways to make a replica that need nobody to copy from."""
    return tuple(method for method in v.settings.replica_methods if method.no_leader)


def restorable(v: View) -> bool:
    """A cluster that exists has no leader, and this node may be made from what an operator keeps, such as a backup.

    Never a node that counts as holding every acknowledged commit: a backup may not.
    """
    found = synchrony.key(v)
    trusted = found is not None and v.me.name in synchrony.electorate(found).members | {found.leader}
    exists = v.snapshot is not None and bool(v.snapshot.initialize)
    return exists and let_go(v) and not trusted and bool(leaderless_methods(v))


def initialize_orphaned(v: View) -> bool:
    """Somebody claimed the bootstrap, but no member says that it is at it."""
    return (
        v.snapshot is not None
        and v.snapshot.initialize == ""
        and v.snapshot.leader is None
        and not any(
            m.state.startswith(("initializing", "running custom", "starting after custom")) for m in v.snapshot.members
        )
    )


def never_led(v: View) -> bool:
    """This agent has not seen a leader since it was started: as far as it knows there never was one."""
    return v.memory.last_leader is None


def nobody_has_data(v: View) -> bool:
    """No other member shows a copy of a cluster: where one does, the keys were lost and not the cluster."""
    members = v.snapshot.members if v.snapshot else ()
    return all(m.role in ("", "uninitialized") for m in members if m.name != v.me.name)


def long_since(v: View) -> bool:
    """This state has lasted three ttl."""
    return v.now - v.memory.since > 3 * v.settings.ttl


def foreign_system(v: View) -> bool:
    """The data here belongs to another cluster than the one in the DCS."""
    known = v.snapshot.initialize if v.snapshot else None
    own = v.postgres.data.system_id
    return bool(known) and own is not None and str(own) != known


# --- lease and guard ---


def leads(v: View) -> bool:
    return lease.leads(v.lease, v.now) and v.lease.lost is None


def holds_term(v: View) -> bool:
    """A term was won and not yet given up, whether its permit still runs or not."""
    return v.lease.term is not None


def lease_lost(v: View) -> bool:
    return v.lease.term is None or v.lease.lost is not None or not lease.leads(v.lease, v.now)


def demote_due(v: View) -> bool:
    return v.lease.demote_at is None or v.now >= v.lease.demote_at


def permit_near_end(v: View) -> bool:
    return v.lease.permit_until is None or v.now >= v.lease.permit_until - ESCALATE_S


def guard_ready(v: View) -> bool:
    """The guard lives, answers, and enforces this node's term."""
    fresh = v.guard.heard_at is not None and v.now - v.guard.heard_at <= max(2.0, 3 * v.timing.renew_every)
    return v.guard.alive and v.guard.armed and v.guard.term == v.lease.term and fresh


def guard_fired(v: View) -> bool:
    return v.guard.fired is not None


def guard_met(v: View) -> bool:
    """This agent speaks to a guard; one that it has just been started does not know of any yet."""
    return v.guard.alive


def guard_armed(v: View) -> bool:
    """Some guard still holds a permit over this data directory and will end it."""
    return v.guard.alive and v.guard.armed


def watchdog_due(v: View) -> bool:
    """The watchdog device is wanted and not open, and it is time to try it."""
    known = v.watchdog
    recent = known.failed_at is not None and v.now - known.failed_at < WATCHDOG_RETRY_S
    return known.mode != "off" and not known.open and not v.settings.pause and not recent


def unwatched(v: View) -> bool:
    """A watchdog device is required of whoever leads, and this node's is not open."""
    return v.watchdog.mode == "required" and not v.watchdog.open and not v.settings.pause


def watchdog_missing(v: View) -> bool:
    """It is required and has been unusable for a whole ttl."""
    since = v.watchdog.absent_since
    return unwatched(v) and since is not None and v.now - max(since, v.memory.since) >= v.settings.ttl


def watchdog_allows(v: View) -> bool:
    """The watchdog device is not required, or nothing is known to speak against it."""
    return v.watchdog.mode != "required" or v.watchdog.open or not v.watchdog.why


# --- PostgreSQL ---


def data_is(*kinds: DataKind) -> Condition:
    def data(v: View) -> bool:
        return v.postgres.data.kind in kinds

    data.__name__ = "data " + " or ".join(kind.value for kind in kinds)
    return data


def unfinished(what: str) -> Condition:
    def marker(v: View) -> bool:
        return v.postgres.data.kind is DataKind.UNFINISHED and v.postgres.data.marker == what

    marker.__name__ = f"{what} was interrupted"
    return marker


def was_shut_down(v: View) -> bool:
    return v.postgres.data.cluster_state == "shut down"


def was_standby(v: View) -> bool:
    """The control file says that PostgreSQL last ran in recovery."""
    return v.postgres.data.cluster_state in ("shut down in recovery", "in archive recovery")


def running(v: View) -> bool:
    return v.postgres.running


def down(v: View) -> bool:
    return not v.postgres.running


def gone(v: View) -> bool:
    """The postmaster is gone, and so is every process it had."""
    return not v.postgres.running and v.postgres.orphans == 0


def answers(v: View) -> bool:
    return v.postgres.running and v.postgres.server is not None and v.postgres.unreachable_since is None


def writable(v: View) -> bool:
    return v.postgres.running and v.postgres.writable


def in_recovery(v: View) -> bool:
    return v.postgres.running and v.postgres.server is not None and v.postgres.server.in_recovery


def recovering(v: View) -> bool:
    """A postmaster that lets nobody in: it has just started, or it repairs what a crashed process left."""
    return v.postgres.running and v.postgres.starting


def hung(v: View) -> bool:
    """A postmaster that has not answered for a whole ttl."""
    since = v.postgres.unreachable_since
    return v.postgres.running and since is not None and v.now - since >= v.settings.ttl


def start_overdue(v: View) -> bool:
    limit = v.settings.primary_start_timeout or v.settings.ttl
    return v.now - v.memory.since >= limit or any(restart_overdue(v, one) for one in v.memory.pending)


def restart_overdue(v: View, one: Pending) -> bool:
    """A restart has taken longer than the operator allowed for it."""
    allowed = one.intent.body.get("timeout") if one.intent.kind == "restart" else None
    return allowed is not None and v.now - one.intent.received_at >= parse_seconds(allowed)


def handover_wanted(v: View) -> bool:
    """The operator prefers a failover to a restart in place, and there is somebody to take over."""
    others = v.snapshot is not None and any(m.name != v.me.name and m.running for m in v.snapshot.members)
    return v.settings.primary_start_timeout == 0 and others


def breaker_tripped(v: View) -> bool:
    recent = [at for at in v.memory.starts if v.now - at <= BREAKER_WINDOW_S]
    return len(recent) >= BREAKER_STARTS


# --- history ---


def verdict_known(v: View) -> bool:
    """This data was compared with the present leader's; in a standby cluster with the remote primary's."""
    known, elsewhere = v.memory.divergence, remote.source(v)
    if known is None or v.snapshot is None:
        return False
    if elsewhere is not None:
        return known.leader == elsewhere.name
    if v.leader is None or known.leader != v.leader.name:
        return False
    member = v.snapshot.member(known.leader)
    return member is None or member.timeline is None or known.leader_timeline >= member.timeline


def diverged(v: View) -> bool:
    known = v.memory.divergence
    return verdict_known(v) and known is not None and known.diverged


def long_begun(v: View) -> bool:
    """This standby has been starting for long: it replays much, or waits for WAL that nobody has any more."""
    return v.now - v.memory.since > LONG_START_S


def history_suspect(v: View) -> bool:
    """This standby does not stream from the leader, although both run: their histories may have parted."""
    server, leader = v.postgres.server, leader_member_facts(v)
    if server is None or leader is None or not server.in_recovery or verdict_known(v):
        return False
    if streaming(v) and server.receiver is not None and server.receiver.timeline == server.timeline:
        return False
    behind = server.timeline != leader[0]
    ahead = server.lsn > leader[1] and server.timeline == leader[0]
    return (behind or ahead) and not streaming(v)


def leader_member_facts(v: View) -> tuple[int, Lsn] | None:
    """The leader's timeline and position as its member key tells, once it runs as what it leads as."""
    member = v.snapshot.member(v.leader.name) if v.snapshot and v.leader else None
    if member is None or member.timeline is None or member.lsn is None or not member.leading:
        return None
    return (int(member.timeline), member.lsn)


def remote_suspect(v: View) -> bool:
    """The leader of a standby cluster does not get a stream, and was not compared with the remote primary yet."""
    if remote.source(v) is None or verdict_known(v) or streaming(v):
        return False
    return v.now - v.memory.since >= REMOTE_SILENT_S


def stranded(v: View) -> bool:
    """This standby's history is part of the leader's, and yet it does not go over to the leader's timeline.

    PostgreSQL looks for a later timeline among the descendants of the one it is bound for. If nobody leads that one any
    more, it says "not a child" or "not in this server's history" for ever, and only a new start sets it right.
    """
    server, leader = v.postgres.server, leader_member_facts(v)
    if server is None or leader is None or not server.in_recovery or streaming(v):
        return False
    if diverged(v) or not verdict_known(v):
        return False
    patience = min(STRANDED_LONGEST_S, STRANDED_S * 2.0**v.memory.rejoins)
    return server.timeline < leader[0] and server.replayed_all and v.now - v.memory.since >= patience


def misled(v: View) -> bool:
    """PostgreSQL is on its way to a timeline of which it has no WAL: promoted now, it would take that for its parent.

    A standby that follows would then be sent bytes that are no WAL, up to where that timeline began, and confirm them.
    A new start, before which such timelines are put away, sets it right; not where the archive brings them again.
    """
    server = v.postgres.server
    if server is None or not server.in_recovery or server.archive_recovery or "restore_command" in v.settings.recovery:
        return False
    return v.postgres.data.bound > server.timeline


def upstream(v: View) -> Upstream | None:
    """From whom this node should stream: the running member it names, else the leader; None when nobody is.

    While nobody is seen to lead it is the primary to which this node promised to wait. Whoever leads a standby cluster
    streams from the remote primary.
    """
    snapshot, leader = v.snapshot, v.leader
    promise = failsafe.promised(v)
    if leader is None and promise is not None:
        return as_upstream(promise.name, promise.conn_url)
    if snapshot is None or leader is None:
        return None
    if leader.name == v.me.name:
        return remote.source(v) if leads(v) else None
    wanted = v.me.tags.replicatefrom
    named = snapshot.member(wanted) if wanted and wanted != v.me.name else None
    source = named if named is not None and named.running else snapshot.member(leader.name)
    return None if source is None else as_upstream(source.name, source.conn_url)


def historian(v: View) -> Upstream | None:
    """Whose history this node's is measured against: the remote primary's in a standby cluster, else the upstream's."""
    return remote.source(v) or upstream(v)


def must_compare(v: View) -> bool:
    """A node of a standby cluster that may have been a primary is compared with the remote one, whoever leads or not.

    If that one can't be asked it is started all the same, read-only.
    """
    if remote.source(v) is None or diverged(v):
        return remote.source(v) is not None
    undecided = not was_standby(v) or v.memory.goal is Goal.FOLLOW
    return undecided and not verdict_known(v) and v.memory.attempts < REMOTE_TRIES


def remote_unasked(v: View) -> bool:
    """The remote primary was asked in vain often enough, and what is here is not known to have parted from it."""
    return remote.is_known(v) and v.memory.attempts >= REMOTE_TRIES and not verdict_known(v)


def as_upstream(name: str, conn_url: str) -> Upstream | None:
    """Host and port of a ``postgres://host:port/database`` URL."""
    authority = conn_url.partition("://")[2].partition("/")[0].rpartition("@")[2]
    host, colon, port = authority.rpartition(":")
    if not colon or not port.isdigit():
        host, port = authority, "5432"
    return Upstream(name, host.strip("[]"), int(port)) if host else None


def streaming(v: View) -> bool:
    """The WAL receiver streams from where it should."""
    server, source = v.postgres.server, upstream(v)
    receiver = server.receiver if server else None
    if receiver is None or source is None or receiver.status != "streaming":
        return False
    return receiver.sender_host in source.hosts and receiver.sender_port == source.port


# --- election ---


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
    barred_by = promise_objection(v) or failsafe.left_out(v) or stray.objection(v) or synchrony.objection(v)
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
    return request.scheduled_epoch is None or request.scheduled_epoch <= v.wall


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
    """A synchronous mode, or a timeline that other hands made, forbids this node to be elected."""
    return (stray.objection(v) or synchrony.objection(v)) is not None


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
    """A peer leads too, or is on a timeline that etcd knows no claim of: it was set back, and the leader key with it.

    A timeline that this node made itself, and of which its control file does not know yet, was claimed.
    """
    claimed = v.snapshot.claimed if v.snapshot else None
    known = max(int(own_contender(v).timeline), int(claimed or 0))
    replies = [reply for reply in v.peers.replies if reply.reached and not reply.stray] if v.peers else []
    return any(reply.leads or int(reply.timeline) > known for reply in replies)


# --- jobs and outcomes ---


def busy(v: View) -> bool:
    return v.job is not None and not v.job.done


def _ended(v: View, kind: str) -> bool:
    """That job ended, and no row has acted on its end yet."""
    return v.job is not None and v.job.kind == kind and v.job.done and v.job.started_at != v.memory.job_seen


def job_done(kind: str) -> Condition:
    def done(v: View) -> bool:
        return _ended(v, kind) and v.job is not None and v.job.error is None

    done.__name__ = f"{kind} done"
    return done


def job_failed(kind: str) -> Condition:
    def failed(v: View) -> bool:
        return _ended(v, kind) and v.job is not None and v.job.error is not None

    failed.__name__ = f"{kind} failed"
    return failed


def source_away(v: View) -> bool:
    """The last job failed because somebody could not be reached, or did not answer in time."""
    return v.job is not None and v.job.failure in (Failure.UNREACHABLE, Failure.UNKNOWN)


def refused(action: str) -> Condition:
    def was_refused(v: View) -> bool:
        return any(o.action == action and not o.ok for o in v.outcomes)

    was_refused.__name__ = f"{action} failed"
    return was_refused


def campaign_failed(v: View) -> bool:
    """The last try for the leader key came to nothing, at whatever step."""
    return any(o.action in ("EnsureGuard", "Depose", "Campaign") and not o.ok for o in v.outcomes)


def soon(v: View, at: Instant | None, longest: float) -> float:
    """How long to sleep so as to be awake at an instant to come, at most ``longest`` seconds."""
    return longest if at is None or at <= v.now else min(longest, at - v.now)


def may_lead_here(v: View) -> bool:
    return v.me.tags.may_lead and fence_allows(v) and watchdog_allows(v)


def fence_allows(v: View) -> bool:
    """The commit fence is there, or not required."""
    return fence_missing(v) is None


def fence_missing(v: View) -> str | None:
    """That the commit fence is required of whoever leads here and is not installed, in words."""
    if v.fence.mode != "required" or v.fence.installed:
        return None
    return f"postgresql.commit_fence is required, but {v.fence.why or 'it is not installed'}"


def unwritable(v: View) -> bool:
    """PostgreSQL was seen down, with all its processes, or in recovery."""
    return gone(v) or (answers(v) and in_recovery(v))


def resumable(v: View) -> bool:
    """The leader key's term is the one that this node's previous agent held."""
    return v.leader is not None and v.memory.resumable == (v.leader.term, v.leader.lease_id)


def handing_over(v: View) -> bool:
    return v.memory.goal in (Goal.HANDOVER, Goal.LEASE, Goal.SWITCHOVER, Goal.SHUTDOWN)


def stopping_fast(v: View) -> bool:
    return v.memory.stop_mode == "fast"
