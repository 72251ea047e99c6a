"""What all agents of a cluster answer at this moment, and what would happen if its leader died now."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from haagent.config.problems import ConfigError
from haagent.core.facts import Member, PeerReply, Settings, Snapshot
from haagent.core.forecast import Forecast, forecast
from haagent.ctl.story import part
from haagent.ctl.target import Failed, Target
from haagent.rest.client import read_status


@dataclass(frozen=True, slots=True)
class Asked:
    """One look at the whole cluster."""

    snapshot: Snapshot
    settings: Settings
    remarks: tuple[str, ...]
    replies: Mapping[str, PeerReply]
    told: Mapping[str, str]
    """Why nodes may not lead, in their own words."""
    etcd_s: float

    def forecast(self) -> Forecast | None:
        """If the leader died now; None when nobody leads."""
        return forecast(self.snapshot, self.settings, self.replies, self.told, self.etcd_s)


async def asked(target: Target) -> Asked:
    """All agents at once; Failed when etcd does not answer, or the dynamic configuration can't be used."""
    begun = time.monotonic()
    snapshot = await target.existing()
    etcd_s = time.monotonic() - begun
    document = snapshot.config.document if snapshot.config else {}
    try:
        settings, remarks = target.check(document)
    except ConfigError as error:
        raise Failed(f"the dynamic configuration can't be used: {error}. See haagent-ctl edit-config") from None
    answers = await asyncio.gather(*(target.status(member) for member in snapshot.members))
    known = dict(zip((m.name for m in snapshot.members), answers, strict=True))
    replies = {m.name: _reply(m, known[m.name]) for m in snapshot.members}
    own = {name: part(answer, "haagent") for name, answer in known.items() if answer is not None}
    told = {name: str(words["not_eligible"]) for name, words in own.items() if "not_eligible" in words}
    return Asked(snapshot, settings, remarks, replies, told, etcd_s)


def _reply(member: Member, answer: Mapping[str, Any] | None) -> PeerReply:
    if answer is None:
        why = f"its agent does not answer at {member.api_url or 'no address'}"
        return PeerReply(member.name, reached=False, why=why)
    return read_status(member.name, answer)
