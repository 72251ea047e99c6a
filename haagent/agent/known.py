"""A View in the words of the journal: the inputs that matter to a decision, small, and free of secrets."""

from __future__ import annotations

import math
import re
from typing import Any

from haagent.core import disks
from haagent.core.conditions import leads, why_not_me
from haagent.core.facts import FailoverKey, Goal, PeerReply, PostgresFacts, Snapshot, View
from haagent.core.failsafe import promised
from haagent.core.states import State
from haagent.core.status import protection
from haagent.core.terms import Instant

TEXT_LIMIT = 400
READ_LIMIT = 4000
LIST_LIMIT = 32
POLL_AGE_S = 10.0
"""What peers answered longer ago did not matter any more."""

_IN_URL = re.compile(r"(://[^\s/:@]*:)[^\s/]*@")
_QUOTED = r"'(?:[^'\\]|\\.|'')*'|\"(?:[^\"\\]|\\.)*\""
_NAMED = re.compile(rf"(?i)(\w*(?:password|passwd|passphrase|secret|token)\w*[\"']?\s*[=:]\s*)(?:{_QUOTED}|\S+)")


def clean(text: str) -> str:
    """A text without passwords and control characters, of bounded length."""
    text = "".join(letter if letter.isprintable() else " " for letter in text[:READ_LIMIT])
    hidden = _NAMED.sub(r"\1***", _IN_URL.sub(r"\1***@", text))
    return hidden if len(hidden) <= TEXT_LIMIT else hidden[: TEXT_LIMIT - 1] + "…"


def known(view: View, goal: Goal) -> dict[str, Any]:
    """What the node knew; a part that says nothing is left out. All ages and rests are in seconds."""
    parts: dict[str, Any] = {
        "lease": _lease(view),
        "postgres": _postgres(view.postgres, view.now),
        "dcs": _dcs(view),
        "peers": _peers(view),
        "failsafe": _failsafe(view),
        "guard": _guard(view),
        "disk": clean(trouble) if (trouble := disks.trouble(view)) else None,
        "protection": protection(view),
        "goal": None if goal is Goal.NONE else goal.value,
        "job": _job(view),
        "divergence": _divergence(view),
        "failed_before": [
            f"{o.action}: {clean(o.detail)}" for o in view.outcomes if not o.ok and o.action != "PutConfig"
        ],
        "asked_to_stop": view.stopping,
        "paused": view.settings.pause,
    }
    if view.state in (State.STANDBY, State.CANDIDATE) and not leads(view):
        objection = why_not_me(view)
        parts["not_eligible"] = clean(objection) if objection else None
    return _without_nothing(parts)


def _failures(view: View) -> list[str]:
    """What of the last plan failed; what a configuration was refused for may quote it, and is left out."""
    return [f"{one.action}: {clean(one.detail)}" for one in view.outcomes if not one.ok and one.action != "PutConfig"]


def _without_nothing(parts: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in parts.items() if not _nothing(value)}


def _nothing(value: object) -> bool:
    return value is None or value is False or (isinstance(value, str | list | dict) and not value)


def _left(until: Instant | None, now: Instant) -> float | None:
    """Seconds left; None for never and for no end."""
    return None if until is None or math.isinf(until) else round(until - now, 3)


def _age(since: Instant | None, now: Instant) -> float | None:
    return None if since is None else round(max(0.0, now - since), 3)


def _lease(view: View) -> dict[str, Any]:
    lease = view.lease
    if lease.term is None and lease.lost is None:
        return {}
    return _without_nothing(
        {
            "term": lease.term and int(lease.term),
            "permit_s": _left(lease.permit_until, view.now),
            "demote_s": _left(lease.demote_at, view.now),
            "renewed_s": _age(lease.renewed_at, view.now),
            "lost": lease.lost and clean(lease.lost),
        }
    )


def _postgres(facts: PostgresFacts, now: Instant) -> dict[str, Any]:
    server, data = facts.server, facts.data
    part: dict[str, Any] = {"running": facts.running, "data": data.kind.value, "control_file": data.cluster_state}
    if data.timeline is not None:
        part["timeline"] = int(data.timeline)
    if server is not None:
        part |= {"in_recovery": server.in_recovery, "timeline": int(server.timeline), "lsn": str(server.lsn)}
        if server.in_recovery:
            part["replayed"] = str(server.replayed_lsn) if server.replayed_lsn is not None else None
            receiver = server.receiver
            part["streams_from"] = f"{receiver.sender_host}:{receiver.sender_port}" if receiver else None
        else:
            part["standbys"] = [s.application_name for s in server.senders if s.state == "streaming"][:LIST_LIMIT]
    part |= {
        "silent_s": _age(facts.unreachable_since, now),
        "silent_why": clean(facts.unreachable_why) if facts.unreachable_since is not None else None,
        "orphans": facts.orphans or None,
    }
    return {"running": facts.running, "in_recovery": part.get("in_recovery")} | _without_nothing(part)


def _dcs(view: View) -> dict[str, Any]:
    facts, snapshot = view.cluster, view.cluster.snapshot
    beat = facts.heartbeat
    part: dict[str, Any] = {
        "silent_s": _age(facts.silent_since, view.now),
        "silent_why": clean(facts.silent_why) if facts.silent_since is not None else None,
        "heartbeat_s": _age(beat.seen_at, view.now) if beat else None,
        "granted_ttl": beat.granted_ttl if beat else None,
    }
    return _without_nothing(part | (_snapshot(snapshot) if snapshot else {}))


def _snapshot(snapshot: Snapshot) -> dict[str, Any]:
    leader, sync, status = snapshot.leader, snapshot.sync, snapshot.status
    return {
        "leader": {"name": leader.name, "term": int(leader.term), "revision": int(leader.revision)} if leader else None,
        "released": snapshot.released and int(snapshot.released),
        "claimed": snapshot.claimed and int(snapshot.claimed),
        "optime": str(status.optime) if status else None,
        "sync": {"leader": sync.leader, "quorum": sync.quorum, "standbys": list(sync.standbys)[:LIST_LIMIT]}
        if sync
        else None,
        "failover": _request(snapshot.failover),
    }


def _request(request: FailoverKey | None) -> dict[str, Any] | None:
    if request is None or request.empty:
        return None
    return _without_nothing({"from": request.leader, "to": request.candidate, "at": request.scheduled_at})


def _peers(view: View) -> dict[str, Any]:
    poll = view.peers
    if poll is None or view.now - poll.asked_at > POLL_AGE_S:
        return {}
    return {"asked_s": _age(poll.asked_at, view.now), "replies": [_reply(one) for one in poll.replies[:LIST_LIMIT]]}


def _reply(one: PeerReply) -> dict[str, Any]:
    if not one.reached:
        return {"name": one.name, "silent": clean(one.why)}
    part = {"name": one.name, "running": one.running, "in_recovery": one.in_recovery, "lsn": str(one.lsn)}
    return part | {"timeline": int(one.timeline)} | ({"leads": True} if one.leads else {})


def _failsafe(view: View) -> dict[str, Any]:
    promise, asked = promised(view), view.failsafe.asked
    part: dict[str, Any] = {}
    if promise is not None:
        part = {"promised_to": clean(promise.name), "promised_s": _left(promise.until, view.now)}
    if asked is not None:
        replies = asked.replies[:LIST_LIMIT]
        part["asked_s"] = _age(asked.at, view.now)
        part["consent"] = [one.name for one in replies if one.accepted]
        part["against"] = {one.name: clean(one.why) for one in replies if not one.accepted}
    return _without_nothing(part | {"vouched_s": _left(view.lease.vouched_until, view.now)})


def _guard(view: View) -> dict[str, Any]:
    guard, fired = view.guard, view.guard.fired
    part: dict[str, Any] = {"alive": guard.alive, "armed": guard.armed}
    if guard.armed:
        part["permit_s"] = _left(guard.permit_until, view.now)
    if fired is not None:
        part["fired"] = {
            "term": int(fired.term),
            "processes": fired.processes,
            "took_ms": round(fired.took_ms, 1),
            "reason": clean(fired.reason),
            "at": fired.at,
        }
    return part


def _job(view: View) -> dict[str, Any] | None:
    job = view.job
    if job is None:
        return None
    part = {"kind": job.kind, "done": job.done, "running_s": _age(job.started_at, view.now)}
    return part | ({"error": clean(job.error)} if job.error else {})


def _divergence(view: View) -> dict[str, Any] | None:
    found = view.memory.divergence
    if found is None or found.fork_lsn is None:
        return None
    return {
        "leader": found.leader,
        "fork": str(found.fork_lsn),
        "timeline": int(found.own_timeline),
        "lost_bytes": found.lost_bytes,
        "lost_commits": found.lost_commits,
    }
