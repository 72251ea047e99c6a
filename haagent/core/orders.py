"""The named builders of actions that rows of the table refer to; each reads one View and orders, never asks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from haagent.core import conditions as c
from haagent.core import disks, election, failsafe, publish, remote, slots, stalls, synchrony, timelines
from haagent.core.actions import (
    AbandonInitialize,
    Action,
    ArmGuard,
    AskPeers,
    BeginInitialize,
    Callback,
    Campaign,
    CancelJob,
    Checkpoint,
    ClearGuard,
    Clone,
    Compare,
    Depose,
    DisarmGuard,
    EnsureGuard,
    Exit,
    FinishInitialize,
    Initialize,
    KillPostgres,
    MoveAside,
    OpenWatchdog,
    PrePromote,
    Promote,
    PutConfig,
    PutFailover,
    Resign,
    ResumeLease,
    Rewind,
    StartPrimary,
    StartStandby,
    StopPostgres,
)
from haagent.core.facts import PRIMARY, STANDBY_LEADER, DataKind, Failure, FenceFacts, Goal, Pending, Upstream, View
from haagent.core.intents import verdict
from haagent.core.states import State
from haagent.core.terms import Instant, SystemId, later

RETRY_FIRST_S = 1.0
RETRY_LONGEST_S = 30.0
STAND_BACK_S = 10.0
REPLAY_STEP = 64 * 1024 * 1024
BEFORE_STOP_S = 60.0
"""How long ``before_stop`` may run where nothing presses."""
SOURCE_AWAY_S = 5.0
"""How long a rewind waits for a source that could not be reached."""


@dataclass(frozen=True, slots=True)
class Orders:
    """What a builder orders: actions, changes of memory, and words for this very case."""

    actions: tuple[Action, ...] = ()
    memory: dict[str, Any] = field(default_factory=dict)
    detail: str = ""


Builder = Callable[[View], Orders]


def nothing(v: View) -> Orders:
    return Orders()


def leave(v: View) -> Orders:
    """End the agent."""
    return Orders((Exit(0),))


def leave_running(v: View) -> Orders:
    """End the agent and leave PostgreSQL as it is: the cluster is paused."""
    return Orders((DisarmGuard(), Exit(0, "the cluster is paused: PostgreSQL is left running")))


def refuse_to_run(v: View) -> Orders:
    known = v.snapshot.initialize if v.snapshot else None
    text = (
        f"the data directory has system identifier {v.postgres.data.system_id}, cluster {v.me.scope} has {known}: "
        f"this is another cluster's data, or the scope is wrong; the directory is left as it is"
    )
    return Orders((Exit(1, text),), detail=text)


def _backoff(v: View) -> dict[str, Any]:
    delay = min(RETRY_LONGEST_S, RETRY_FIRST_S * 2.0**v.memory.attempts)
    return {"attempts": v.memory.attempts + 1, "retry_at": later(v.now, delay)}


def _job_error(v: View) -> str:
    return (v.job.error or "") if v.job else ""


# --- bootstrap and clone ---


def claim_bootstrap(v: View) -> Orders:
    return Orders((BeginInitialize(),))


def run_initdb(v: View) -> Orders:
    begun = next((o.result for o in v.outcomes if o.action == "BeginInitialize" and o.ok), None)
    # A bootstrap commits before there is a lease: its short-lived server has no commit fence.
    config = publish.server_config(replace(v, fence=FenceFacts()), None, role=PRIMARY)
    return Orders((EnsureGuard(), Initialize(config)), {"initialize_begun": begun})


def release_orphaned_bootstrap(v: View) -> Orders:
    revision = v.snapshot.initialize_revision if v.snapshot else None
    return Orders(() if revision is None else (AbandonInitialize(revision),), {"since": v.now})


def publish_cluster(v: View) -> Orders:
    system_id = v.job.result if v.job else None
    actions: tuple[Action, ...] = (
        FinishInitialize(SystemId(str(system_id)), v.memory.initialize_begun),
        PutConfig(v.settings.bootstrap_document, None),
        Campaign(failsafe.proof(v.snapshot)),
    )
    if v.snapshot is not None and v.snapshot.config is not None:
        actions = (actions[0], actions[2])
    return Orders(actions, {"attempts": 0})


def give_bootstrap_up(v: View) -> Orders:
    begun = v.memory.initialize_begun
    release: tuple[Action, ...] = () if begun is None else (AbandonInitialize(begun),)
    changes = {**_backoff(v), "initialize_begun": None}
    return Orders((*release, *_aside(v, "bootstrap failed")), changes, _job_error(v))


def undo_bootstrap(v: View) -> Orders:
    """A bootstrap of this node was interrupted by the end of its agent."""
    revision = v.snapshot.initialize_revision if v.snapshot and v.snapshot.initialize == "" else None
    release: tuple[Action, ...] = () if revision is None else (AbandonInitialize(revision),)
    return Orders((*release, *_aside(v, "bootstrap interrupted")))


def move_unfinished_aside(v: View) -> Orders:
    return Orders((MoveAside(f"{v.postgres.data.marker or 'clone'} interrupted"),))


def clone(v: View) -> Orders:
    source = publish.clone_source(v)
    wanted = v.memory.clone_source
    named = v.snapshot.member(wanted) if v.snapshot and wanted else None
    if named is not None:
        source = c.as_upstream(named.name, named.conn_url)
    if source is None:
        return Orders()
    own_slot = v.settings.use_slots and not v.me.tags.nostream and source != remote.source(v)
    slot = slots.slot_name(v.me.name) if own_slot else None
    return Orders(
        (Clone(source, slot, v.settings.replica_methods),), detail=f"from {source.name} at {source.host}:{source.port}"
    )


def clone_without_leader(v: View) -> Orders:
    methods = c.leaderless_methods(v)
    return Orders((Clone(None, None, methods),), detail=f"by {', '.join(one.name for one in methods)}")


def clone_failed(v: View) -> Orders:
    return Orders(_aside(v, "clone failed"), {**_backoff(v), "clone_source": None}, _job_error(v))


def _aside(v: View, why: str) -> tuple[Action, ...]:
    """Move aside what was begun and did not end, and nothing else: whole data may have been found meanwhile."""
    return (MoveAside(why),) if v.postgres.data.kind is DataKind.UNFINISHED else ()


def start_clone(v: View) -> Orders:
    orders = start_standby(v)
    return replace(orders, memory={**orders.memory, "clone_source": None, "attempts": 0, "divergence": None})


def end_job(v: View) -> Orders:
    return Orders((CancelJob(),))


# --- starting and following ---


def start_standby(v: View) -> Orders:
    source = c.upstream(v)
    where = f"streaming from {source.name} at {source.host}:{source.port}" if source else "read-only, without upstream"
    # A guard that this agent has not spoken to yet may have fired, and would kill whatever is started.
    clear: tuple[Action, ...] = () if v.guard.alive and not v.guard.fired else (EnsureGuard(), ClearGuard())
    return Orders((*clear, StartStandby(publish.server_config(v, source))), {"goal": _after_start(v)}, detail=where)


def _after_start(v: View) -> Goal:
    """A restart is over only when PostgreSQL answers again, and callbacks are told."""
    return Goal.RESTART if v.memory.goal is Goal.RESTART else Goal.NONE


def start_failed(v: View) -> Orders:
    return Orders((), {**_backoff(v), "start_failures": v.memory.start_failures + 1})


def settle(v: View) -> Orders:
    """PostgreSQL answers as a standby: failures are forgotten."""
    adopted = v.state is State.FENCED and not v.memory.told_role
    callback = () if adopted else _role_callback(v, "replica")
    changes = {"attempts": 0, "start_failures": 0, "goal": Goal.NONE, "prepared": False}
    told = {"told_role": "replica", "told_stop": False}
    return Orders((*callback, *publish.followed(v)), changes | told)


def follow(v: View) -> Orders:
    changes = {"rejoins": 0} if c.streaming(v) else {}
    return Orders(publish.followed(v), changes, disks.trouble(v) or stalls.why(v))


def rejoin(v: View) -> Orders:
    stop = stopper(Goal.FOLLOW)(v)
    return replace(stop, memory={**stop.memory, "rejoins": v.memory.rejoins + 1})


def keep_promise(v: View) -> Orders:
    """A primary goes on without etcd: it is followed, and its key is left alone."""
    promise = failsafe.promised(v)
    if promise is None:
        return Orders()
    whom = promise.name or "whoever its previous agent promised it to"
    term = "" if promise.term is None else f" of term {promise.term}"
    detail = f"{whom}{term}, {promise.length_s:.1f} s from its last request"
    return replace(follow(v), detail=detail)


def lead_by_promises(v: View) -> Orders:
    """etcd is silent, and all other members agreed to wait."""
    mandate = failsafe.mandate(v)
    names = ", ".join(mandate.members) if mandate is not None and mandate.members else "there is no other"
    return replace(lead(v), detail=f"all must agree, anew each time: {names}")


def compare(v: View) -> Orders:
    return _ask_history(c.historian(v))


def _ask_history(source: Upstream | None) -> Orders:
    return Orders(() if source is None else (Compare(source),))


def note_verdict(v: View) -> Orders:
    found = v.job.result if v.job else None
    return Orders((), {"divergence": found, "attempts": 0} | _used(v), detail=getattr(found, "reason", ""))


def compare_failed(v: View) -> Orders:
    stalled = v.memory.stalled
    told = {} if stalled is None else {"stalled": replace(stalled, why=_job_error(v))}
    return Orders((), _backoff(v) | _used(v) | told, _job_error(v))


def ask_why_stalled(v: View) -> Orders:
    orders, known = _ask_history(c.upstream(v)), v.memory.stalled
    return replace(
        orders, memory={} if known is None else {"stalled": replace(known, asked_at=v.now)}, detail=stalls.why(v)
    )


def _used(v: View) -> dict[str, Any]:
    return {"job_seen": v.job.started_at if v.job else None}


def rewind(v: View) -> Orders:
    source, found = c.historian(v), v.memory.divergence
    if source is None:
        return Orders()
    lost = ""
    if found is not None and found.fork_lsn is not None:
        commits = "an unknown number of" if found.lost_commits is None else str(found.lost_commits)
        lost = f"{found.lost_bytes} bytes and {commits} commits beyond {found.fork_lsn} are given up"
    return Orders((Rewind(source),), detail=lost)


def rewind_failed(v: View) -> Orders:
    """Tried again; a source that could not be reached speaks neither against the rewind nor for a new copy."""
    changes = {"retry_at": later(v.now, SOURCE_AWAY_S)} if c.source_away(v) else _backoff(v)
    return Orders((), changes, _job_error(v))


def discard_diverged(v: View) -> Orders:
    return Orders((MoveAside("diverged"),), {"divergence": None, "attempts": 0})


def discard_failed_rewind(v: View) -> Orders:
    return Orders((MoveAside("rewind failed"),), {"divergence": None, "attempts": 0}, _job_error(v))


def need_operator(v: View) -> Orders:
    name = f"{v.me.scope} {v.me.name}"
    detail = f"{_job_error(v)} this copy is kept; to clone it anew: haagent-ctl reinit {name}".strip()
    return Orders((), {}, detail)


def say_immovable(v: View) -> Orders:
    return Orders(detail=next(o.detail for o in v.outcomes if o.action == "MoveAside"))


def say_data(v: View) -> Orders:
    return Orders(detail=v.postgres.data.detail)


def say_disk(v: View) -> Orders:
    return Orders(detail=disks.trouble(v) or "")


def say_trouble(v: View) -> Orders:
    return Orders(detail=v.memory.trouble)


def reinit_aside(v: View) -> Orders:
    forgotten = {"goal": Goal.NONE, "divergence": None, "told_role": ""}
    gone = v.memory.divergence is not None and v.memory.divergence.wal_gone
    return Orders((MoveAside("wal gone" if gone else "reinitialize"),), _taken_up(v, "reinitialize") | forgotten)


# --- the leader key ---


def others(v: View) -> AskPeers:
    members = v.snapshot.members if v.snapshot else ()
    return AskPeers(tuple(m for m in members if m.name != v.me.name and m.api_url))


def ask_peers(v: View) -> Orders:
    return Orders((others(v),))


def ask_whoever_led(v: View) -> Orders:
    """Go on as a standby, and ask the peers, of whom one has deleted the leader key."""
    usual = follow(v)
    return replace(usual, actions=(*usual.actions, others(v)))


def _asked_in_vain(v: View) -> str:
    """Peers that were not reached: their host may be down, or a firewall closes the port of their REST API."""
    silent = [reply for reply in (v.peers.replies if v.peers else ()) if not reply.reached]
    told = ", ".join(f"{reply.name} ({reply.why})" if reply.why else reply.name for reply in silent)
    return f"; not reached, so that its WAL does not count: {told}" if told else ""


def campaign(v: View) -> Orders:
    orders: tuple[Action, ...] = (EnsureGuard(),)
    why = "the leader key is free"
    if v.leader is not None and v.cluster.heartbeat is not None:
        stood = v.now - v.cluster.heartbeat.seen_at
        why = f"the leader key of {v.leader.name} has not moved for {stood:.1f} s"
        orders += (Depose(v.leader.revision),)
    if synchrony.forced(v) and (found := synchrony.key(v)) is not None:
        known = synchrony.electorate(found).members | {found.leader}
        lost = "" if v.me.name in known else f"; {synchrony.unlisted(v, found, v.me.name)}, {synchrony.lacking(v)}"
        why += f"; an operator ordered this failover{lost}"
    elif synchrony.forced(v):
        why += f"; an operator ordered this failover: {synchrony.lacking(v)}"
    return Orders((*orders, Campaign(failsafe.proof(v.snapshot))), detail=why + _asked_in_vain(v))


def await_votes(v: View) -> Orders:
    return Orders((others(v),), detail=synchrony.votes_missing(v) or "")


def ask_to_be_let_go(v: View) -> Orders:
    """Commits wait for this standby: its member key says that it is about to stop."""
    return Orders((), {"leaving_at": v.now if v.memory.leaving_at is None else v.memory.leaving_at})


def depose_own_past(v: View) -> Orders:
    if v.leader is None or not c.unwritable(v):
        return Orders()
    return Orders((Depose(v.leader.revision, v.leader.term),))


def resume(v: View) -> Orders:
    if v.leader is None:
        return Orders()
    return Orders((EnsureGuard(), ResumeLease(v.leader.term, v.leader.lease_id)))


def meet_guard(v: View) -> Orders:
    return Orders((EnsureGuard(),))


def campaign_lost(v: View) -> Orders:
    """Somebody else was faster; or it could not even be tried, as when etcd takes no writes: then not at once again."""
    failed = [one for one in v.outcomes if not one.ok]
    faster = any(one.failure is Failure.REFUSED and one.action != "EnsureGuard" for one in failed)
    pause = {} if faster else {"stand_back_until": later(v.now, RETRY_FIRST_S)}
    return Orders(publish.followed(v), pause, failed[0].detail if failed else "")


def why_waiting(v: View) -> Orders:
    return Orders(publish.followed(v), detail=c.why_not_me(v) or "")


def stand_back(v: View) -> Orders:
    ahead = c.better_peer(v)
    return Orders((), detail=f"{ahead.name} is at {ahead.lsn} on timeline {ahead.timeline}" if ahead else "")


def await_primary(v: View) -> Orders:
    other = election.running_primary(v.peers, v.me.name) if v.peers else None
    return Orders((others(v),), detail=other.name if other else "")


# --- promotion and leading ---


def open_watchdog(v: View) -> Orders:
    return Orders((OpenWatchdog(),), detail=v.watchdog.why)


def leave_unwatched(v: View) -> Orders:
    """The leader key was won, but the watchdog device that leading requires can't be had."""
    orders = resign(v)
    changes = {**orders.memory, "stand_back_until": later(v.now, STAND_BACK_S)}
    return replace(orders, actions=(*orders.actions, *_withdraw(v)), memory=changes, detail=v.watchdog.why)


def _withdraw(v: View) -> tuple[Action, ...]:
    """A change of leader to this node came to nothing: the others need not wait for it."""
    request = v.snapshot.failover if v.snapshot else None
    mine = request is not None and request.candidate == v.me.name
    return (PutFailover(None, None, None, request.revision),) if request is not None and mine else ()


def pre_promote(v: View) -> Orders:
    return Orders((PrePromote(v.settings.pre_promote or ""),))


def _arm(v: View) -> tuple[Action, ...]:
    term = v.lease.term
    return () if term is None else (EnsureGuard(), ArmGuard(term))


def promote(v: View) -> Orders:
    again = promote_again(v)
    return replace(again, memory={**again.memory, "checkpointed": False, "divergence": None})


def promote_again(v: View) -> Orders:
    """Promote; in a synchronous mode only after PostgreSQL obeys the names with which it is to begin."""
    term = v.lease.term
    if term is None:
        return Orders()
    if not synchrony.begins_safely(v):
        begin = publish.configured(v, _present_upstream(v), synchrony.first_names(v))
        detail = f"first synchronous_standby_names become {synchrony.first_names(v)!r}"
        return Orders((*synchrony.claim(v), *begin), {"promoted_at": None}, detail)
    server, claimed = v.postgres.server, timelines.number_claimed(v)
    if server is None:
        return Orders()
    if c.misled(v):
        why = f"it heard of timeline {v.postgres.data.bound} and never reached it: PostgreSQL is started anew first"
        return Orders((StopPostgres("fast"),), {"promoted_at": v.now}, why)
    number = timelines.number_to_claim(v) if claimed is None else claimed
    taken = publish.claim_timeline(v, term, number) if claimed is None else ()
    promotion = Promote(term, server.timeline, number)
    lacks = slots.lacking(server, v.settings) if server.in_recovery else {}
    lost = f"subscribers must begin anew, this node lacks: {slots.in_words(lacks)}" if lacks else ""
    return Orders((*_arm(v), *synchrony.claim(v), *taken, promotion), {"promoted_at": v.now}, lost)


def _present_upstream(v: View) -> Upstream | None:
    return v.postgres.configured.upstream if v.postgres.configured else None


def say_replay(v: View) -> Orders:
    """How much of the WAL received is still to be replayed, in steps that do not fill the log."""
    server = v.postgres.server
    left = int((server.received_lsn or 0) - (server.replayed_lsn or 0)) if server and server.in_recovery else 0
    steps = left // REPLAY_STEP
    return Orders(detail=f"more than {steps * REPLAY_STEP // 2**20} MB of WAL are left to replay" if steps else "")


def start_primary(v: View) -> Orders:
    term = v.lease.term
    if term is None:
        return Orders()
    recent = tuple(at for at in v.memory.starts if v.now - at <= c.BREAKER_WINDOW_S)
    crashed = v.state in (State.PRIMARY, State.PROMOTING)  # else it was stopped on purpose
    starts = (*recent, v.now) if crashed else recent
    changes: dict[str, Any] = {"starts": starts, "divergence": None, "goal": _after_start(v), "promoted_at": v.now}
    if c.was_standby(v):
        changes |= {"promoted_at": None, "checkpointed": False}
        why = "it was a standby: it is started as one and promoted, so that no timeline has two writers"
        return Orders((*_arm(v), StartStandby(publish.server_config(v, None))), changes, why)
    electorate = synchrony.claimed(v)
    config = publish.server_config(v, None, synchrony.first_names(v, electorate), PRIMARY)
    return Orders((*_arm(v), *synchrony.claim(v, electorate), StartPrimary(term, config)), changes)


def adopt(v: View) -> Orders:
    """A running primary came under this node's lease."""
    names = synchrony.on_file(v)
    return Orders(
        (*_arm(v), *publish.configured(v, None, names, PRIMARY)), {"told_role": "primary", "divergence": None}
    )


def begin_to_lead(v: View) -> Orders:
    checkpoint: tuple[Action, ...] = () if v.memory.checkpointed else (Checkpoint(),)
    changes: dict[str, Any] = {
        "attempts": 0,
        "start_failures": 0,
        "goal": Goal.NONE,
        "told_role": "primary",
        "told_stop": False,
        "switch_started_at": None,
        "prepared": False,
    }
    callback = _role_callback(v, "primary")
    return Orders((*callback, *publish.request_done(v), *publish.led(v), *checkpoint), changes)


def lead(v: View) -> Orders:
    changes: dict[str, Any] = {}
    if not v.memory.checkpointed and c.job_done("checkpoint")(v):
        changes = {"checkpointed": True} | _used(v)
    orders = publish.led(v) + publish.request_done(v)
    if v.settings.pause and v.guard.armed:
        orders += (DisarmGuard(),)
    if c.watchdog_due(v):
        orders += (OpenWatchdog(),)
    if not v.memory.checkpointed and not changes and not c.busy(v):
        orders += (Checkpoint(),)
    return Orders(orders, changes)


def reclaim(v: View) -> Orders:
    return Orders((Campaign(failsafe.proof(v.snapshot)),), detail=v.lease.lost or "")


def rearm(v: View) -> Orders:
    since = v.now if v.memory.guardless_since is None else v.memory.guardless_since
    return Orders((*_arm(v), *publish.led(v)), {"guardless_since": since})


def refuse_switch(v: View) -> Orders:
    request = v.snapshot.failover if v.snapshot else None
    why = verdict(v)[1]
    done: tuple[Action, ...] = () if request is None else (PutFailover(None, None, None, request.revision),)
    led = publish.led_from_afar if v.state is State.STANDBY_LEADER else publish.led
    return Orders((*done, *led(v)), {"refusal": why, "switch_started_at": None}, why)


def prepare_switch(v: View) -> Orders:
    return Orders((Checkpoint(),), {"switch_started_at": v.now, "refusal": ""}, verdict(v)[1])


def _role_callback(v: View, role: str) -> tuple[Action, ...]:
    if v.memory.goal is Goal.RESTART and v.memory.told_role == role:
        return (Callback("on_restart", role),)
    if v.memory.told_role == role:
        return (Callback("on_start", role),) if v.memory.told_stop else ()
    event = "on_start" if not v.memory.told_role else "on_role_change"
    return (Callback(event, role),)


# --- stopping ---


def _taken_up(v: View, kind: str) -> dict[str, Any]:
    pending: tuple[Pending, ...] = tuple(
        replace(p, phase="under way") if p.intent.kind == kind else p for p in v.memory.pending
    )
    return {"pending": pending}


def stopper(goal: Goal, mode: str = "fast", kind: str = "") -> Builder:
    """A builder that stops PostgreSQL for the sake of what comes after."""

    def stop(v: View) -> Orders:
        changes: dict[str, Any] = {"goal": goal, "stop_asked_at": v.now, "stop_mode": mode}
        if kind:
            changes |= _taken_up(v, kind)
        if kind == "restart":
            changes["scheduled_restart"] = None
        led_afar = v.memory.told_role == STANDBY_LEADER
        role = "primary" if v.postgres.writable else STANDBY_LEADER if led_afar else "replica"
        tell: tuple[Action, ...] = (Callback("on_stop", role),) if goal is not Goal.RESTART else ()
        changes |= {"told_stop": True} if tell else {}
        return Orders((_stop(v, goal, mode), *tell), changes, _deadline(v))

    stop.__name__ = f"stop {mode} for {goal.value}"
    return stop


def _stop(v: View, goal: Goal, mode: str) -> StopPostgres:
    """The stop, in good order after ``before_stop``, for which only so long is waited as leaves time for the rest."""
    program = v.settings.before_stop
    if mode != "fast" or not program:
        return StopPostgres(mode)
    limits = {Goal.SWITCHOVER: v.settings.ttl / 2, Goal.FOLLOW: v.settings.pg_ctl_timeout / 2}
    limits[Goal.REINIT] = limits[Goal.FOLLOW]
    if goal is Goal.LEASE:
        left = 0.0 if v.lease.permit_until is None else v.lease.permit_until - c.ESCALATE_S - v.now
        limits[goal] = max(0.0, left / 2)
    if v.settings.primary_stop_timeout > 0 and v.postgres.writable:
        limits[Goal.NONE] = v.settings.primary_stop_timeout / 2
    limit = min(BEFORE_STOP_S, limits.get(goal, BEFORE_STOP_S), limits.get(Goal.NONE, BEFORE_STOP_S))
    return StopPostgres(mode, program, limit) if limit > 0 else StopPostgres(mode)


def stop_for_new_copy(v: View) -> Orders:
    """What the leader no longer has as WAL it has as data."""
    gone = v.memory.divergence.wal_gone if v.memory.divergence else ""
    return replace(stopper(Goal.REINIT)(v), detail=stalls.why(v) or gone)


def restart_with_more(v: View) -> Orders:
    """PostgreSQL is started with at least as much as its control file tells of the primary."""
    short = v.postgres.server.short_of if v.postgres.server else {}
    told = ", ".join(f"{name} is {has}, the primary has {needs}" for name, (has, needs) in sorted(short.items()))
    return replace(stopper(Goal.RESTART)(v), detail=told)


def stop_on_bad_disk(v: View) -> Orders:
    """A stop in good order would try to write a checkpoint: this one writes nothing."""
    return replace(stopper(Goal.HANDOVER, "immediate")(v), detail=disks.trouble(v) or "")


def _deadline(v: View) -> str:
    if v.lease.term is None or v.lease.permit_until is None:
        return ""
    return f"{v.lease.permit_until - v.now:.1f} s of its permit are left"


def stop_immediately(v: View) -> Orders:
    return Orders((StopPostgres("immediate"),), {"stop_mode": "immediate"}, _deadline(v))


def call_switch_off(v: View) -> Orders:
    """A standby that does not answer any more can hold up an orderly stop; this node has every commit, and goes on."""
    why = f"PostgreSQL could not be stopped in good order within {v.settings.ttl:g} s: a standby does not confirm"
    request = v.cluster.snapshot.failover if v.cluster.snapshot else None
    changes = {"goal": Goal.RESTART, "stop_mode": "immediate", "refusal": why, "switch_started_at": None}
    changes["called_off"] = request.revision if request else None
    return Orders((StopPostgres("immediate"),), changes, why)


def kill(v: View) -> Orders:
    return Orders((KillPostgres(),), {"stop_mode": "kill"}, _deadline(v))


def resign(v: View) -> Orders:
    """PostgreSQL is down: the leader key may go to another node."""
    changes: dict[str, Any] = {"stop_asked_at": None, "switch_started_at": None}
    if v.memory.goal is Goal.HANDOVER:
        changes["stand_back_until"] = later(v.now, STAND_BACK_S)
    return Orders((*_disarm(v), *_give(v)), changes)


def hand_over(v: View) -> Orders:
    """PostgreSQL is down and this node gives leadership up."""
    orders = resign(v)
    changes = {**orders.memory, "goal": Goal.HANDOVER, "stand_back_until": later(v.now, STAND_BACK_S)}
    return replace(orders, memory=changes, actions=(*orders.actions, *_demoted(v)))


def hand_over_disk(v: View) -> Orders:
    """The same, because of its disk."""
    return replace(hand_over(v), detail=disks.trouble(v) or "")


def _demoted(v: View) -> tuple[Action, ...]:
    return (Callback("on_role_change", "demoted"),) if v.memory.told_role == "primary" else ()


def stopped(v: View) -> Orders:
    return Orders(_disarm(v), {"stop_asked_at": None})


def veto(v: View) -> Orders:
    orders = resign(v)
    changes = {**orders.memory, "stand_back_until": later(v.now, STAND_BACK_S)}
    return replace(orders, actions=(*orders.actions, *_withdraw(v)), memory=changes, detail=_job_error(v))


def resign_and_leave(v: View) -> Orders:
    return Orders((*_give(v), Exit(0)))


def until(v: View, at: Instant | None) -> float | None:
    """Seconds until an instant, for a row's sleep."""
    return None if at is None else max(0.0, at - v.now)


def kill_orphans(v: View) -> Orders:
    return Orders((KillPostgres(),), detail=f"{v.postgres.orphans} processes")


def give_key_up(v: View) -> Orders:
    """PostgreSQL is not writable, and the leader key may still be in this node's name."""
    return Orders((*_give(v), *_disarm(v)))


def _disarm(v: View) -> tuple[Action, ...]:
    """Disarm the guard, only if PostgreSQL was seen not writable; else its permit stays in force to its end."""
    return (DisarmGuard(),) if c.unwritable(v) else ()


def _give(v: View) -> tuple[Action, ...]:
    """Resign, only if PostgreSQL was seen not writable; a term that is surely lost is merely forgotten."""
    if v.lease.term is None or (v.lease.lost is None and not c.unwritable(v)):
        return ()
    return (Resign(v.lease.term),)
