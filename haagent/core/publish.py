"""What this node writes about itself and, when it leads, about the cluster: wanted values against what is there."""

from __future__ import annotations

from collections.abc import Mapping

from haagent.core import copies, disks, failsafe, remote, slots, stray, synchrony
from haagent.core.actions import (
    Action,
    Callback,
    ClaimTimeline,
    Configure,
    DropSync,
    FinishInitialize,
    PublishHistory,
    PublishMember,
    PublishStatus,
    PutConfig,
    PutFailover,
    SyncSlots,
)
from haagent.core.conditions import as_upstream, leads, streaming, upstream
from haagent.core.facts import (
    PRIMARY,
    REPLICA,
    STANDBY_LEADER,
    DataKind,
    Goal,
    Member,
    ServerConfig,
    ServerFacts,
    Snapshot,
    Status,
    Upstream,
    View,
)
from haagent.core.states import WRITABLE, State
from haagent.core.terms import Instant, Lsn, Revision, Term, Timeline

USUAL_PARAMETERS = {
    "recovery_init_sync_method": "syncfs",
    "wal_retrieve_retry_interval": "500ms",
}
"""What makes a restart and a change of leader short; the operator's own values win.

Source: PostgreSQL manual, "Error Handling" and "Standby Servers"; syncfs reports errors since Linux 5.8.
"""

_WIRE_STATE = {
    State.VACANT: "stopped",
    State.INITIALIZING: "initializing new cluster",
    State.CLONING: "creating replica",
    State.STARTING: "starting",
    State.DEMOTING: "stopping",
    State.FENCED: "stopped",
    State.REWINDING: "stopped",
    State.FAILED: "start failed",
}


_WIRE_PHASE = {"custom bootstrap": "running custom bootstrap script", "recovery": "starting after custom bootstrap"}
"""What a bootstrap is at, where an operator's program makes the data."""


def wire_state(v: View) -> str:
    """The state of this node in the words of the wire format."""
    if v.state is State.INITIALIZING and v.job is not None and v.job.progress is not None:
        return _WIRE_PHASE.get(v.job.progress.phase, _WIRE_STATE[v.state])
    if v.memory.leaving_at is not None:
        return "stopping"
    if v.state is State.DEMOTING and v.memory.goal is Goal.RESTART:
        return "restarting"
    if v.state is State.FENCED and v.memory.goal is Goal.HANDOVER:
        return "crashed"
    fixed = _WIRE_STATE.get(v.state)
    if fixed is not None:
        return fixed
    if v.postgres.server is not None and v.postgres.running:
        return "running"
    return "starting" if v.postgres.running or v.state is State.PROMOTING else "crashed"


def wire_role(v: View) -> str:
    """The role of this node in the words of the wire format."""
    if v.state in (State.VACANT, State.INITIALIZING) or (v.state is State.FAILED and _without_data(v)):
        return "uninitialized"
    if v.postgres.writable and v.postgres.running:
        return "primary" if leads(v) else "demoted"
    if v.state is State.STANDBY_LEADER and leads(v):
        return STANDBY_LEADER
    # A crash that is recovered from in place is no change of role.
    recovers = v.state in WRITABLE and v.postgres.server is None and v.memory.told_role == "primary" and leads(v)
    return "primary" if recovers else "replica"


def _without_data(v: View) -> bool:
    """Nothing of any cluster lies here, but at most what a bootstrap that failed has left: others may begin one."""
    data = v.postgres.data
    return data.kind in (DataKind.ABSENT, DataKind.EMPTY) or data.marker == "initializing"


def member(v: View) -> Member:
    """This node's member key."""
    server = v.postgres.server if v.postgres.running else None
    lsn = server.lsn if server else None
    receiving = server is not None and server.receiver is not None and server.receiver.status == "streaming"
    replication = None
    if server is not None and server.in_recovery:
        replication = "streaming" if receiving else "in archive recovery" if server.archive_recovery else None
    pending = (
        {name: {"old_value": old, "new_value": new} for name, (old, new) in server.pending_restart.items()}
        if server
        else {}
    )
    return Member(
        name=v.me.name,
        conn_url=v.me.conn_url,
        api_url=v.me.api_url,
        state=wire_state(v),
        role=wire_role(v),
        version=v.me.version,
        timeline=server.timeline if server else None,
        lsn=lsn,
        receive_lsn=server.received_lsn if server and server.in_recovery else None,
        replay_lsn=server.replayed_lsn if server and server.in_recovery else None,
        replication_state=replication,
        tags=v.me.tags.published,
        pending_restart=pending or None,
        checkpoint_after_promote=None if v.memory.checkpointed else False,
        pause=v.settings.pause,
        scheduled_restart=v.memory.scheduled_restart,
        extra={
            **({"proxy_url": v.me.proxy_url} if v.me.proxy_url else {}),
            **({disks.WIRE_FIELD: word} if (word := disks.wire(v)) else {}),
            **({stray.WIRE_FIELD: int(timeline)} if (timeline := v.memory.standing.stray) else {}),
        },
    )


def member_if_changed(v: View) -> tuple[Action, ...]:
    """Publish this node's member key when it differs from what stands in the DCS."""
    if v.snapshot is None or v.lease.lease_id is None or v.lease.lost is not None:
        return ()
    wanted = member(v)
    there = v.snapshot.member(v.me.name) == wanted and v.memory.published_under == v.lease.lease_id
    return () if there else (PublishMember(wanted),)


def fenced(v: View, parameters: Mapping[str, str]) -> Mapping[str, str]:
    """Parameters with which PostgreSQL loads the commit fence, where it is installed and not turned off."""
    if not v.fence.installed or v.fence.mode == "off":
        return parameters
    others = parameters.get("shared_preload_libraries", "")
    libraries = ", ".join(["haagent_fence", *(one for one in (others.strip(),) if one)])
    return {**parameters, "shared_preload_libraries": libraries, "haagent_fence.page": v.fence.page}


def server_config(v: View, source: Upstream | None, synchronous: str = "", role: str = REPLICA) -> ServerConfig:
    """What PostgreSQL's configuration files should say in a role; on a primary also which standbys commits wait for."""
    rules, server = v.settings.rules(role), v.postgres.server if v.postgres.running else None
    keeps_logical = slots.keeps_logical(server, v.settings, v.me.tags.may_lead)
    return ServerConfig(
        upstream=source,
        slot_name=_slot_at(v, source),
        application_name=v.me.name,
        parameters=fenced(v, {**USUAL_PARAMETERS, **rules.parameters}),
        pg_hba=rules.pg_hba,
        pg_ident=rules.pg_ident,
        recovery=rules.recovery,
        synchronous_standby_names=synchronous,
        keeps_logical=keeps_logical,
        restarts_after_crash=role == PRIMARY,
        awaited_slots=slots.awaited(server, synchronous) if keeps_logical else (),
    )


def _slot_at(v: View, source: Upstream | None) -> str | None:
    """The slot from which this node streams there."""
    if source is None or not v.settings.use_slots or v.me.tags.nostream:
        return None
    return remote.slot(v) if source == remote.source(v) else slots.slot_name(v.me.name)


def configured(v: View, source: Upstream | None, synchronous: str = "", role: str = REPLICA) -> tuple[Action, ...]:
    """Reconfigure PostgreSQL when its files say something else."""
    wanted, present = server_config(v, source, synchronous, role), v.postgres.configured
    if present == wanted:
        return ()
    if present is None or _as_configured(present) == _as_configured(wanted):
        return (Configure(wanted),)
    told = role if role == STANDBY_LEADER else "primary" if v.postgres.writable else "replica"
    return (Configure(wanted), Callback("on_reload", told))


def _as_configured(config: ServerConfig) -> tuple[object, ...]:
    """What operators say of PostgreSQL, without what changes with the cluster's roles."""
    return (dict(config.parameters), config.pg_hba, config.pg_ident, dict(config.recovery))


def followed(v: View) -> tuple[Action, ...]:
    """Stream from where this node should, as far as the DCS tells; while it is silent only a promise changes that."""
    if v.snapshot is None:
        return _followed_by_promise(v)
    source = upstream(v)
    if source is None and v.postgres.configured is not None:
        source = v.postgres.configured.upstream
    return configured(v, source) + member_slots(v) + copies.orders(v)


def _followed_by_promise(v: View) -> tuple[Action, ...]:
    """While etcd is silent: stream from the primary that goes on, and let no slot hold back more than its own does."""
    promise, source = failsafe.promised(v), upstream(v)
    if promise is None or source is None:
        return ()
    orders = () if v.me.tags.replicatefrom else configured(v, source)
    known, server = v.cluster.snapshot, v.postgres.server
    if known is None or server is None or not v.postgres.running or v.settings.pause:
        return orders
    keep = slots.wanted(known, v.me.name, promise.name, v.settings, v.me.tags.may_lead)
    order = slots.difference(server, keep, frozenset(), v.settings, Status(Lsn(0), promise.slots))
    return (*orders, SyncSlots(advance=order.advance)) if order is not None and order.advance else orders


def slots_seen(v: View) -> Mapping[str, Instant]:
    """When the member of each slot was last there."""
    if v.snapshot is None:
        return v.memory.slots_seen
    return slots.last_seen(v.memory.slots_seen, v.snapshot, v.now, v.settings)


def member_slots(v: View) -> tuple[Action, ...]:
    """Create, drop, advance and amend the slots of this node."""
    snapshot, server = v.snapshot, v.postgres.server
    if snapshot is None or server is None or not v.postgres.running or v.settings.pause:
        return ()
    leader = snapshot.leader.name if snapshot.leader else None
    keep = slots.wanted(snapshot, v.me.name, leader, v.settings, v.me.tags.may_lead or v.postgres.writable)
    present = {slots.slot_name(m.name) for m in snapshot.members}
    away = slots.retained(v.memory.slots_seen, v.now, v.settings) - present
    order = slots.difference(server, keep, away, v.settings, snapshot.status)
    return () if order is None else (order,)


def led(v: View) -> tuple[Action, ...]:
    """What a primary keeps up to date: its files, its slots, and the keys of the cluster."""
    snapshot, server, term = v.snapshot, v.postgres.server, v.lease.term
    change = synchrony.change(v)
    orders = configured(v, None, change.names, PRIMARY)
    if snapshot is None or server is None or term is None:
        return orders
    orders += change.actions + synchrony.stir(v) + member_slots(v) + _identity(v) + failsafe.maintained(v)
    orders += _status(v, snapshot, server, term)
    if _history_lacks(v, snapshot, server.timeline):
        orders += (PublishHistory(term, server.timeline),)
    if (snapshot.claimed or 0) < server.timeline:
        orders += claim_timeline(v, term, server.timeline)
    return orders


def led_from_afar(v: View) -> tuple[Action, ...]:
    """What the leader of a standby cluster keeps up to date: the same, but for what only a primary has.

    The ``sync`` key goes once it streams from the remote primary: until then it says who holds the commits that this
    cluster acknowledged when it had a primary of its own.
    """
    snapshot, server, term = v.snapshot, v.postgres.server, v.lease.term
    orders = configured(v, remote.source(v), role=STANDBY_LEADER)
    if snapshot is None or server is None or term is None:
        return orders
    orders += member_slots(v) + _identity(v) + failsafe.maintained(v) + _status(v, snapshot, server, term)
    if snapshot.sync is not None and streaming(v):
        orders += (DropSync(term, snapshot.sync.revision),)
    return orders


def _status(v: View, snapshot: Snapshot, server: ServerFacts, term: Term) -> tuple[Action, ...]:
    """The ``status`` key, when it says something else."""
    listed = {slot.name for slot in slots.permanent(v.settings)}
    theirs = slots.retained(v.memory.slots_seen, v.now, v.settings)
    known = slots.positions(server, v.me.name, theirs | listed)
    retain = tuple(sorted((theirs - listed) & known.keys()))
    status = snapshot.status
    there = status is not None and (status.optime, dict(status.slots), status.retain_slots) == (
        server.lsn,
        known,
        retain,
    )
    return () if there else (PublishStatus(term, server.lsn, known, retain),)


def _history_lacks(v: View, snapshot: Snapshot, timeline: Timeline) -> bool:
    """Whether the ``history`` key may not tell yet how this timeline began; numbers may have been skipped before it."""
    newest = max((int(line.timeline) for line in snapshot.history), default=0)
    told = v.memory.history_of == timeline and bool(snapshot.history)
    return newest < int(timeline) - 1 and not told


def history_of(v: View) -> Timeline | None:
    """The timeline whose history this primary last published."""
    done = [one.result for one in v.outcomes if one.action == "PublishHistory" and one.ok]
    return done[-1] if done else v.memory.history_of


def claim_timeline(v: View, term: Term, number: Timeline) -> tuple[Action, ...]:
    """Note a timeline number as taken, if nobody did so since the keys were read."""
    known = v.cluster.snapshot.claimed_revision if v.cluster.snapshot else Revision(0)
    return (ClaimTimeline(term, number, known or None),)


def _identity(v: View) -> tuple[Action, ...]:
    """The keys that a cluster must have: put back by its primary when they are missing."""
    snapshot, server = v.snapshot, v.postgres.server
    orders: tuple[Action, ...] = ()
    if snapshot is None or server is None:
        return orders
    if snapshot.initialize is None or snapshot.initialize == "":
        begun = None if snapshot.initialize is None else snapshot.initialize_revision
        orders += (FinishInitialize(server.system_id, begun),)
    if snapshot.config is None:
        orders += (PutConfig(v.settings.known_document or v.settings.bootstrap_document, None),)
    return orders


def request_done(v: View) -> tuple[Action, ...]:
    """Mark a request for a change of leader as done with, when it is."""
    request = v.snapshot.failover if v.snapshot else None
    if request is None or request.empty:
        return ()
    mine = request.candidate == v.me.name and request.due(v.wall)
    passed = request.leader is not None and request.leader != v.me.name
    return (PutFailover(None, None, None, request.revision),) if mine or passed else ()


def clone_source(v: View) -> Upstream | None:
    """From whom to take a base backup: a running ``clonefrom`` member, else the leader once it runs as one."""
    snapshot = v.snapshot
    if snapshot is None or snapshot.leader is None:
        return remote.copy_source(v)
    willing = [m for m in snapshot.members if m.tags.get("clonefrom") and m.running and m.name != v.me.name]
    leader = snapshot.member(snapshot.leader.name)
    if leader is not None and not remote.follows(v, leader):
        return remote.copy_source(v)
    if synchrony.trusted(v):
        willing = []  # it counts as holding every acknowledged commit: another standby's copy may not
    if willing and leader is not None and leader.running:
        chosen = sorted(willing, key=lambda m: m.name)[0]
        return as_upstream(chosen.name, chosen.conn_url)
    if leader is None or leader.name == v.me.name or not leader.running or not leader.leading:
        return None
    return as_upstream(leader.name, leader.conn_url)
