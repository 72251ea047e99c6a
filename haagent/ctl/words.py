"""What stands in journals and statuses, in words; whatever is not as it should be is shown as it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from haagent.ctl.story import part


def items(record: Mapping[str, Any], name: str) -> list[Any]:
    """A list within an object; empty when it is none."""
    found = record.get(name)
    return found if isinstance(found, list) else []


def span(seconds: object) -> str:
    """Seconds to a tenth."""
    return f"{seconds:.1f} s" if isinstance(seconds, int | float) else str(seconds)


def duration(seconds: float) -> str:
    """A span of time as people say it."""
    if seconds < 120:
        return f"{seconds:.1f} s"
    minutes = int(seconds // 60)
    days, hours = minutes // 1440, minutes // 60 % 24
    return f"{days} d {hours} h" if days else f"{hours} h {minutes % 60} min" if hours else f"{minutes} min"


def knew(known: Mapping[str, Any]) -> list[str]:
    """The inputs of a decision in words."""
    parts = (_dcs, _lease, _failsafe, _guard, _postgres, _peers, _others)
    return [text for one in parts for text in one(known)]


def _dcs(known: Mapping[str, Any]) -> list[str]:
    dcs = part(known, "dcs")
    leader, sync = part(dcs, "leader"), part(dcs, "sync")
    texts = []
    if "silent_s" in dcs:
        texts.append(f"etcd had not answered for {span(dcs['silent_s'])} ({dcs.get('silent_why', '')})")
    if leader:
        beat = f", unchanged for {span(dcs['heartbeat_s'])}" if "heartbeat_s" in dcs else ""
        texts.append(f"the leader key named {leader.get('name')} (term {leader.get('term')}{beat})")
    elif dcs and "silent_s" not in dcs:
        texts.append("there was no leader key")
    if sync.get("leader"):
        others = ", ".join(map(str, items(sync, "standbys"))) or "nobody else"
        votes = f" with {sync['quorum']} votes" if sync.get("quorum") else ""
        texts.append(f"by the sync key {sync['leader']} or {others}{votes} may lead")
    if part(dcs, "failover"):
        request = part(dcs, "failover")
        texts.append(
            f"a change of leader from {request.get('from', 'anybody')} to {request.get('to', 'the best')} was asked"
        )
    return texts


def _lease(known: Mapping[str, Any]) -> list[str]:
    lease = part(known, "lease")
    texts = [f"its lease was lost: {lease['lost']}"] if lease.get("lost") else []
    left = lease.get("permit_s")
    if isinstance(left, int | float):
        texts.append(
            f"its permit ran for {left:.1f} s more" if left > 0 else f"its permit had ended {-left:.1f} s before"
        )
    return texts


def _failsafe(known: Mapping[str, Any]) -> list[str]:
    mode = part(known, "failsafe")
    texts = []
    if mode.get("promised_to"):
        texts.append(f"it had promised {mode['promised_to']} to wait for {span(mode.get('promised_s'))} more")
    consent, against = items(mode, "consent"), part(mode, "against")
    if consent:
        texts.append(f"{', '.join(map(str, consent))} consented that it goes on without etcd")
    return texts + [f"{name} did not ({why})" for name, why in against.items()]


def _guard(known: Mapping[str, Any]) -> list[str]:
    guard, fired = part(known, "guard"), part(known, "guard", "fired")
    texts = ["no guard process answered"] if part(known, "lease") and guard.get("alive") is False else []
    if fired:
        texts.append(
            f"the guard had ended {fired.get('processes')} processes of PostgreSQL in {fired.get('took_ms')} ms at "
            f"{fired.get('at')}: {fired.get('reason')}"
        )
    return texts


def _postgres(known: Mapping[str, Any]) -> list[str]:
    facts = part(known, "postgres")
    if not facts:
        return []
    texts = (
        [] if facts.get("running") else [f"its PostgreSQL was down ({facts.get('control_file', 'no control file')})"]
    )
    if "silent_s" in facts:
        texts.append(f"its PostgreSQL had not answered for {span(facts['silent_s'])} ({facts.get('silent_why', '')})")
    if "lsn" in facts:
        kind = "received" if facts.get("in_recovery") else "written"
        texts.append(f"its WAL was {kind} up to {facts['lsn']} on timeline {facts.get('timeline')}")
    optime = part(known, "dcs").get("optime")
    if facts.get("in_recovery") and optime:
        texts.append(f"the last leader's WAL was known to reach {optime}")
    standbys = items(facts, "standbys")
    if standbys:
        texts.append(f"{', '.join(map(str, standbys))} streamed from it")
    return texts


def _peers(known: Mapping[str, Any]) -> list[str]:
    texts = []
    for one in items(part(known, "peers"), "replies"):
        if not isinstance(one, Mapping):
            continue
        if "silent" in one:
            texts.append(f"{one.get('name')} did not answer ({one['silent']})")
        else:
            kind = "standby" if one.get("in_recovery") else "primary"
            state = f"{kind}, WAL up to {one.get('lsn')} on timeline {one.get('timeline')}"
            texts.append(f"{one.get('name')} answered: {state if one.get('running') else 'PostgreSQL does not run'}")
    return texts


def _others(known: Mapping[str, Any]) -> list[str]:
    job, parted = part(known, "job"), part(known, "divergence")
    texts = [f"{job.get('kind')} had failed: {job['error']}"] if "error" in job else []
    if parted:
        commits = "an unknown number of" if parted.get("lost_commits") is None else parted["lost_commits"]
        texts.append(
            f"its history had parted from {parted.get('leader')}'s at {parted.get('fork')}: {parted.get('lost_bytes')} "
            f"bytes and {commits} commits beyond"
        )
    if known.get("not_eligible"):
        texts.append(f"it might not lead: {known['not_eligible']}")
    if known.get("asked_to_stop"):
        texts.append("its agent had been asked to stop")
    if known.get("paused"):
        texts.append("the cluster was paused")
    return texts + [f"just failed: {text}" for text in items(known, "failed_before")]
