"""Changes of leader: what will happen, the request, and the phases as they pass."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import click

from haagent.core.facts import Snapshot
from haagent.ctl import output, rows, show
from haagent.ctl.target import DCS_TIMEOUT_S, Failed, Target, ask_first, boottime, never_sent
from haagent.ports import PortError
from haagent.rest.client import RequestError

ANSWER_WITHIN_S = 130.0
"""Somewhat longer than an agent takes to give up."""
TAKEN_WITHIN_S = 70.0
STREAMS_WITHIN_S = 30.0
"""How long the old primary's return is watched; it goes on after that, only unwatched."""


@dataclass(frozen=True, slots=True)
class Order:
    """What is asked for; a failover has no ``leader``."""

    leader: str | None
    candidate: str | None
    scheduled_at: str | None = None

    @property
    def kind(self) -> str:
        return "switchover" if self.leader else "failover"

    @property
    def body(self) -> dict[str, str]:
        named = {"leader": self.leader, "candidate": self.candidate, "scheduled_at": self.scheduled_at}
        return {key: value for key, value in named.items() if value}


class DoubtfulError(Failed):
    """The request was sent and its answer lost: whether it was taken shows in the cluster."""


@dataclass(slots=True)
class Phases:
    """The phases seen so far, printed as they pass, in seconds since the request."""

    began_at: float
    passed: dict[str, float] = field(default_factory=dict)
    wrote_s: float | None = None
    """When the old primary was last seen to accept writes; None: never."""

    def mark(self, key: str, text: str) -> None:
        if key not in self.passed:
            self.passed[key] = boottime() - self.began_at
            output.show(f"  {self.passed[key]:6.2f} s  {text}")


async def switchover(
    target: Target, leader: str | None, candidate: str | None, scheduled: str | None, force: bool
) -> None:
    """Hand leadership over in good order."""
    snapshot = await target.existing()
    present = _leader(target, snapshot)
    others = [m.name for m in sorted(snapshot.members, key=lambda m: m.name) if m.name != present]
    if not force:
        output.show(show.members_text(target.cluster, snapshot, "table", False, False))
        leader = leader or click.prompt("Primary", default=present)
        if candidate is None:
            answer = click.prompt(f"Candidate {others}, empty for the best one", default="", show_default=False)
            candidate = answer or None
        if scheduled is None:
            scheduled = click.prompt("When (ISO 8601 with a time zone, or now)", default="now")
    order = Order(leader or present, candidate, None if scheduled in (None, "now") else scheduled)
    if order.leader != present:
        raise Failed(f"{order.leader} does not lead cluster {target.cluster}; {present} does. Nothing was changed")
    _known(target, snapshot, candidate)
    output.show("\n".join(_plan(target, snapshot, order, await _silent(target, snapshot))))
    ask_first(f"Switch over now, away from {present}?" if not order.scheduled_at else "Schedule it?", force)
    await _carry_out(target, snapshot, order)


async def failover(target: Target, candidate: str | None, force: bool) -> None:
    """Make a member lead although the present leader, if any, cannot help."""
    snapshot = await target.existing()
    present = snapshot.leader.name if snapshot.leader else None
    others = [m.name for m in sorted(snapshot.members, key=lambda m: m.name) if m.name != present]
    if not force:
        output.show(show.members_text(target.cluster, snapshot, "table", False, False))
        candidate = candidate or click.prompt(f"Candidate {others}", default="", show_default=False) or None
    if candidate is None:
        raise Failed("Failover could be performed only to a specific candidate: give --candidate")
    _known(target, snapshot, candidate)
    if candidate == present:
        raise Failed(f"{candidate} leads cluster {target.cluster} already. Nothing was changed")
    order = Order(None, candidate)
    output.show("\n".join(_plan(target, snapshot, order, await _silent(target, snapshot))))
    ask_first(f"Fail over to {candidate}, with the loss that this may mean?", force)
    await _carry_out(target, snapshot, order)


def _leader(target: Target, snapshot: Snapshot) -> str:
    if snapshot.leader is None:
        raise Failed(
            f"Cluster {target.cluster} has no leader, so there is nobody to switch over from; "
            "to make a member lead: haagent-ctl failover --candidate NAME"
        )
    return snapshot.leader.name


def _known(target: Target, snapshot: Snapshot, candidate: str | None) -> None:
    if candidate is not None and snapshot.member(candidate) is None:
        names = ", ".join(sorted(m.name for m in snapshot.members))
        raise Failed(f"{candidate} is no member of cluster {target.cluster}; members are {names}")


async def _silent(target: Target, snapshot: Snapshot) -> frozenset[str]:
    """The members whose agents do not answer now."""
    answers = await asyncio.gather(*(target.status(member) for member in snapshot.members))
    return frozenset(m.name for m, answer in zip(snapshot.members, answers, strict=True) if answer is None)


def _plan(target: Target, snapshot: Snapshot, order: Order, silent: frozenset[str]) -> list[str]:
    """What is there now and what will happen, for the operator to agree to."""
    present = snapshot.leader.name if snapshot.leader else None
    lines = [f"{order.kind.capitalize()} of cluster {target.cluster}"]
    if present is None:
        lines.append("  leads now:     nobody")
    else:
        lines.append(f"  leads now:     {_described(snapshot, present, silent)}")
    if order.candidate:
        lines.append(f"  leads after:   {_described(snapshot, order.candidate, silent)}")
    else:
        others = [_described(snapshot, m.name, silent) for m in snapshot.members if m.name != present]
        lines.append("  leads after:   the best of " + "; ".join(sorted(others)))
    if order.scheduled_at:
        lines.append(f"  when:          {order.scheduled_at}")
    if order.leader:
        lines.append(
            f"  expected:      PostgreSQL on {present} is stopped in good order once its WAL has arrived, which loses "
            f"nothing; its sessions end; it comes back as a standby"
        )
    else:
        lines.append("  expected:      commits that the candidate has not received are lost; sessions end")
        if present is not None:
            lines.append("                 the leader is there: haagent-ctl switchover would lose nothing")
    return lines


def _described(snapshot: Snapshot, name: str, silent: frozenset[str]) -> str:
    member = snapshot.member(name)
    if member is None:
        return f"{name}, which has no member key (its agent is down)"
    host, port = rows.address(member)
    state = (member.replication_state if member.running else None) or member.state
    parts = [state]
    if member.timeline is not None:
        parts.append(f"timeline {int(member.timeline)}")
    if not rows.leads(snapshot, member):
        lag = rows.behind(snapshot, member.receive_lsn or member.lsn)
        parts.append("lag unknown" if lag is None else f"{lag} bytes behind")
    if member.tags.get("nofailover"):
        parts.append("nofailover")
    if name in silent:
        parts.append("ITS AGENT DOES NOT ANSWER")
    return f"{name} ({host}:{port}; {', '.join(parts)})"


async def _carry_out(target: Target, snapshot: Snapshot, order: Order) -> None:
    phases = Phases(boottime())
    request = asyncio.create_task(_request(target, snapshot, order))
    try:
        if order.scheduled_at:
            output.show(await request)
            return
        phases.mark("asked", "requested")
        old = snapshot.leader.name if snapshot.leader else None
        winner = await _watch_takeover(target, snapshot, order, old, request, phases)
        await _watch_return(target, old, winner, phases)
    finally:
        request.cancel()
        await asyncio.gather(request, return_exceptions=True)
    verb = "switched" if order.leader else "failed"
    text = f'Successfully {verb} over to "{winner}" in {max(phases.passed.values()):.1f} s'
    if phases.wrote_s is not None:
        text += f"; writes paused for at most {phases.passed['writable'] - phases.wrote_s:.1f} s"
    output.show(text)


async def _request(target: Target, snapshot: Snapshot, order: Order) -> str:
    """Hand the order to an agent and return its word; Failed with its reasons when it refuses.

    Whoever surely did not get it is passed over for the next; when no agent can be reached at all the order is put
    into etcd, where the agents will find it.
    """
    first = order.leader or (snapshot.leader.name if snapshot.leader else order.candidate)
    tried: list[str] = []
    for member in sorted(snapshot.members, key=lambda m: (m.name != first, m.name != order.candidate, m.name)):
        if not member.api_url:
            continue
        try:
            answer = await target.ask("POST", member, f"/{order.kind}", order.body, ANSWER_WITHIN_S)
        except RequestError as error:
            if not never_sent(error):
                raise DoubtfulError(f"{error}. Whether it happened is not known: see haagent-ctl list") from None
            tried.append(str(error))
            continue
        if answer.ok:
            return answer.text
        raise Failed(f"{member.name} refused the {order.kind} (HTTP {answer.status}): {answer.text}")
    output.warn("No agent can be reached (" + "; ".join(tried) + "); the request goes into etcd for them to find")
    expected = snapshot.failover.revision if snapshot.failover else None
    try:
        await target.dcs.put_failover(order.leader, order.candidate, order.scheduled_at, expected, DCS_TIMEOUT_S)
    except PortError as error:
        raise Failed(f"the request was not taken by etcd either: {error}") from None
    return "the request stands in etcd"


async def _watch_takeover(
    target: Target, before: Snapshot, order: Order, old: str | None, request: asyncio.Task[str], phases: Phases
) -> str:
    """Print the phases until another member leads and is writable; its name. Failed when the agent refuses."""
    until = boottime() + TAKEN_WITHIN_S
    old_term = before.leader.term if before.leader else None
    while boottime() < until:
        if request.done():
            # A refusal ends the watching; the outcome of a lost answer shows in what is watched.
            error = request.exception()
            if error is not None and not isinstance(error, DoubtfulError):
                raise error
        if old is not None and "stopped" not in phases.passed:
            member = before.member(old)
            asked_at = boottime()
            status = await target.status(member, timeout=0.5) if member else None
            if status is not None and _writes(status):
                phases.wrote_s = asked_at - phases.began_at
            elif status is not None:
                phases.mark("stopped", f"old primary {old} has stopped accepting writes")
        winner = await _winner(target, old_term)
        if winner is not None:
            phases.mark("taken", f"leader key taken by {winner}")
            chosen = before.member(winner)
            status = await target.status(chosen, timeout=0.5) if chosen else None
            if status is not None and _writes(status):
                phases.mark("writable", f"{winner} accepts writes")
                return winner
        await asyncio.sleep(target.poll_s)
    raise Failed(
        f"No other member accepts writes after {TAKEN_WITHIN_S:.0f} s; the {order.kind} may still be under way: "
        "see haagent-ctl list and the agents' logs"
    )


async def _winner(target: Target, old_term: int | None) -> str | None:
    """Who holds the leader key of a new term."""
    try:
        leader = (await target.dcs.snapshot(DCS_TIMEOUT_S)).leader
    except PortError:
        return None
    return leader.name if leader is not None and leader.term != old_term else None


async def _watch_return(target: Target, old: str | None, winner: str, phases: Phases) -> None:
    """Wait until the old primary streams from the new one, as long as that is worth watching."""
    if old is None or old == winner:
        return
    until = boottime() + STREAMS_WITHIN_S
    status: Mapping[str, Any] | None = None
    while boottime() < until:
        snapshot = await target.snapshot()
        member, leader = snapshot.member(old), snapshot.member(winner)
        status = await target.status(member, timeout=0.5) if member else None
        new_timeline = int(leader.timeline) if leader and leader.timeline else None
        if status and status.get("replication_state") == "streaming" and status.get("timeline") == new_timeline:
            phases.mark("streams", f"{old} streams from {winner}, timeline {new_timeline}")
            return
        own = status.get("haagent") if status else None
        if isinstance(own, Mapping) and own.get("state") == "failed":
            output.warn(f"{old} does not come back by itself: {show.activity(own)}. See its log")
            return
        await asyncio.sleep(target.poll_s)
    state = status.get("state") if status else "its agent does not answer"
    output.warn(f"{old} does not stream from {winner} after {STREAMS_WITHIN_S:.0f} s ({state}): see haagent-ctl list")


def _writes(status: Mapping[str, Any]) -> bool:
    xlog = status.get("xlog")
    running = status.get("state") == "running" and status.get("role") in ("primary", "master")
    return running and isinstance(xlog, Mapping) and "location" in xlog
