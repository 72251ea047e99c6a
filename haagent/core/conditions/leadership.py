"""Who leads, by the DCS."""

from __future__ import annotations

from haagent.core import failsafe, lease, mixed, remote, synchrony
from haagent.core.conditions.postgres import writable
from haagent.core.conditions.protection import may_lead_here
from haagent.core.facts import Heartbeat, View
from haagent.core.methods import ReplicaMethod
from haagent.core.terms import Instant, later


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
    exists = v.snapshot is not None and bool(v.snapshot.initialize)
    return exists and let_go(v) and not synchrony.trusted(v) and bool(leaderless_methods(v))


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


def soon(v: View, at: Instant | None, longest: float) -> float:
    """How long to sleep so as to be awake at an instant to come, at most ``longest`` seconds."""
    return longest if at is None or at <= v.now else min(longest, at - v.now)


def follows_elsewhere(v: View) -> bool:
    """This is a standby cluster, where nothing may be writable unless it is paused."""
    return remote.is_set(v) and not v.settings.pause
