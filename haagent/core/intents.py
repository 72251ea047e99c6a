"""What operators may ask, when it is refused, and when it is done: every request gets exactly one reply."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from haagent.core import disks, election, mixed, slots, synchrony
from haagent.core.actions import Action, CancelJob, PutConfig, PutFailover, ReloadSettings, Reply
from haagent.core.conditions import restart_overdue
from haagent.core.durations import parse_seconds
from haagent.core.facts import Document, FailoverKey, Failure, Intent, Member, Memory, Pending, View
from haagent.core.states import State
from haagent.core.terms import Lsn, later

ANSWER_WITHIN_S = 120.0
SWITCH_WITHIN_S = 60.0
IN_SERVICE = frozenset({State.PRIMARY, State.STANDBY, State.STANDBY_LEADER})

Admission = tuple[tuple[Action, ...], Pending | None, dict[str, Any]]


def admit(v: View) -> tuple[tuple[Action, ...], Memory]:
    """Answer new requests, or take them up; and answer those under way that have come to an end."""
    actions: tuple[Action, ...] = ()
    memory = v.memory
    pending: list[Pending] = []
    for one in memory.pending:
        reply = _progress(v, one)
        if reply is None:
            pending.append(one)
        else:
            actions += (reply,)
    written: set[type[Action]] = set()
    for intent in v.intents:
        orders, taken, changes = _HANDLERS.get(intent.kind, _unknown)(v, intent)
        writes = {type(order) for order in orders if isinstance(order, PutConfig | PutFailover)}
        if writes & written:  # by what both were decided on, the later one would undo the other unseen
            text = "another request changed the same at this very moment; nothing of this one was done: ask again"
            orders, taken, changes = _refuse(intent, 409, text)
        written |= writes
        actions += orders
        memory = replace(memory, **changes)
        if taken is not None:
            pending.append(taken)
    still = tuple(pending)
    return actions, memory if still == memory.pending else replace(memory, pending=still)


def _refuse(intent: Intent, status: int, text: str) -> Admission:
    return (Reply(intent.id, status, text),), None, {}


def _take(v: View, intent: Intent, *actions: Action, within: float = ANSWER_WITHIN_S, **facts: Any) -> Admission:
    return actions, Pending(intent, until=later(v.now, within), **facts), {}


def _unknown(v: View, intent: Intent) -> Admission:
    return _refuse(intent, 400, f"{intent.kind} is not a request that this agent knows")


# --- change of leader ---


def _switchover(v: View, intent: Intent) -> Admission:
    body, snapshot = intent.body, v.snapshot
    if snapshot is None:
        return _refuse(intent, 503, f"etcd does not answer ({v.cluster.silent_why}); nothing was changed")
    leader, candidate = _text(body, "leader", "primary"), _text(body, "candidate", "member")
    if not leader:
        return _refuse(intent, 400, "Switchover could be performed only from a specific leader")
    if leader == candidate:
        return _refuse(intent, 400, "Switchover target and source are the same")
    if snapshot.leader is None or snapshot.leader.name != leader:
        return _refuse(intent, 412, "leader name does not match")
    others = [m for m in snapshot.members if m.name != leader]
    if not others:
        return _refuse(intent, 412, "switchover is not possible: cluster does not have members except leader")
    if candidate and snapshot.member(candidate) is None:
        return _refuse(intent, 412, "candidate does not exists")
    if v.settings.pause and not candidate:
        return _refuse(intent, 400, "Switchover is possible only to a specific candidate in a paused state")
    scheduled = body.get("scheduled_at")
    if scheduled is None:
        objections = [
            _member_objection(v, m) or synchrony.unfit(v, m.name)
            for m in others
            if not candidate or m.name == candidate
        ]
        if all(objections):
            why = "; ".join(text for text in objections if text)
            return _refuse(
                intent,
                412,
                f"switchover is not possible: no good candidates have been found: {why}; nothing was stopped",
            )
    elif (wrong := _bad_schedule(v, scheduled)) is not None:
        return _refuse(intent, *wrong)
    elif v.settings.pause:
        return _refuse(intent, 400, "Can't schedule switchover in the paused state")
    return _ask(v, intent, leader, candidate, None if scheduled is None else str(scheduled))


def _failover(v: View, intent: Intent) -> Admission:
    snapshot = v.snapshot
    if snapshot is None:
        return _refuse(intent, 503, f"etcd does not answer ({v.cluster.silent_why}); nothing was changed")
    if _text(intent.body, "leader", "primary"):
        return _switchover(v, intent)
    candidate = _text(intent.body, "candidate", "member")
    if not candidate:
        return _refuse(intent, 400, "Failover could be performed only to a specific candidate")
    member = snapshot.member(candidate)
    if member is None:
        return _refuse(intent, 412, "candidate does not exists")
    if snapshot.leader is not None and snapshot.leader.name == candidate:
        return _refuse(intent, 412, f"failover is not possible: {candidate} is the leader already")
    # Where nobody leads, the operator may know better than to wait for whoever has more.
    why = _member_objection(v, member, lag_counts=snapshot.leader is not None)
    if why:
        return _refuse(intent, 412, f"failover is not possible: no good candidates have been found: {why}")
    return _ask(v, intent, None, candidate, None, _loss(v, member))


def _loss(v: View, member: Member) -> str:
    """What an operator gives up who makes this member the leader while nobody leads; empty when nothing."""
    unfit = synchrony.unfit(v, member.name) or _member_objection(v, member)
    if unfit is None or v.leader is not None:
        return ""
    behind = max(0, int(_leader_lsn(v)) - int(member.lsn or 0))
    return f"{unfit}; at least {behind} bytes of WAL, and the acknowledged commits in them, may be lost"


def _ask(
    v: View, intent: Intent, leader: str | None, candidate: str | None, scheduled: str | None, loss: str = ""
) -> Admission:
    snapshot = v.snapshot
    there = snapshot.failover if snapshot else None
    if there is not None and not there.empty:
        what = f"to {there.candidate}" if there.candidate else f"away from {there.leader}"
        when = f" at {there.scheduled_at}" if there.scheduled_at else ""
        text = f"a change of leader {what}{when} was requested already; to withdraw it: haagent-ctl flush switchover"
        return _refuse(intent, 409, text)
    order = PutFailover(leader, candidate, scheduled, there.revision if there else None)
    present = snapshot.leader.name if snapshot and snapshot.leader else None
    phase = "scheduled" if scheduled else "asked"
    return _take(v, intent, order, within=SWITCH_WITHIN_S, leader=present, candidate=candidate, phase=phase, loss=loss)


def _delete_switchover(v: View, intent: Intent) -> Admission:
    there = v.snapshot.failover if v.snapshot else None
    if there is None or there.empty or there.scheduled_at is None:
        return _refuse(intent, 404, "no switchover is scheduled")
    return _take(v, intent, PutFailover(None, None, None, there.revision), phase="asked")


def _member_objection(v: View, member: Member, *, lag_counts: bool = True) -> str | None:
    """Why a member cannot take over, as far as its key in the DCS tells."""
    if not member.running:
        return f"{member.name} is {member.state or 'unknown'}"
    if member.tags.get("nofailover"):
        return f"{member.name} has the tag nofailover"
    if (disk := disks.unfit(member)) is not None:
        return f"the disk of {member.name}: {disk}"
    behind = int(_leader_lsn(v)) - int(member.lsn or 0)
    if lag_counts and 0 <= v.settings.maximum_lag_on_failover < behind:
        limit = v.settings.maximum_lag_on_failover
        return f"{member.name} is {behind} bytes behind; maximum_lag_on_failover is {limit}"
    return None


def _leader_lsn(v: View) -> Lsn:
    status = v.snapshot.status if v.snapshot else None
    return status.optime if status else Lsn(0)


def verdict(v: View) -> tuple[str, str]:
    """What the leader makes of the request for a change of leader: (``none | later | ask | refuse | go``, why)."""
    request = v.snapshot.failover if v.snapshot else None
    if request is None or request.empty or request.candidate == v.me.name:
        return "none", ""
    if request.revision == v.memory.called_off:
        return "refuse", v.memory.refusal
    if request.scheduled_epoch is not None and request.scheduled_epoch > v.wall:
        return "later", f"a switchover is scheduled at {request.scheduled_at}"
    if request.scheduled_at is not None and v.settings.pause:
        return "refuse", "the cluster is paused, and a scheduled switchover is not carried out then"
    if request.leader is not None and request.leader != v.me.name:
        return "refuse", f"the request names {request.leader} as the leader, but {v.me.name} leads"
    if request.candidate is None and v.settings.pause:
        return "refuse", "the cluster is paused, and no candidate is named"
    # What was heard before this node led may be of a member that was stopped then and runs now.
    if v.peers is None or v.now - v.peers.asked_at > 1.0 or v.peers.asked_at < v.memory.since:
        return "ask", ""
    return _judged(v, request)


def _judged(v: View, request: FailoverKey) -> tuple[str, str]:
    server, peers = v.postgres.server, v.peers
    if server is None or peers is None:
        return "later", "PostgreSQL does not answer"
    streaming = {sender.application_name for sender in server.senders if sender.state == "streaming"}
    reasons: list[str] = []
    for reply in peers.replies:
        if reply.name == v.me.name or (request.candidate and reply.name != request.candidate):
            continue
        why = election.objection(election.contender(reply), v.settings, server.lsn)
        if why is None and reply.name not in streaming and request.leader is not None:
            why = f"{reply.name} does not stream from {v.me.name}"
        if why is None and request.leader is not None:
            why = synchrony.unfit(v, reply.name, peers.replies)
        if why is None and request.leader is not None and reply.lacks_slots:
            why = f"subscribers would lose what {reply.name} lacks: {slots.in_words(reply.lacks_slots)}"
        if why is None:
            return "go", f"{reply.name} is {max(0, int(server.lsn) - int(reply.lsn))} bytes behind"
        reasons.append(why)
    named = f"{request.candidate} is not a member of this cluster" if request.candidate else "there is no other member"
    return "refuse", "; ".join(reasons) or named


# --- one node ---


def _restart(v: View, intent: Intent) -> Admission:
    wrong = _bad_restart(v, intent.body)
    if wrong is not None:
        return _refuse(intent, *wrong)
    if intent.body.get("schedule") is not None:
        return _schedule_restart(v, intent)
    if v.state not in IN_SERVICE:
        return _refuse(intent, 503, f"this node is {v.state.value} and can't be restarted now: {v.memory.why}")
    if any(p.intent.kind == "restart" for p in v.memory.pending):
        return _refuse(intent, 503, "a restart is in progress already")
    why = unmet(v, intent.body)
    if why:
        return _refuse(intent, 503, f"restart conditions are not satisfied: {why}")
    return _take(v, intent)


def _schedule_restart(v: View, intent: Intent) -> Admission:
    if v.settings.pause:
        return _refuse(intent, 500, "Can't schedule restart in the paused state")
    if v.memory.scheduled_restart is not None:
        return _refuse(intent, 409, "Another restart is already scheduled")
    server = v.postgres.server
    document = {**intent.body, "postmaster_start_time": server.started_at if server else ""}
    return (Reply(intent.id, 202, "Restart scheduled"),), None, {"scheduled_restart": document}


def _delete_restart(v: View, intent: Intent) -> Admission:
    if v.memory.scheduled_restart is None:
        return _refuse(intent, 404, "no restarts are scheduled")
    return (Reply(intent.id, 200, "scheduled restart deleted"),), None, {"scheduled_restart": None}


def _bad_restart(v: View, body: Document) -> tuple[int, str] | None:
    known = {"schedule", "role", "restart_pending", "postgres_version", "timeout"}
    for key in body:
        if key not in known:
            return 400, f"Unknown filter for the restart request: {key}"
    if body.get("role") not in (None, "primary", "replica", "standby_leader", "standby-leader", "master"):
        return 400, f"role is {body['role']!r}; it must be primary, replica or standby_leader"
    try:
        if body.get("timeout") is not None and parse_seconds(body["timeout"]) <= 0:
            raise ValueError
        if body.get("postgres_version") is not None:
            _version_number(body["postgres_version"])
    except (TypeError, ValueError):
        return 400, "timeout must be a positive span of time such as 30s, postgres_version like 15.4"
    return None if body.get("schedule") is None else _bad_schedule(v, body["schedule"])


def unmet(v: View, body: Document) -> str | None:
    """Which condition of a restart does not hold; None when all do."""
    server = v.postgres.server
    role = {State.PRIMARY: "primary", State.STANDBY_LEADER: "standby_leader"}.get(v.state, "replica")
    asked = body.get("role")
    if asked and {"master": "primary", "standby-leader": "standby_leader"}.get(asked, asked) != role:
        return f"this node is a {role}, not a {asked}"
    if body.get("restart_pending") and not (server and server.pending_restart):
        return "no restart is pending"
    wanted = body.get("postgres_version")
    if wanted and server and server.version >= _version_number(wanted):
        return f"PostgreSQL is {server.version} already"
    return None


def _version_number(text: object) -> int:
    major, _, minor = str(text).partition(".")
    return int(major) * 10000 + int(minor or 0)


def scheduled_restart_due(v: View) -> bool:
    """A scheduled restart's hour has come."""
    plan = v.memory.scheduled_restart
    return plan is not None and (_epoch(plan.get("schedule")) or 0.0) <= v.wall


def _reinitialize(v: View, intent: Intent) -> Admission:
    snapshot = v.snapshot
    if snapshot is None:
        return _refuse(intent, 503, f"etcd does not answer ({v.cluster.silent_why}); this copy is kept")
    if v.state in (State.PRIMARY, State.PROMOTING) or (snapshot.leader and snapshot.leader.name == v.me.name):
        return _refuse(intent, 503, "I am the leader, can not reinitialize")
    leader = snapshot.member(snapshot.leader.name) if snapshot.leader else None
    if leader is None or not leader.running:
        return _refuse(intent, 503, "Cluster has no leader, can not reinitialize: this may be the last good copy")
    if v.job is not None and not v.job.done:
        if not intent.body.get("force"):
            return _refuse(intent, 503, f"{v.job.kind} is in progress; to end it and begin anew use force")
        return (CancelJob(), Reply(intent.id, 200, "reinitialize started")), None, {}
    if v.state not in (State.STANDBY, State.FAILED, State.STARTING, State.FENCED):
        return _refuse(intent, 503, f"this node is {v.state.value}: {v.memory.why}")
    if v.postgres.data.mount_point:
        text = "the data directory is a mount point, which can't be moved aside: nothing was stopped"
        return _refuse(intent, 503, f"{text}; stop this agent, empty the directory by hand and start it again")
    source = leader.name if intent.body.get("from_leader") or intent.body.get("from-leader") else None
    taken = Pending(intent, until=later(v.now, ANSWER_WITHIN_S))
    return (Reply(intent.id, 200, "reinitialize started"),), taken, {"clone_source": source}


def _reload(v: View, intent: Intent) -> Admission:
    return (Reply(intent.id, 202, "reload scheduled"), ReloadSettings()), None, {}


# --- the dynamic configuration ---


def merged(present: Document, patch: Document) -> dict[str, Any]:
    """A patch laid over a document: null removes, maps merge, other values replace; new maps come as they are."""
    result = dict(present)
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, Mapping) and isinstance(result.get(key), Mapping):
            result[key] = merged(result[key], value)
        else:
            result[key] = value
    return result


def _patch_config(v: View, intent: Intent) -> Admission:
    present = v.snapshot.config if v.snapshot else None
    if present is None:
        return _refuse(intent, 503, "there is no dynamic configuration in etcd, or etcd does not answer")
    if not intent.body:
        return _refuse(intent, 400, "the patch is empty")
    document = merged(present.document, intent.body)
    if document == present.document:
        return (Reply(intent.id, 200, document),), None, {}
    return _store(v, intent, document)


def _put_config(v: View, intent: Intent) -> Admission:
    if v.snapshot is None:
        return _refuse(intent, 503, f"etcd does not answer ({v.cluster.silent_why}); nothing was changed")
    if not intent.body:
        return _refuse(intent, 400, "the configuration is empty")
    return _store(v, intent, intent.body)


def _store(v: View, intent: Intent, document: Document) -> Admission:
    if (why := mixed.objection(v.snapshot, document)) is not None:
        return _refuse(intent, 400, why)
    present = v.snapshot.config if v.snapshot else None
    return _take(v, intent, PutConfig(document, present.revision if present else None), phase="asked")


_HANDLERS: dict[str, Callable[[View, Intent], Admission]] = {
    "switchover": _switchover,
    "failover": _failover,
    "delete_switchover": _delete_switchover,
    "restart": _restart,
    "schedule_restart": _restart,
    "delete_restart": _delete_restart,
    "reinitialize": _reinitialize,
    "reload": _reload,
    "patch_config": _patch_config,
    "put_config": _put_config,
}


# --- requests under way ---


def _progress(v: View, one: Pending) -> Reply | None:
    """The reply to a request under way, once there is one; None while there is not."""
    intent = one.intent
    if v.now >= one.until:
        return Reply(intent.id, 503, f"{intent.kind} has not come to an end after {v.now - intent.received_at:.0f} s")
    if intent.kind in ("patch_config", "put_config"):
        return _config_progress(v, one)
    if intent.kind in ("switchover", "failover"):
        return _switch_progress(v, one)
    if intent.kind == "delete_switchover":
        return _written(v, one, "PutFailover", 200, "scheduled switchover deleted")
    if intent.kind in ("restart", "schedule_restart"):
        return _restart_progress(v, one)
    if intent.kind == "reinitialize" and one.phase:
        return Reply(intent.id, 200, "reinitialize started")
    return None


def _written(v: View, one: Pending, action: str, status: int, text: str) -> Reply | None:
    outcome = next((o for o in v.outcomes if o.action == action), None)
    if outcome is None:
        return None
    if outcome.ok:
        return Reply(one.intent.id, status, text)
    return Reply(one.intent.id, 409 if outcome.failure is Failure.REFUSED else 503, outcome.detail)


def _config_progress(v: View, one: Pending) -> Reply | None:
    outcome = next((o for o in v.outcomes if o.action == "PutConfig"), None)
    if outcome is None:
        return None
    if outcome.ok:
        return Reply(one.intent.id, 200, outcome.result)
    if outcome.failure is Failure.REFUSED:
        return Reply(one.intent.id, 400 if outcome.result == "invalid" else 409, outcome.detail)
    return Reply(one.intent.id, 503, outcome.detail)


def _switch_progress(v: View, one: Pending) -> Reply | None:
    outcome = next((o for o in v.outcomes if o.action == "PutFailover"), None)
    if one.phase == "scheduled":
        return _written(v, one, "PutFailover", 202, "Switchover scheduled")
    if outcome is not None and not outcome.ok and v.memory.switch_started_at is None:
        return Reply(one.intent.id, 409 if outcome.failure is Failure.REFUSED else 503, outcome.detail)
    snapshot = v.snapshot
    if snapshot is None:
        return None
    leader = snapshot.leader.name if snapshot.leader else None
    new = snapshot.member(leader)
    verb = "switched" if one.intent.kind == "switchover" else "failed"
    if leader is not None and leader != one.leader and new is not None and new.leading and new.running:
        if one.candidate is None or leader == one.candidate:
            note = f"; {one.loss}" if one.loss else ""
            return Reply(one.intent.id, 200, f'Successfully {verb} over to "{leader}"{note}')
        return Reply(one.intent.id, 200, f'{verb.capitalize()} over to "{leader}" instead of "{one.candidate}"')
    request = snapshot.failover
    written = v.now - one.intent.received_at > 1.0
    if leader == one.leader and leader is not None and written and (request is None or request.empty):
        why = v.memory.refusal or f"{leader} did not find the candidate fit; its log says why"
        done = "" if v.memory.called_off is not None else "; nothing was stopped"
        return Reply(one.intent.id, 412, f"{one.intent.kind} is not possible: {why}{done}")
    return None


def _restart_progress(v: View, one: Pending) -> Reply | None:
    if restart_overdue(v, one):
        text = f"PostgreSQL did not accept connections within the {one.intent.body['timeout']} that were allowed"
        return Reply(one.intent.id, 503, f"restart failed: {text}; this node is {v.state.value}: {v.memory.why}")
    if not one.phase:
        return None
    settled = v.state in IN_SERVICE and v.postgres.server is not None and v.postgres.running
    if settled and v.postgres.unreachable_since is None:
        return Reply(one.intent.id, 200, "restarted successfully")
    if v.state is State.FAILED:
        return Reply(one.intent.id, 503, f"restart failed: {v.memory.why}")
    return None


# --- small readers ---


def _text(body: Document, *names: str) -> str | None:
    return next((str(body[name]) for name in names if body.get(name)), None)


def _epoch(text: object) -> float | None:
    """Seconds since 1970 of an ISO 8601 instant with its zone; None without a zone."""
    moment = datetime.fromisoformat(str(text))
    return None if moment.tzinfo is None else moment.timestamp()


def _bad_schedule(v: View, text: object) -> tuple[int, str] | None:
    try:
        epoch = _epoch(text)
    except ValueError:
        return 422, "Unable to parse scheduled timestamp. It should be in an unambiguous format, e.g. ISO 8601"
    if epoch is None:
        return 400, "Timezone information is mandatory for the scheduled time"
    return (422, "Cannot schedule in the past") if epoch < v.wall else None


# --- conditions of the table that are about requests ---


def reason_to_restart(v: View) -> bool:
    """An operator asked for a restart, or a scheduled one is due and its conditions hold."""
    if any(p.intent.kind in ("restart", "schedule_restart") and not p.phase for p in v.memory.pending):
        return True
    plan = v.memory.scheduled_restart
    return plan is not None and scheduled_restart_due(v) and unmet(v, plan) is None and not v.settings.pause


def switch_is(stage: str) -> Callable[[View], bool]:
    """Whether the leader is at this stage of a change: ``ask``, ``refuse``, ``prepare``, ``preparing`` or ``go``."""

    def at_stage(v: View) -> bool:
        return _stage(v) == stage

    at_stage.__name__ = f"switchover: {stage}"
    return at_stage


def _stage(v: View) -> str:
    checkpointing = v.job is not None and not v.job.done and v.job.kind == "checkpoint"
    if checkpointing and v.memory.switch_started_at is not None:
        return "preparing"
    found = verdict(v)[0]
    if found == "go" and v.memory.switch_started_at is None:
        return "prepare" if not checkpointing else "preparing"
    return found
