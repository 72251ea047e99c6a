"""The cluster as a whole: who leads and could, whether nodes agree with each other, clocks, settings, modes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from haagent.core.facts import PeerReply, Settings, Snapshot
from haagent.core.forecast import Forecast
from haagent.core.health.finding import Finding, ok, problem, unknown, warning
from haagent.core.synchrony import may_acknowledge
from haagent.core.tags import read_tags

SKEW_S = 1.0


@dataclass(frozen=True, slots=True)
class Skew:
    """How far a node's wall clock is ahead of this machine's, in seconds, give or take ``error_s``."""

    ahead_s: float
    error_s: float


@dataclass(frozen=True, slots=True)
class ClusterHealth:
    """What the command line gathered."""

    name: str
    snapshot: Snapshot
    settings: Settings
    remarks: tuple[str, ...] = ()
    """What the dynamic configuration is warned of, or why it can't be used."""
    replies: Mapping[str, PeerReply] = field(default_factory=dict)
    alike: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Settings that should be the same, by node; whoever gave no report is not in it."""
    skews: Mapping[str, Skew] = field(default_factory=dict)
    silent: Mapping[str, str] = field(default_factory=dict)
    """Nodes that gave no report, and why."""
    forecast: Forecast | None = None


def agents(h: ClusterHealth) -> Finding:
    dead = [f"{name}: {reply.why}" for name, reply in h.replies.items() if not reply.reached]
    if dead:
        return problem("agents", "; ".join(dead), "systemctl status haagent on that node; haagent-ctl why NODE")
    if h.silent:
        text = "; ".join(f"{name}: {why}" for name, why in h.silent.items())
        return unknown("agents", f"no report of {text}", "upgrade those agents to see what they find")
    return ok("agents", f"{len(h.replies)} answer")


def leader(h: ClusterHealth) -> Finding:
    key = h.snapshot.leader
    if key is None:
        return problem("leader", "nobody holds the leader key: nothing accepts writes", "haagent-ctl explain")
    reply = h.replies.get(key.name)
    if reply is None or not reply.reached or not reply.leads:
        said = "does not answer" if reply is None or not reply.reached else "does not say that it leads"
        return problem(
            "leader", f"{key.name} holds the leader key (term {key.term}), but {said}", "haagent-ctl explain"
        )
    others = [one.name for one in h.replies.values() if one.reached and not one.in_recovery and one.name != key.name]
    if others:
        text = f"{key.name} leads, but PostgreSQL of {', '.join(others)} is out of recovery too"
        return problem("leader", text, "stop PostgreSQL there at once: its commits are not in the cluster")
    return ok("leader", f"{key.name}, term {key.term}, on timeline {reply.timeline}")


def successor(h: ClusterHealth) -> Finding:
    if h.forecast is None:
        return unknown("successor", "nobody leads now")
    found = h.forecast.winner
    if found is not None:
        lost = "no acknowledged commit" if found.lost == 0 else f"up to {found.lost} bytes of WAL"
        return ok("successor", f"{found.name} takes over if {h.forecast.leader} dies, and loses {lost}")
    mend = "haagent-ctl explain names for each node the command that lets it lead"
    if not h.forecast.candidates:
        return warning("successor", "there is no other member: nobody can take over", "add a node")
    why = "; ".join(f"{one.name}: {one.objection}" for one in h.forecast.candidates)
    if h.settings.pause:
        return warning("successor", f"nobody would take over: {why}", f"haagent-ctl resume {h.name}")
    return problem("successor", f"nobody would take over: {why}", mend)


def versions(h: ClusterHealth) -> Finding:
    known = {member.version for member in h.snapshot.members if member.version}
    if len(known) > 1:
        each = ", ".join(f"{m.name} {m.version}" for m in h.snapshot.members if m.version)
        return warning("agent-versions", f"they differ: {each}", "finish the upgrade of the agents, standbys first")
    return ok("agent-versions", f"all are {', '.join(known) or 'unknown'}")


def settings_alike(h: ClusterHealth) -> Finding:
    names = sorted({name for known in h.alike.values() for name in known})
    differ = []
    for name in names:
        values = {node: str(known[name]) for node, known in h.alike.items() if name in known}
        if len(set(values.values())) > 1:
            differ.append(f"{name} ({', '.join(f'{node} {value}' for node, value in values.items())})")
    if differ:
        mend = "take them out of the nodes' files and set them once: haagent-ctl edit-config; then restart --pending"
        return warning("settings-alike", f"nodes differ: {'; '.join(differ)}", mend)
    return ok("settings-alike", f"{len(names)} settings are the same on {len(h.alike)} nodes")


def wall_clocks(h: ClusterHealth) -> Finding:
    if len(h.skews) < 2:
        return ok("wall-clocks", "there are no two nodes to compare")
    first = min(h.skews, key=lambda name: h.skews[name].ahead_s)
    last = max(h.skews, key=lambda name: h.skews[name].ahead_s)
    apart = h.skews[last].ahead_s - h.skews[first].ahead_s
    error = h.skews[last].error_s + h.skews[first].error_s
    text = f"{last} is {apart:.2f} s ahead of {first}, give or take {error:.2f} s"
    if apart - error > SKEW_S:
        text += "; leadership does not rest on it, but schedules and the order of logs do"
        return warning("wall-clocks", text, "chronyc tracking, on both")
    return ok("wall-clocks", text)


def synchronous(h: ClusterHealth) -> Finding:
    mode, wanted = h.settings.synchronous_mode, h.settings.synchronous_node_count
    if mode == "off":
        return ok("synchronous-mode", "off: a failover may lose the last commits")
    key = h.snapshot.leader.name if h.snapshot.leader else None
    able = [m.name for m in h.snapshot.members if m.running and m.name != key and may_acknowledge(read_tags(m.tags))]
    text = f"{mode}, {wanted} standbys wanted, {len(able)} could acknowledge: {', '.join(able) or 'none'}"
    mend = "bring more standbys up, take away their nosync tags, or lower synchronous_node_count"
    if not able and h.settings.synchronous_mode_strict:
        return problem("synchronous-mode", f"{text}; strict: no commit returns", mend)
    return warning("synchronous-mode", text, mend) if len(able) < wanted else ok("synchronous-mode", text)


def maintenance(h: ClusterHealth) -> Finding:
    if h.settings.pause:
        mend = f"haagent-ctl resume {h.name}"
        return warning("maintenance", "maintenance mode is on: nobody takes over by itself", mend)
    return ok("maintenance", "maintenance mode is off")


def dynamic(h: ClusterHealth) -> Finding:
    if h.snapshot.config is None:
        return warning(
            "dynamic-configuration", "there is none in etcd: a running leader puts it back", "haagent-ctl list"
        )
    if h.remarks:
        mend = f"haagent-ctl edit-config {h.name}"
        return warning("dynamic-configuration", "; ".join(h.remarks), mend)
    return ok("dynamic-configuration", "it raised no remark")


CHECKS = (agents, leader, successor, versions, settings_alike, wall_clocks, synchronous, maintenance, dynamic)


def judged(health: ClusterHealth) -> list[Finding]:
    """Every check in its order."""
    return [check(health) for check in CHECKS]
