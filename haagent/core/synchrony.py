"""Which standbys acknowledge commits and which may be elected, and the next safe step towards what is wanted.

Laws. Whoever is about to be writable in a synchronous mode first writes the ``sync`` key with its own name, so that the
key always names the last primary, and those whom a node left out may never have heard of are never elected by it. A
leader takes a step only while the key is of the revision that it wrote itself: a write of unknown outcome is first
written over, lest it arrive late. ``core/quorums.py`` proves the steps; here their premises are read from a View.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from haagent.core import disks
from haagent.core.actions import Action, DropSync, PutSync, StirStandbys
from haagent.core.facts import InForce, PeerReply, ServerFacts, SyncKey, Tags, View, WalSender
from haagent.core.quorums import (
    ALONE,
    NOBODY,
    Acknowledgers,
    Electors,
    acknowledgers,
    counterpart,
    electors,
    next_step,
    overlap,
    parse,
)
from haagent.core.tags import read_tags
from haagent.core.terms import Lsn

PLACEHOLDER = "__patroni_strict_sync_replica_placeholder__"
"""Matches no standby: commits wait. Source: Patroni's wire format."""
UNKNOWN_NAMES = Acknowledgers(0, frozenset("*"))
"""Names that somebody else wrote and that cannot be counted: they overlap no electorate but nobody."""
SETTLE_S = 0.2
"""How long after one session obeys a reload every walsender does: the postmaster signals them one after the other."""
CAUGHT_UP_BYTES = 16 * 1024 * 1024
"""A standby further behind is not waited for yet: commits would hang until it has caught up."""
SOON_S, PATIENT_S = 0.05, 0.5
"""How soon to look again while a step is under way: at first, and when it takes long."""
COMING_S = 1.0
"""How soon to look again for a standby that is missed and may stream soon."""


def is_on(v: View) -> bool:
    """Whether a synchronous mode is wanted."""
    return v.settings.synchronous_mode != "off"


def key(v: View) -> SyncKey | None:
    """The ``sync`` key as last read, if it binds elections. Only a leader writes it, so a leader's is up to date."""
    snapshot = v.cluster.snapshot
    found = snapshot.sync if snapshot else None
    return found if found is not None and found.leader is not None and is_on(v) else None


def led_last(v: View) -> bool:
    """By the ``sync`` key this node was the last leader: whatever was acknowledged is on it."""
    found = key(v)
    return found is not None and found.leader == v.me.name


def trusted(v: View) -> bool:
    """This node counts as holding every acknowledged commit."""
    found = key(v)
    return found is not None and v.me.name in electorate(found).members | {found.leader}


def electorate(found: SyncKey) -> Electors:
    """Who may lead besides the leader that the key names."""
    return electors(found.quorum, found.standbys)


# --- elections ---


def forced(v: View) -> bool:
    """An operator ordered a failover to this very node: what it lacks is then given up knowingly."""
    request = v.snapshot.failover if v.snapshot else None
    return request is not None and request.leader is None and request.candidate == v.me.name


def objection(v: View) -> str | None:
    """Why this node may not be elected in a synchronous mode, in words with numbers; None when it may be."""
    found = key(v)
    if found is None or led_last(v) or forced(v):
        return None
    if v.me.name in electorate(found).members:
        return None
    return f"{unlisted(v, found, v.me.name)}; {lacking(v)}; to lead with it all the same: {_override(v)}"


def unlisted(v: View, found: SyncKey, name: str) -> str:
    """That a node is not among those that hold every acknowledged commit, and who is."""
    others = sorted(electorate(found).members)
    who = f"{found.leader} or {' or '.join(others)}" if others else f"{found.leader} alone"
    return f"{name} may lack acknowledged commits: by the sync key {who} may lead"


def lacking(v: View) -> str:
    """How much of the last leader's WAL this node may lack."""
    status = v.cluster.snapshot.status if v.cluster.snapshot else None
    server = v.postgres.server
    if status is None or server is None:
        return "how much is not known"
    behind = max(0, int(status.optime) - int(server.lsn))
    return f"it is at {server.lsn}, {behind} bytes behind what {status.optime} was known of the leader"


def _override(v: View) -> str:
    return f"haagent-ctl failover {v.me.scope} --candidate {v.me.name}"


def votes_missing(v: View) -> str | None:
    """Why the peers' answers do not yet prove that this node holds every acknowledged commit; None when they do."""
    found = key(v)
    if found is None or led_last(v) or forced(v):
        return None
    of = electorate(found)
    replies = v.peers.replies if v.peers else ()
    if of.quorum == 0 or any(_votes(v, reply) for reply in replies if reply.name == found.leader):
        return None
    votes = [reply.name for reply in replies if reply.name in of.members and _votes(v, reply)]
    if len(votes) >= of.quorum:
        return None
    others = " ".join(sorted(of.members - {v.me.name}))
    return (
        f"{len(votes)} of {of.quorum} votes needed from {others}: only nodes that answer and have no more WAL than "
        f"{v.me.name} count; to lead without them: {_override(v)}"
    )


def _votes(v: View, reply: PeerReply) -> bool:
    """A standby that shows all the WAL it has, and has no more than this node.

    Looked at after the key became free: before that the last leader may have acknowledged more by its word.
    """
    server = v.postgres.server
    asked_at = v.peers.asked_at if v.peers else v.memory.since
    if asked_at - reply.looked_s * (1 + v.timing.drift) < v.memory.since:
        return False
    if server is None or reply.name == v.me.name or not (reply.reached and reply.running and reply.in_recovery):
        return False
    return reply.complete and (reply.timeline, reply.lsn) <= (server.timeline, server.lsn)


def electable(v: View, replies: Iterable[PeerReply]) -> tuple[PeerReply, ...]:
    """Those peers to whom the leader key may be left."""
    found = key(v)
    if found is None:
        return tuple(replies)
    allowed = electorate(found).members | {found.leader}
    return tuple(reply for reply in replies if reply.name in allowed)


def unfit(v: View, name: str, replies: Iterable[PeerReply] | None = None) -> str | None:
    """Why this leader cannot hand over to a member without loss; ``replies``, where given, must have enough votes."""
    found = key(v)
    if found is None:
        return None
    of = electorate(found)
    if name not in of.members:
        return f"{name} is not a synchronous standby (the sync key has {', '.join(sorted(of.members)) or 'none'})"
    if replies is None:
        return None
    votes = sum(r.name != name and r.name in of.members and r.reached and r.running for r in replies)
    return None if votes >= of.quorum else f"{name} would need {of.quorum} votes, but {votes} voters answer"


# --- becoming writable ---


def claimed(v: View) -> Electors:
    """Who may be elected once this node is a primary again on the timeline it was: as before if it was the last."""
    found = key(v)
    return electorate(found) if found is not None and found.leader == v.me.name else NOBODY


def ours(v: View) -> bool:
    """The key names this node, and is as this agent wrote it: no write of it can be under way any more."""
    found = key(v)
    return found is not None and found.leader == v.me.name and found.revision == v.memory.sync_revision


def claim(v: View, of: Electors = NOBODY) -> tuple[Action, ...]:
    """Put this node's name into the key before PostgreSQL becomes writable.

    After a promotion nobody else may be elected before it has streamed from the new primary: not only might it lack
    commits, it would not even know of the new timeline, and make one of the same number.
    """
    found = key(v)
    there = ours(v) and found is not None and electorate(found) == of
    return () if there or not is_on(v) else put(v, of)


def put(v: View, of: Electors) -> tuple[Action, ...]:
    """Write the key, if it is still as last read."""
    snapshot, term = v.cluster.snapshot, v.lease.term
    if snapshot is None or term is None:
        return ()
    revision = snapshot.sync.revision if snapshot.sync else None
    return (PutSync(term, v.me.name, of.quorum, tuple(sorted(of.members)), revision),)


def first_names(v: View, of: Electors = NOBODY) -> str:
    """``synchronous_standby_names`` with which a primary begins: they overlap those who may be elected after it."""
    return str(_least(v, of)) if is_on(v) else ""


def begins_safely(v: View) -> bool:
    """PostgreSQL, still in recovery, obeys the names with which it is to begin after its promotion."""
    server = v.postgres.server
    return not is_on(v) or (server is not None and parse(server.synchronous_standby_names) == parse(first_names(v)))


def _least(v: View, of: Electors) -> Acknowledgers:
    names = acknowledgers(of, any_will_do=v.settings.synchronous_mode == "quorum")
    return (
        Acknowledgers(1, frozenset({PLACEHOLDER})) if names == ALONE and v.settings.synchronous_mode_strict else names
    )


# --- leading ---


@dataclass(frozen=True, slots=True)
class Change:
    """What to do now: the names that should stand in PostgreSQL's files, and a write of the key, never both new."""

    names: str
    actions: tuple[Action, ...] = ()
    wake_s: float = float("inf")
    """The longest sleep before it must be looked at again."""


def change(v: View) -> Change:
    """The next safe step of a primary."""
    server, snapshot, term = _answering(v), v.snapshot, v.lease.term
    names = on_file(v)
    if server is None or snapshot is None or term is None:
        return Change(names)
    if not is_on(v):
        drop = () if snapshot.sync is None else (DropSync(term, snapshot.sync.revision),)
        return Change(names if drop else "", drop, _soon(v) if drop else float("inf"))
    possible = {_read(server.synchronous_standby_names), _read(names)}
    if not ours(v):
        # A key that an etcd brought back which was set back may list those whom the names in force do not wait for.
        safe = all(overlap(one, claimed(v)) for one in possible)
        return Change(names, put(v, claimed(v) if safe else NOBODY), _soon(v))
    return _step(v, server, names, possible)


def _step(v: View, server: ServerFacts, names: str, possible: set[Acknowledgers]) -> Change:
    present = claimed(v)
    wish, wished = wanted(v, server, present)
    step = next_step(present, possible, holders(v, server), wish, wished)
    if isinstance(step, Electors):
        return Change(names, put(v, step), _soon(v))
    if isinstance(step, Acknowledgers):
        return Change(str(step), wake_s=_soon(v))
    if present != wished:
        return Change(names, wake_s=_soon(v))
    return Change(names, wake_s=COMING_S if _somebody_is_coming(v, server, wish) else float("inf"))


def stir(v: View) -> tuple[Action, ...]:
    """Have the standbys answer, when new names come into force.

    PostgreSQL looks at waiting commits only when a standby answers, and idle ones answer every
    ``wal_receiver_status_interval`` (10 s): commits that waited for a lost standby would go on waiting.
    """
    seen = v.memory.sync_names
    return (StirStandbys(),) if seen and seen.names and v.now in (seen.since, seen.settled_at) else ()


def on_file(v: View) -> str:
    """The names that PostgreSQL's files hold, as far as this agent wrote them; else those in force."""
    configured, server = v.postgres.configured, v.postgres.server
    if configured is not None and configured.synchronous_standby_names is not None:
        return configured.synchronous_standby_names
    return server.synchronous_standby_names if server else ""


def wanted(v: View, server: ServerFacts, present: Electors) -> tuple[Acknowledgers, Electors]:
    """Who should acknowledge commits, and who may then be elected."""
    chosen, quorum = candidates(v, server, present), v.settings.synchronous_mode == "quorum"
    count = min(v.settings.synchronous_node_count, len(chosen))
    if count:
        names = Acknowledgers(count, frozenset(chosen if quorum else chosen[:count]), quorum)
        return names, counterpart(names)
    if v.settings.synchronous_mode_strict:
        return _least(v, present), present
    return ALONE, NOBODY


def candidates(v: View, server: ServerFacts, present: Electors) -> list[str]:
    """Standbys that may acknowledge commits now: by the operator's preference, then whoever does already, then WAL."""
    known = present.members | _read(on_file(v)).members
    there = [s for s in server.senders if s.state == "streaming" and s.flush_lsn is not None]
    streaming = {s.application_name: s for s in sorted(there, key=lambda s: s.flush_lsn or Lsn(0))}
    fit: list[tuple[tuple[int, bool, bool, int, str], str]] = []
    for name, sender in streaming.items():
        member = v.snapshot.member(name) if v.snapshot else None
        if member is None or not member.running or name == v.me.name or disks.unfit(member):
            continue
        tags = read_tags(member.tags)
        if may_acknowledge(tags) and _near(v, server, sender, streaming.values(), known=name in known):
            priority = 1 if tags.sync_priority is None else tags.sync_priority
            rank = (-priority, tags.nofailover, name not in known, -int(sender.flush_lsn or 0), name)
            fit.append((rank, name))
    return [name for _, name in sorted(fit)]


def may_acknowledge(tags: Tags) -> bool:
    """Whether the operator lets commits wait for this node."""
    return not tags.nosync and not tags.nostream and (tags.sync_priority is None or tags.sync_priority > 0)


def _near(v: View, server: ServerFacts, sender: WalSender, senders: Iterable[WalSender], *, known: bool) -> bool:
    """Whether a standby is close enough: a newcomer, so that no commit hangs; one that is there, as the operator says.

    Source of ``maximum_lag_on_syncnode``: counted from the standby that is furthest, from the primary if it is alone.
    """
    flushed, all_flushed = int(sender.flush_lsn or 0), [int(s.flush_lsn or 0) for s in senders]
    end = max(all_flushed) if len(all_flushed) > 1 else int(server.write_lsn or 0)
    limit = v.settings.maximum_lag_on_syncnode
    if 0 < limit < end - flushed:
        return False
    return known or int(server.write_lsn or 0) - flushed <= CAUGHT_UP_BYTES


def _somebody_is_coming(v: View, server: ServerFacts, wish: Acknowledgers) -> bool:
    """A member that could acknowledge commits does not stream yet, and one is missed."""
    quorum = v.settings.synchronous_mode == "quorum"
    if not quorum and len(wish.members - {PLACEHOLDER}) >= v.settings.synchronous_node_count:
        return False
    members = v.snapshot.members if v.snapshot else ()
    able = {m.name for m in members if m.running and m.name != v.me.name and may_acknowledge(read_tags(m.tags))}
    return bool(able - wish.members)


def _soon(v: View) -> float:
    """Soon, but less and less often when it takes long or etcd does not write."""
    if any(outcome.action in ("PutSync", "DropSync") and not outcome.ok for outcome in v.outcomes):
        return PATIENT_S
    seen = v.memory.sync_names
    return SOON_S if seen is None else min(PATIENT_S, max(SOON_S, (v.now - seen.since) / 4))


def _read(text: str) -> Acknowledgers:
    return parse(text) or UNKNOWN_NAMES


def _answering(v: View) -> ServerFacts | None:
    server = v.postgres.server
    lives = v.postgres.running and v.postgres.unreachable_since is None
    return server if lives and server is not None and not (server.in_recovery or server.stale) else None


# --- what is remembered ---


def holders(v: View, server: ServerFacts) -> frozenset[str]:
    """Standbys that have flushed all that was acknowledged before the present names came into force."""
    seen = v.memory.sync_names
    if seen is None or seen.lsn is None or seen.names != on_file(v):
        return frozenset()
    reached = (s for s in server.senders if s.state == "streaming" and (s.flush_lsn or Lsn(0)) >= seen.lsn)
    return frozenset(s.application_name for s in reached)


def remembered(v: View) -> dict[str, Any]:
    """What of the last writes and of the names in force must be known in the next tick."""
    revision = v.memory.sync_revision
    for outcome in v.outcomes:
        if outcome.action == "PutSync":
            revision = outcome.result if outcome.ok else None
    return {"sync_revision": revision, "sync_names": _in_force(v)}


def _in_force(v: View) -> InForce | None:
    server, seen = _answering(v), v.memory.sync_names
    if server is None:
        return None
    names = server.synchronous_standby_names
    if seen is None or (seen.names, seen.started_at) != (names, server.started_at) or names != on_file(v):
        return InForce(names, server.started_at, v.now)
    if seen.lsn is None and server.settled and v.now - seen.since >= SETTLE_S:
        return replace(seen, lsn=server.write_lsn, settled_at=v.now)
    return seen
