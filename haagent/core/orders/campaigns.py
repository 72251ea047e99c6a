"""The leader key is asked for, waited for, or left to another."""

from __future__ import annotations

from dataclasses import replace

from haagent.core import conditions as c
from haagent.core import election, publish, synchrony
from haagent.core.actions import Action, AskPeers, Campaign, Depose, EnsureGuard, ResumeLease
from haagent.core.facts import Failure, View
from haagent.core.orders.standbys import follow
from haagent.core.orders.words import RETRY_FIRST_S, Orders
from haagent.core.terms import later


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
    return Orders((*orders, Campaign(c.grounds(v))), detail=why + _asked_in_vain(v))


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
