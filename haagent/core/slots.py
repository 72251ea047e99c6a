"""Which replication slots a node should have, by what name, and what to do about the difference.

Laws. Physical slots are on every node that may lead, and are advanced on standbys. Permanent logical slots are made on
the primary; from PostgreSQL 17 on it is PostgreSQL that copies them to standbys, and what would be in its way there is
dropped; before that it is the agent (``core/copies.py``). A slot in use is never dropped, nor one that matches
``ignore_slots``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import lru_cache

from haagent.core.actions import SyncSlots
from haagent.core.facts import Document, Member, ServerFacts, Settings, SlotFacts, Snapshot, Status
from haagent.core.quorums import parse
from haagent.core.terms import Instant, Lsn

SYNCHRONIZES = 170000
"""From this version on PostgreSQL copies logical slots to standbys by itself."""


@lru_cache(maxsize=256)
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
        found |= {slot.name for slot in permanent(settings) if slot.kind == "physical"}
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


def permanent(settings: Settings) -> tuple[SlotFacts, ...]:
    """The permanent slots that operators listed; one without properties is physical.

    ``cluster_type`` restricts a slot to primary or standby clusters.
    """
    here = "primary" if settings.standby_cluster is None else "standby"
    listed = {name: value if isinstance(value, Mapping) else {} for name, value in settings.slots.items()}
    return tuple(
        SlotFacts(
            name,
            str(value.get("type", "physical")),
            active=False,
            plugin=value.get("plugin"),
            database=value.get("database"),
        )
        for name, value in listed.items()
        if value.get("cluster_type") in (None, here)
    )


def logical(settings: Settings) -> tuple[SlotFacts, ...]:
    """The permanent logical slots."""
    return tuple(slot for slot in permanent(settings) if slot.kind == "logical") if settings.use_slots else ()


def keeps_logical(server: ServerFacts | None, settings: Settings, may_lead: bool) -> bool:
    """Whether logical slots are to be usable here after a promotion; copies end only while PostgreSQL looks at them."""
    copies = server is not None and server.in_recovery and any(slot.synced for slot in server.slots)
    return copies or (may_lead and bool(logical(settings)))


def awaited(server: ServerFacts | None, synchronous: str) -> tuple[str, ...]:
    """The slots of those standbys that commits wait for: what subscribers have seen must not be lost with the primary.

    PostgreSQL takes no name of a slot that is not there.
    """
    names = parse(synchronous)
    members = {slot_name(name) for name in names.members} if names is not None else set[str]()
    if server is not None:
        members &= {slot.name for slot in server.slots if slot.kind == "physical"}
    return tuple(sorted(members))


def lacking(server: ServerFacts, settings: Settings) -> dict[str, str]:
    """Permanent logical slots that a standby could not serve if it were promoted now, and why."""
    there = {slot.name: slot for slot in server.slots}
    found = {}
    for slot in logical(settings):
        copy = there.get(slot.name)
        if copy is None or copy.kind != "logical":
            found[slot.name] = "it is not there"
        elif copy.wal_status == "lost":
            found[slot.name] = "it is invalidated"
        elif not copy.synced or copy.temporary:
            own = server.version < SYNCHRONIZES
            found[slot.name] = "its copy is not proven yet" if own else "PostgreSQL has not synchronized it yet"
    return found


def in_words(lacks: Mapping[str, str]) -> str:
    """Logical slots that a node lacks, for logs and refusals."""
    return ", ".join(f"logical slot {name}: {why}" for name, why in sorted(lacks.items()))


def _matches(slot: SlotFacts, rule: Document) -> bool:
    facts = {"name": slot.name, "type": slot.kind, "plugin": slot.plugin, "database": slot.database}
    return bool(rule) and all(facts.get(key) == value for key, value in rule.items())


def difference(
    server: ServerFacts, keep: frozenset[str], retained: frozenset[str], settings: Settings, status: Status | None
) -> SyncSlots | None:
    """What to create, drop, advance and amend; None when all is as it should be.

    ``keep``: the physical slots that should be there; ``retained``: those that may.
    """
    there = {slot.name: slot for slot in server.slots}
    anew = tuple(name for name in sorted(keep & there.keys()) if _useless(there[name], server))
    absent = tuple(name for name in sorted(keep) if name not in there)
    create = tuple(SlotFacts(name, "physical", active=False) for name in sorted({*absent, *anew}))
    drop = tuple(slot.name for slot in server.slots if _droppable(slot, server, keep | retained, settings)) + anew
    advance, protect = dict[str, Lsn](), tuple[str, ...]()
    if server.in_recovery:
        advance = _behind(server, keep, settings, status)
    else:
        create += tuple(slot for slot in logical(settings) if slot.name not in there)
        protect = tuple(slot.name for slot in logical(settings) if _unprotected(server, there.get(slot.name)))
    if not (create or drop or advance or protect):
        return None
    return SyncSlots(create, drop, advance, protect)


def _useless(slot: SlotFacts, server: ServerFacts) -> bool:
    """A physical slot that has lost its WAL; or on a former primary one that would hold back vacuum for ever."""
    return not slot.active and (slot.wal_status == "lost" or (server.in_recovery and slot.xmin))


def _behind(server: ServerFacts, keep: frozenset[str], settings: Settings, status: Status | None) -> dict[str, Lsn]:
    """A standby's slots that are to be advanced to where the primary's are, as far as its replay has come."""
    ours = set(keep)
    if server.version < SYNCHRONIZES:
        ours |= {slot.name for slot in logical(settings)}
    reached, found = server.replayed_lsn or Lsn(0), dict[str, Lsn]()
    for slot in server.slots:
        goal = status.slots.get(slot.name) if status is not None and slot.name in ours else None
        present = slot.confirmed_flush_lsn if slot.kind == "logical" else slot.restart_lsn
        if goal and not slot.active and (present is None or present < goal) and goal <= reached:
            found[slot.name] = goal
    return found


def _unprotected(server: ServerFacts, slot: SlotFacts | None) -> bool:
    """A logical slot of a primary that standbys do not copy; only while nobody uses it can that be changed."""
    return slot is not None and server.version >= SYNCHRONIZES and not (slot.failover or slot.active)


def _droppable(slot: SlotFacts, server: ServerFacts, keep: frozenset[str], settings: Settings) -> bool:
    """A slot that is nobody's; on a standby of PostgreSQL 17+ that is any logical one but PostgreSQL's own copies."""
    if slot.active or slot.temporary or slot.name in keep or any(_matches(slot, one) for one in settings.ignore_slots):
        return False
    if slot.kind == "physical":
        return True
    if server.in_recovery and server.version >= SYNCHRONIZES:
        return not slot.synced
    return slot.name not in {one.name for one in logical(settings)}


def positions(server: ServerFacts, me: str, names: Collection[str]) -> dict[str, Lsn]:
    """What the leader publishes: the position of each slot of these names, and its own name with its own LSN."""
    found = {
        slot.name: Lsn(position)
        for slot in server.slots
        if slot.name in names
        and (position := slot.confirmed_flush_lsn if slot.kind == "logical" else slot.restart_lsn) is not None
    }
    found[slot_name(me)] = server.lsn
    return found
