"""What this node says of itself: the status JSON, and the words for its state and role on the wire.

It claims only what is true at ``view.now``: facts that PostgreSQL told too long ago are no longer claimed, and
leadership ends by arithmetic when the permit does. A flag that does not hold is left out, never false.
"""

from __future__ import annotations

import math
from typing import Any

from haagent.core import disks, failsafe, publish, slots, stray, timelines
from haagent.core.advice import advice, not_eligible
from haagent.core.conditions import fence_missing, leads, watchdog_allows
from haagent.core.facts import Member, ServerFacts, Snapshot, View, WatchdogFacts
from haagent.core.states import State
from haagent.core.terms import WIRE_VERSION

PROTECTIONS = ("commit fence", "guard", "watchdog device")
NOT_RESPONDING = "not responding"
"""The one state word of haagent's own: a postmaster is there, but has not answered SQL for too long."""


def server_now(view: View) -> ServerFacts | None:
    """What PostgreSQL told, while it can still be vouched for; None when its postmaster is gone or it fell silent.

    A probe that fails does not make the last answer false at once (a full connection table is no outage), so the
    answer stands for ``retry_timeout`` more; and for two ttl at most when nobody probes, because the loop hangs.
    """
    postgres = view.postgres
    server = postgres.server
    if postgres.postmaster is None or postgres.starting or server is None:
        return None
    since = postgres.unreachable_since
    if since is not None and view.now - since > view.settings.retry_timeout:
        return None
    return None if view.now - server.seen_at > 2 * view.settings.ttl else server


def accepts_writes(view: View) -> bool:
    """Whether this node is a primary, out of recovery and on a disk that takes writes; nothing about the lease."""
    server = server_now(view)
    writes = view.state is State.PRIMARY and server is not None and not server.in_recovery
    return writes and not disks.unwritable_disk(view)


def known_cluster(view: View) -> Snapshot | None:
    """The DCS as last read, also while it is silent: good enough to show, never to decide on."""
    return view.cluster.snapshot


def cluster_unlocked(view: View) -> bool:
    """Whether nobody is known to lead; a DCS that is silent for a whole ttl tells of nobody, unless a primary does."""
    if leads(view) or failsafe.active(view):
        return False
    since = view.cluster.silent_since
    if since is not None and view.now - since > view.settings.ttl:
        return True
    snapshot = known_cluster(view)
    return snapshot is None or snapshot.leader is None


def sync_role(view: View, name: str) -> str | None:
    """``sync_standby`` or ``quorum_standby`` if commits wait for that member, else None."""
    snapshot = known_cluster(view)
    sync = snapshot.sync if snapshot else None
    if sync is None or sync.leader is None or sync.leader == name or name not in sync.standbys:
        return None
    return "quorum_standby" if view.settings.synchronous_mode == "quorum" else "sync_standby"


def wire_state(view: View) -> str:
    """The state of PostgreSQL as in the member key, but no longer ``running`` once its word has grown too old."""
    word = publish.wire_state(view)
    return NOT_RESPONDING if word == "running" and server_now(view) is None else word


def dcs_last_seen(view: View) -> int:
    """When the DCS last answered, in seconds since 1970 by this machine's wall clock; 0 for never."""
    if view.cluster.seen_at is None:
        return 0
    return int(view.wall - (view.now - view.cluster.seen_at))


def status(view: View) -> dict[str, Any]:
    """The status JSON of ``GET /patroni`` and of every health check.

    Source of the fields: Patroni's documentation, "REST API", and its replies as observed.
    """
    member = publish.member(view)
    server = server_now(view)
    system_id = view.postgres.data.system_id
    document: dict[str, Any] = {"state": wire_state(view), "role": member.role}
    if server is not None:
        document |= _server_part(server, member)
        system_id = server.system_id
    role = sync_role(view, view.me.name)
    if role is not None and server is not None and server.in_recovery:
        document[role] = True
    flags = {
        "pause": view.settings.pause,
        "cluster_unlocked": cluster_unlocked(view),
        "failsafe_mode_is_active": failsafe.active(view),
        "watchdog_failed": not watchdog_allows(view),
    }
    document |= {name: True for name, holds in flags.items() if holds}
    document["dcs_last_seen"] = dcs_last_seen(view)
    if view.me.tags.published:
        document["tags"] = dict(view.me.tags.published)
    if system_id:
        document["database_system_identifier"] = str(system_id)
    if view.memory.scheduled_restart:
        document["scheduled_restart"] = dict(view.memory.scheduled_restart)
    document["patroni"] = {
        "version": WIRE_VERSION,
        "scope": view.me.scope,
        "name": view.me.name,
    }
    document["haagent"] = _own_part(view)
    return document


def _server_part(server: ServerFacts, member: Member) -> dict[str, Any]:
    part: dict[str, Any] = {
        "postmaster_start_time": server.started_at,
        "server_version": server.version,
        "xlog": _xlog(server),
        "timeline": int(server.timeline),
    }
    if member.replication_state is not None:
        part["replication_state"] = member.replication_state
    if server.senders:
        part["replication"] = [
            {
                "usename": sender.usename,
                "application_name": sender.application_name,
                "client_addr": sender.client_addr,
                "state": sender.state,
                "sync_state": sender.sync_state,
                "sync_priority": sender.sync_priority,
            }
            for sender in server.senders
        ]
    if member.pending_restart:
        part["pending_restart"] = True
        part["pending_restart_reason"] = dict(member.pending_restart)
    return part


def _xlog(server: ServerFacts) -> dict[str, Any]:
    if not server.in_recovery:
        return {"location": int(server.lsn)}
    return {
        "received_location": int(server.received_lsn or 0),
        "replayed_location": int(server.replayed_lsn or 0),
        "replayed_timestamp": server.replayed_at,
        "paused": server.replay_paused,
    }


def protection(view: View) -> list[str]:
    """What would keep this node from accepting commits past its permit, the strongest first."""
    server = view.postgres.server
    loaded = server is not None and server.fenced if view.postgres.running else view.fence.installed
    there = (loaded, view.guard.alive, view.watchdog.open)
    return [name for name, present in zip(PROTECTIONS, there, strict=True) if present]


def _own_part(view: View) -> dict[str, Any]:
    memory = view.memory
    part: dict[str, Any] = {
        "version": view.me.version,
        "state": memory.state.value,
        "row": memory.row,
        "why": memory.why,
        "since_s": round(max(0.0, view.now - memory.since), 1),
        "guard": {"alive": view.guard.alive, "armed": view.guard.armed},
    }
    if view.lease.term is not None:
        part["term"] = int(view.lease.term)
    part["protection"] = protection(view)
    if view.postgres.server is not None and not view.postgres.server.stale:
        # Rounded up: a look that seems younger than it is might count for what came after it.
        part["looked_s"] = math.ceil(1000 * max(0.0, view.now - view.postgres.server.seen_at)) / 1000
    if view.watchdog.mode != "off":
        part["watchdog"] = _watchdog(view.watchdog)
    if view.postgres.server is not None and view.postgres.server.in_recovery and view.postgres.server.replayed_all:
        part["replayed_all"] = True
    if leads(view) and view.lease.permit_until is not None and view.lease.permit_until != float("inf"):
        part["permit_s"] = round(view.lease.permit_until - view.now, 1)
    agreed = _failsafe(view)
    if agreed:
        part["failsafe"] = agreed
    if view.lease.lost is not None:
        part["lease_lost"] = view.lease.lost
    if view.postgres.unreachable_since is not None:
        part["unreachable_s"] = round(view.now - view.postgres.unreachable_since, 1)
        part["unreachable_why"] = view.postgres.unreachable_why
    if (trouble := disks.trouble(view) or stray.noted(view) or fence_missing(view)) is not None:
        part["unfit"] = trouble
    if known := max(timelines.newest_here(view), memory.claim[1] if memory.claim else 0):
        part["newest_timeline"] = int(known)
    if (timeline := view.memory.standing.stray) is not None:
        part["stray_timeline"] = int(timeline)
    if lacks := lacking_slots(view):
        part["lacks_slots"] = lacks
    objection = not_eligible(view)
    if objection is not None:
        part["not_eligible"] = objection
    part["advice"] = advice(view)
    if view.job is not None and not view.job.done:
        part["job"] = _job(view)
    return part


def lacking_slots(view: View) -> dict[str, str]:
    """Permanent logical slots that a promotion would leave behind, and why; nothing on a node that may not lead."""
    server = server_now(view)
    if server is None or not server.in_recovery or not view.me.tags.may_lead:
        return {}
    return slots.lacking(server, view.settings)


def _watchdog(known: WatchdogFacts) -> dict[str, Any]:
    part: dict[str, Any] = {"mode": known.mode, "device": known.device, "open": known.open}
    if known.timeout_s is not None:
        part["timeout_s"] = known.timeout_s
    if known.why:
        part["why"] = known.why
    return part


def _failsafe(view: View) -> dict[str, Any]:
    """By whose promises this primary goes on, who refuses, or what this node promised and for how long."""
    promise, asked = failsafe.promised(view), view.failsafe.asked
    part: dict[str, Any] = {}
    if promise is not None:
        part = {"promised_to": promise.name, "promised_s": round(promise.until - view.now, 1)}
    if asked is not None:
        part["asked_s"] = round(max(0.0, view.now - asked.at), 1)
        part["consent"] = sorted(reply.name for reply in asked.replies if reply.accepted)
        against = {reply.name: reply.why for reply in asked.replies if not reply.accepted}
        part |= {"against": against} if against else {}
    if view.lease.vouched_until is not None and view.lease.vouched_until > view.now:
        part["vouched_s"] = round(view.lease.vouched_until - view.now, 1)
    return part


def _job(view: View) -> dict[str, Any]:
    job = view.job
    assert job is not None
    part: dict[str, Any] = {"kind": job.kind, "running_s": round(max(0.0, view.now - job.started_at), 1)}
    progress = job.progress
    if progress is not None:
        part["phase"] = progress.phase
        if progress.percent is not None:
            part["percent"] = progress.percent
        part["mb_per_s"] = round(progress.bytes_per_s / 1_000_000, 1)
        if progress.eta_s is not None:
            part["eta_s"] = round(progress.eta_s, 1)
    return part
