"""The commands that only look: list, topology, history, version."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from haagent import __version__
from haagent.core.facts import Member, Snapshot
from haagent.ctl import output, rows
from haagent.ctl.target import Target

_CALM_STATES = frozenset({"standby", "primary"})
"""States of an agent in which there is nothing to explain."""


def members_text(cluster: str, snapshot: Snapshot, form: str, extended: bool, tree: bool) -> str:
    """The members of one cluster as a table or TSV."""
    lines = rows.tree_rows(cluster, snapshot, drawn=form == "table") if tree else rows.member_rows(cluster, snapshot)
    seen = {key for row in lines for key in row}
    keys = [*rows.MEMBER_KEYS]
    keys += ["Upstream"] if tree and form == "tsv" else []
    keys += [key for key in rows.EXTENDED_KEYS if extended or key in seen]
    if form == "tsv":
        return output.as_tsv(keys, lines)
    table = output.as_table(rows.title(cluster, snapshot), keys[1:], lines)
    return "\n".join([table, *rows.footers(snapshot)])


async def members(targets: Sequence[Target], form: str, extended: bool = False, tree: bool = False) -> str:
    """The members of all these clusters."""
    snapshots = [(target, await target.snapshot()) for target in targets]
    if form in ("json", "yaml"):
        found = [
            row
            for target, snapshot in snapshots
            for row in (
                rows.tree_rows(target.cluster, snapshot, drawn=False)
                if tree
                else rows.member_rows(target.cluster, snapshot)
            )
        ]
        return output.as_json(found) if form == "json" else output.as_yaml(found)
    parts = []
    for target, snapshot in snapshots:
        parts.append(members_text(target.cluster, snapshot, form, extended, tree))
        if form == "table":
            parts += await protection(target, snapshot)
    return "\n".join(parts)


async def protection(target: Target, snapshot: Snapshot) -> list[str]:
    """What the agents say of themselves that etcd does not tell: their guards, permits, jobs and troubles.

    Nothing when no agent of haagent's is among the members.
    """
    members = sorted((m for m in snapshot.members if m.api_url), key=lambda m: m.name)
    answers = await asyncio.gather(*(target.status(member) for member in members))
    if not any(_own(answer) for answer in answers):
        return []
    said = [_protection_of(member, answer) for member, answer in zip(members, answers, strict=True)]
    lines = [" Protection: " + "; ".join(said)]
    for member, answer in zip(members, answers, strict=True):
        text = activity(_own(answer))
        if text:
            lines.append(f" {member.name}: {text}")
    return lines


def _own(answer: Mapping[str, Any] | None) -> Mapping[str, Any]:
    part = answer.get("haagent") if answer else None
    return part if isinstance(part, Mapping) else {}


def _protection_of(member: Member, answer: Mapping[str, Any] | None) -> str:
    if answer is None:
        return f"{member.name} unknown, its agent does not answer"
    own = _own(answer)
    if not own:
        return f"{member.name} none (a Patroni member)"
    guard = own.get("guard")
    alive = isinstance(guard, Mapping) and guard.get("alive")
    armed = isinstance(guard, Mapping) and guard.get("armed")
    text = f"{member.name} guard {'armed' if armed else 'ready' if alive else 'ABSENT'}"
    others = own.get("protection")
    also = [str(name) for name in others if name != "guard"] if isinstance(others, list) else []
    text += f", {', '.join(also)}" if also else ""
    if "permit_s" in own:
        text += f", permit {own['permit_s']} s"
    return text + _failsafe_of(own)


def _failsafe_of(own: Mapping[str, Any]) -> str:
    """How far an agent takes part in failsafe mode."""
    mode = own.get("failsafe")
    if not isinstance(mode, Mapping):
        return ""
    if mode.get("promised_to"):
        return f", failsafe mode: promised {mode['promised_to']} to wait for {mode.get('promised_s')} s"
    against = mode.get("against")
    if isinstance(against, Mapping) and against:
        return f", failsafe mode: without the consent of {', '.join(map(str, against))}"
    return f", failsafe mode: goes on without etcd for {mode['vouched_s']} s" if "vouched_s" in mode else ""


def activity(own: Mapping[str, Any]) -> str:
    """What an agent is busy or in trouble with; empty when it is neither."""
    state, job = str(own.get("state", "")), own.get("job")
    if isinstance(job, Mapping):
        text = f"{job.get('kind')} for {job.get('running_s')} s"
        if job.get("percent") is not None:
            text += f", {job['percent']} % at {job.get('mb_per_s')} MB/s"
        if job.get("eta_s") is not None:
            text += f", done in about {job['eta_s']} s"
        return text
    if not own or state in _CALM_STATES:
        return ""
    return f"{state} for {own.get('since_s')} s: {own.get('why')}"


async def history(target: Target, form: str) -> str:
    """All promotions, oldest first."""
    lines = rows.history_rows(await target.snapshot())
    if form == "json":
        return output.as_json(lines)
    if form == "yaml":
        return output.as_yaml(lines)
    if form == "tsv":
        return output.as_tsv(rows.HISTORY_KEYS, lines)
    return output.as_table(None, rows.HISTORY_KEYS, lines)


async def versions(target: Target, names: Sequence[str]) -> list[tuple[str, str]]:
    """What each member runs, by name."""
    snapshot = await target.existing()
    members = [m for m in sorted(snapshot.members, key=lambda m: m.name) if not names or m.name in names]
    answers = await asyncio.gather(*(target.status(member) for member in members))
    found = [(m.name, _version(answer)) for m, answer in zip(members, answers, strict=True)]
    missing = sorted(set(names) - {m.name for m in members})
    return found + [(name, f"is no member of cluster {target.cluster}") for name in missing]


def _version(answer: Mapping[str, Any] | None) -> str:
    if answer is None:
        return "its agent does not answer"
    own, spoken = _own(answer), answer.get("patroni")
    if own:
        agent = f"haagent {own.get('version', '?')}"
    else:
        agent = f"Patroni {spoken.get('version', '?') if isinstance(spoken, Mapping) else '?'}"
    number = answer.get("server_version")
    return f"{agent} PostgreSQL {postgres_version(number)}" if isinstance(number, int) else f"{agent}, no PostgreSQL"


def postgres_version(number: int) -> str:
    """``server_version_num`` as people write it: 150020 is 15.20."""
    if number >= 100000:
        return f"{number // 10000}.{number % 10000}"
    return f"{number // 10000}.{number // 100 % 100}.{number % 100}"


def own_version() -> str:
    return f"haagent-ctl version {__version__}"
