"""Which physical replication slots a node should have, by what name, and what to do about the difference."""

from __future__ import annotations

from collections.abc import Mapping

from haagent.core.actions import SyncSlots
from haagent.core.facts import Document, Member, ServerFacts, Settings, SlotFacts, Snapshot, Status
from haagent.core.terms import Instant, Lsn


def slot_name(member: str) -> str:
    """The slot of a member: lower case, ``-`` and ``.`` become ``_``, anything else ``uNNNN``; 63 characters."""

    def letter(char: str) -> str:
        if char.isascii() and (char.isalnum() or char == "_"):
            return char
        return "_" if char in "-." else f"u{ord(char):04d}"

    return "".join(letter(char) for char in member.lower())[:63]


def _tag(member: Member, name: str) -> object:
    return member.tags.get(name)


def _streams_from(member: Member, leader: str | None, names: frozenset[str]) -> str | None:
    """Whom a member streams from: the running member it names, else the leader."""
    wanted = member.tags.get("replicatefrom")
    return wanted if isinstance(wanted, str) and wanted in names and wanted != member.name else leader


def wanted(snapshot: Snapshot, me: str, leader: str | None, settings: Settings, may_lead: bool) -> frozenset[str]:
    """The member slots and permanent physical slots that should exist on this node."""
    if not settings.use_slots:
        return frozenset()
    names = frozenset(m.name for m in snapshot.members if m.running)
    found = set[str]()
    for member in snapshot.members:
        if member.name == me or member.tags.get("nostream"):
            continue
        if may_lead or _streams_from(member, leader, names) == me:
            found.add(slot_name(member.name))
    if may_lead:
        found |= {name for name, kind in permanent(settings).items() if kind == "physical"}
    found.discard(slot_name(me))
    return frozenset(found)


def last_seen(seen: Mapping[str, Instant], snapshot: Snapshot, now: Instant, settings: Settings) -> dict[str, Instant]:
    """When the member of each slot was last there, after one more look.

    What an earlier leader retained counts from when this node first heard of it; what has expired is remembered as
    long as the leader still retains it, lest it begin anew.
    """
    handed_on = snapshot.status.retain_slots if snapshot.status else ()
    gone = {slot_name(m.name) for m in snapshot.members if m.tags.get("nostream")}
    found = dict.fromkeys(handed_on, now) | dict(seen) | {slot_name(m.name): now for m in snapshot.members}
    kept = {name: at for name, at in found.items() if name in handed_on or now - at < settings.member_slots_ttl}
    return {name: at for name, at in kept.items() if name not in gone}


def retained(seen: Mapping[str, Instant], now: Instant, settings: Settings) -> frozenset[str]:
    """Slots of members that are there, or were there less than ``member_slots_ttl`` ago."""
    return frozenset(name for name, at in seen.items() if now - at < settings.member_slots_ttl)


def permanent(settings: Settings) -> dict[str, str]:
    """Permanent slots by name; an empty value means a physical one."""
    return {
        name: str(value.get("type", "physical")) if isinstance(value, Mapping) else "physical"
        for name, value in settings.slots.items()
    }


def _matches(slot: SlotFacts, rule: Document) -> bool:
    facts = {"name": slot.name, "type": slot.kind, "plugin": slot.plugin, "database": slot.database}
    return bool(rule) and all(facts.get(key) == value for key, value in rule.items())


def difference(
    server: ServerFacts, keep: frozenset[str], retained: frozenset[str], settings: Settings, status: Status | None
) -> SyncSlots | None:
    """What to create, drop and advance; None when all is as it should be."""
    there = {slot.name: slot for slot in server.slots}
    create = tuple(
        SlotFacts(name, "physical", active=False)
        for name in sorted(keep)
        if name not in there or there[name].wal_status == "lost"
    )
    drop = tuple(
        slot.name
        for slot in server.slots
        if (slot.kind == "physical" and _droppable(slot, keep | retained, settings))
        or (slot.wal_status == "lost" and slot.name in keep and not slot.active)
    )
    advance: dict[str, Lsn] = {}
    if server.in_recovery and status is not None:
        for name in keep & there.keys():
            goal, present = status.slots.get(name), there[name].restart_lsn
            reached = server.replayed_lsn or Lsn(0)
            if goal and not there[name].active and (present is None or present < goal) and goal <= reached:
                advance[name] = goal
    if not (create or drop or advance):
        return None
    return SyncSlots(create, drop, advance)


def _droppable(slot: SlotFacts, keep: frozenset[str], settings: Settings) -> bool:
    if slot.active or slot.name in keep or slot.name in permanent(settings):
        return False
    return not any(_matches(slot, rule) for rule in settings.ignore_slots)


def positions(server: ServerFacts, me: str) -> dict[str, Lsn]:
    """What the leader publishes: every slot's position, and its own name with its own LSN."""
    found = {
        slot.name: Lsn(position)
        for slot in server.slots
        if (position := slot.confirmed_flush_lsn if slot.kind == "logical" else slot.restart_lsn) is not None
    }
    found[slot_name(me)] = server.lsn
    return found
