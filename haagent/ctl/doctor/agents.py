"""The reports of the agents: what each finds of its own node and of the ways from it to the others."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from haagent.core.facts import Member
from haagent.core.health.cluster import Skew
from haagent.core.health.finding import Finding, read
from haagent.ctl.target import Target
from haagent.rest.client import RequestError

REPORT_TIMEOUT_S = 30.0
"""An examination waits for ports and logins that nobody answers."""


@dataclass(frozen=True, slots=True)
class Report:
    """One agent's report; ``why`` says why there is none."""

    name: str
    findings: tuple[Finding, ...] = ()
    alike: Mapping[str, Any] | None = None
    skew: Skew | None = None
    why: str = ""


async def reports(target: Target, members: tuple[Member, ...]) -> list[Report]:
    """Those of all agents, asked at once."""
    return list(await asyncio.gather(*(_report(target, member) for member in members)))


async def _report(target: Target, member: Member) -> Report:
    try:
        answer = await target.ask("GET", member, "/haagent/doctor", timeout=REPORT_TIMEOUT_S)
    except RequestError as error:
        return Report(member.name, why=f"no answer: {error}")
    if not answer.ok or not isinstance(answer.document, Mapping):
        return Report(member.name, why=f"its agent has no doctor (HTTP {answer.status}); a Patroni member has none")
    raw = answer.document.get("findings")
    found = [read(one, member.name) for one in raw] if isinstance(raw, list) else []
    alike = answer.document.get("alike")
    return Report(
        member.name,
        tuple(one for one in found if one is not None),
        alike if isinstance(alike, Mapping) else None,
        await _skew(target, member),
    )


async def _skew(target: Target, member: Member) -> Skew | None:
    """By asking once more: the same report comes at once, with the time at which it left."""
    begun = time.time()
    try:
        answer = await target.ask("GET", member, "/haagent/doctor")
    except RequestError:
        return None
    ended = time.time()
    wall = answer.document.get("wall") if isinstance(answer.document, Mapping) else None
    if not isinstance(wall, int | float):
        return None
    return Skew(wall - (begun + ended) / 2, (ended - begun) / 2)
