"""``haagent-ctl demote-cluster`` and ``promote-cluster``: whether a whole cluster follows another one."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from haagent.core.facts import Snapshot
from haagent.ctl import output, shared, show
from haagent.ctl.target import Failed, Target, ask_first, boottime

WITHIN_S = 60.0
"""How long the change of role is watched; it goes on after that, only unwatched."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where the other cluster's WAL comes from."""

    host: str | None = None
    port: int | None = None
    restore_command: str | None = None
    primary_slot_name: str | None = None

    def document(self) -> dict[str, Any]:
        """The ``standby_cluster`` section; Failed when it names no source."""
        given = {
            "host": self.host,
            "port": self.port,
            "restore_command": self.restore_command,
            "primary_slot_name": self.primary_slot_name,
        }
        if self.host is None and self.port is None and self.restore_command is None:
            raise Failed("at least --host, --port or --restore-command should be specified")
        return {name: value for name, value in given.items() if value is not None}


async def demote(target: Target, source: Source, force: bool) -> None:
    """Have the cluster follow another one: its leader becomes a standby leader, and nothing here accepts writes."""
    section = source.document()
    snapshot = await _led(target)
    if _is_standby(snapshot):
        raise Failed(f"Cluster {target.cluster} is already in the required state")
    ask_first(f"Demote cluster {target.cluster}? It stops accepting writes and follows {_named(section)}", force)
    await _change(target, snapshot, section, "standby_leader")
    output.show("Cluster demotion is completed")


async def promote(target: Target, force: bool) -> None:
    """Have the cluster stand alone: its standby leader becomes a primary."""
    snapshot = await _led(target)
    if not _is_standby(snapshot):
        raise Failed(f"Cluster {target.cluster} is already in the required state")
    ask_first(f"Promote cluster {target.cluster}? It follows nobody any more and accepts writes", force)
    await _change(target, snapshot, None, "primary")
    output.show("Cluster promotion is completed")


def _named(section: Mapping[str, Any]) -> str:
    host = section.get("host") or ("port " + str(section["port"]) if "port" in section else "the archive")
    return f"{host}:{section['port']}" if section.get("host") and "port" in section else str(host)


async def _led(target: Target) -> Snapshot:
    snapshot = await target.existing()
    output.show(show.members_text(target.cluster, snapshot, "table", False, False))
    if snapshot.leader is None:
        raise Failed(f"Cluster {target.cluster} has no leader; nothing was changed")
    return snapshot


def _is_standby(snapshot: Snapshot) -> bool:
    return snapshot.config is not None and bool(snapshot.config.document.get("standby_cluster"))


async def _change(target: Target, snapshot: Snapshot, section: Mapping[str, Any] | None, role: str) -> None:
    await shared.patch(target, snapshot, {"standby_cluster": section})
    began_at = boottime()
    while boottime() - began_at < WITHIN_S:
        now = await target.snapshot()
        leader = now.member(now.leader.name) if now.leader else None
        status = await target.status(leader, timeout=0.5) if leader else None
        if status is not None and status.get("role") == role and status.get("state") == "running":
            return
        await asyncio.sleep(target.poll_s)
    raise Failed(
        f"the change is stored, but no member is {role} after {WITHIN_S:.0f} s: see haagent-ctl list and explain"
    )
