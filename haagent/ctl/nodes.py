"""Requests to single nodes: restart, reload, reinit, and the end of what was scheduled."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import click

from haagent.core.facts import Member, Snapshot
from haagent.ctl import output, rows, show
from haagent.ctl.target import Failed, Target, ask_first, boottime
from haagent.rest.client import RequestError, Response

ROLES = ("leader", "primary", "standby-leader", "replica", "standby", "any")
RESTART_WITHIN_S = 900.0
"""As long as an agent may keep a request waiting: a shutdown checkpoint can take minutes."""
SILENCE_S = 60.0
"""How long an agent may say nothing while it is waited for."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Which members are meant."""

    names: Sequence[str] = ()
    role: str = "any"
    pending: bool = False
    any_one: bool = False


def chosen(target: Target, snapshot: Snapshot, choice: Choice) -> list[Member]:
    """The members that are meant, standbys before the leader; Failed when there are none."""
    unknown = sorted(set(choice.names) - {m.name for m in snapshot.members})
    if unknown:
        raise Failed(f"no such member in cluster {target.cluster}: {', '.join(unknown)}")
    found = [m for m in snapshot.members if not choice.names or m.name in choice.names]
    found = [
        m
        for m in found
        if _has_role(snapshot, m, choice.role) and (m.pending_restart is not None or not choice.pending)
    ]
    if not found:
        wanted = "member" if choice.role == "any" else choice.role
        waiting = " that waits for a restart" if choice.pending else ""
        among = f" among {', '.join(choice.names)}" if choice.names else ""
        raise Failed(f"there is no {wanted}{waiting}{among} in cluster {target.cluster}")
    if choice.any_one:
        found = [random.choice(found)]
    return sorted(found, key=lambda m: (rows.leads(snapshot, m), m.name))


def _has_role(snapshot: Snapshot, member: Member, role: str) -> bool:
    leads, standby_leader = rows.leads(snapshot, member), member.role == "standby_leader"
    return {
        "any": True,
        "leader": leads,
        "primary": leads and not standby_leader,
        "standby-leader": leads and standby_leader,
        "replica": not leads,
        "standby": not leads,
    }[role]


def _show(target: Target, snapshot: Snapshot) -> None:
    output.show(show.members_text(target.cluster, snapshot, "table", False, False))


def _names(members: Sequence[Member]) -> str:
    return ", ".join(m.name for m in members)


async def _each(
    target: Target, members: Sequence[Member], method: str, path: str, body: object, timeout: float, what: str
) -> list[Member]:
    """Ask one member after the other and print its answer; who agreed."""
    agreed = []
    for member in members:
        try:
            answer = await target.ask(method, member, path, body, timeout)
        except RequestError as error:
            output.show(f"Failed: {what} for member {member.name}: {error}")
            continue
        if answer.ok:
            agreed.append(member)
        output.show(_line(what, member, answer))
    return agreed


def _line(what: str, member: Member, answer: Response) -> str:
    if answer.ok:
        return f"Success: {what} for member {member.name} ({answer.text})"
    return f"Failed: {what} for member {member.name}, HTTP {answer.status}: {answer.text}"


def _all_of(members: Sequence[Member], agreed: Sequence[Member], what: str) -> None:
    if len(agreed) < len(members):
        missing = [m.name for m in members if m not in agreed]
        raise Failed(f"{what} failed on {', '.join(missing)}")


# --- restart and reload ---


async def restart(
    target: Target,
    choice: Choice,
    scheduled: str | None,
    pg_version: str | None,
    timeout: str | None,
    force: bool,
) -> None:
    """Restart PostgreSQL on the members that are meant, one after the other, the leader last."""
    snapshot = await target.existing()
    _show(target, snapshot)
    members = chosen(target, snapshot, choice)
    if not force and scheduled is None:
        scheduled = click.prompt("When (ISO 8601 with a time zone, or now)", default="now")
    when = None if scheduled in (None, "now") else scheduled
    ask_first(f"Restart PostgreSQL on {_names(members)}{f' at {when}' if when else ', one after the other'}?", force)
    body: dict[str, Any] = {}
    if choice.pending:
        body["restart_pending"] = True
    if pg_version:
        body["postgres_version"] = pg_version
    if timeout:
        body["timeout"] = timeout
    if when:
        body["schedule"] = when
        if choice.role in ("primary", "replica", "standby"):
            body["role"] = "primary" if choice.role == "primary" else "replica"
    agreed = await _each(target, members, "POST", "/restart", body, RESTART_WITHIN_S, "restart")
    _all_of(members, agreed, "restart")


async def reload(target: Target, choice: Choice, force: bool) -> None:
    """Have the configuration files read again."""
    snapshot = await target.existing()
    _show(target, snapshot)
    members = chosen(target, snapshot, choice)
    ask_first(f"Reload the configuration files of {_names(members)}?", force)
    agreed = await _each(target, members, "POST", "/reload", {}, 10.0, "reload")
    _all_of(members, agreed, "reload")


# --- reinit ---


async def reinit(target: Target, names: Sequence[str], force: bool, from_leader: bool, wait: bool) -> None:
    """Have the data of standbys built anew from a running node."""
    snapshot = await target.existing()
    _show(target, snapshot)
    if not names:
        raise Failed("name the members whose data shall be built anew; nothing was done")
    members = chosen(target, snapshot, Choice(names))
    ask_first(
        f"Build the data of {_names(members)} anew? The present directory is moved aside, PostgreSQL there is down "
        "meanwhile",
        force,
    )
    before = {m.name: await _started_at(target, m) for m in members}
    body: dict[str, Any] = {"from_leader": True} if from_leader else {}
    agreed = []
    for member in members:
        if await _reinit_one(target, member, {**body, "force": True} if force else body):
            agreed.append(member)
    if wait:
        await asyncio.gather(*(_until_built(target, member, before[member.name]) for member in agreed))
    _all_of(members, agreed, "reinitialize")


async def _reinit_one(target: Target, member: Member, body: Mapping[str, Any]) -> bool:
    try:
        answer = await target.ask("POST", member, "/reinitialize", body)
    except RequestError as error:
        output.show(f"Failed: reinitialize for member {member.name}: {error}")
        return False
    if not answer.ok and "in progress" in answer.text and not body.get("force"):
        output.show(f"{member.name}: {answer.text}")
        ask_first("End it and begin anew?", force=False)
        return await _reinit_one(target, member, {**body, "force": True})
    output.show(_line("reinitialize", member, answer))
    return answer.ok


async def _started_at(target: Target, member: Member) -> Any:
    status = await target.status(member)
    return status.get("postmaster_start_time") if status else None


async def _until_built(target: Target, member: Member, started_before: Any) -> None:
    """Wait until another postmaster runs than before, printing progress; Failed when the agent fails or is silent."""
    output.show(f"Waiting for reinitialize to complete on: {member.name}")
    said, heard_at = "", boottime()
    while boottime() - heard_at < SILENCE_S:
        status = await target.status(member)
        if status is not None:
            heard_at = boottime()
            own = status.get("haagent")
            text = show.activity(own) if isinstance(own, Mapping) else ""
            if isinstance(own, Mapping) and own.get("state") == "failed":
                raise Failed(f"{member.name}: {text}")
            started = status.get("postmaster_start_time")
            if status.get("state") == "running" and started and started != started_before:
                output.show(f"Reinitialize is completed on: {member.name}")
                return
            step = text.split(",")[1] if text.count(",") else text.split(" for ")[0]
            if step and step != said:
                said = step
                output.show(f"  {member.name}: {text}")
        await asyncio.sleep(5 * target.poll_s)
    raise Failed(f"{member.name}: its agent has not answered for {SILENCE_S:.0f} s; the rebuild may go on: see its log")


# --- what was scheduled ---


async def flush_restarts(target: Target, choice: Choice, force: bool) -> None:
    """Have scheduled restarts forgotten."""
    snapshot = await target.existing()
    _show(target, snapshot)
    members = [m for m in chosen(target, snapshot, choice) if m.scheduled_restart]
    if not members:
        raise Failed("no restart is scheduled on any member that is meant")
    ask_first(f"Forget the scheduled restart of {_names(members)}?", force)
    agreed = await _each(target, members, "DELETE", "/restart", None, 10.0, "flush scheduled restart")
    _all_of(members, agreed, "flush")


async def flush_switchover(target: Target, force: bool) -> None:
    """Have a scheduled switchover forgotten."""
    snapshot = await target.existing()
    request = snapshot.failover
    if request is None or not request.scheduled_at:
        raise Failed("no switchover is scheduled")
    away = f" away from {request.leader}" if request.leader else ""
    ask_first(f"Forget the switchover{away} at {request.scheduled_at}?", force)
    tried = []
    for member in sorted(snapshot.members, key=lambda m: (not rows.leads(snapshot, m), m.name)):
        try:
            answer = await target.ask("DELETE", member, "/switchover")
        except RequestError as error:
            tried.append(str(error))
            continue
        if not answer.ok:
            raise Failed(f"{member.name} refused (HTTP {answer.status}): {answer.text}")
        output.show(f"Success: {answer.text}")
        return
    raise Failed("no agent can be reached: " + "; ".join(tried))
