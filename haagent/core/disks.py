"""What the file systems under PostgreSQL allow: whether it may lead, be started, or be counted on.

A primary whose disk refuses or swallows writes answers reads and looks well: only the small write that the adapter
tries every few seconds tells.
"""

from __future__ import annotations

from haagent.core.facts import DataKind, Member, View

SURE_S = 1.0
"""How long writes must have been refused before anything is done about it."""
WIRE_FIELD = "haagent_disk"
"""The field of a member key that tells others why this node is not to be counted on."""


def refusing(v: View) -> bool:
    """The file system of data or WAL has refused writes for a while: read-only, or failing."""
    since = v.postgres.disk.refusing_since
    return since is not None and v.now - since >= SURE_S


def hanging(v: View) -> bool:
    """A small write has not come back for a whole ttl: neither does any commit."""
    since = v.postgres.disk.waiting_since
    return since is not None and v.now - since >= v.settings.ttl


def unwritable_disk(v: View) -> bool:
    """Nothing can be written, so nothing can be committed."""
    return refusing(v) or hanging(v)


def no_room(v: View) -> bool:
    """PostgreSQL would find no room for its WAL or its data."""
    return bool(v.postgres.disk.full)


def disk_unfit(v: View) -> bool:
    """PostgreSQL can't run well on what lies under it."""
    return trouble(v) is not None


def data_gone(v: View) -> bool:
    """The data directory has vanished from under a running PostgreSQL: removed, emptied or unmounted."""
    gone = (DataKind.ABSENT, DataKind.EMPTY, DataKind.UNMOUNTED)
    return v.postgres.running and v.postgres.data.kind in gone


def others_run(v: View) -> bool:
    """Somebody else is there to take over."""
    return v.snapshot is not None and any(
        m.name != v.me.name and m.running and unfit(m) is None for m in v.snapshot.members
    )


def trouble(v: View) -> str | None:
    """What is wrong with the disk, with numbers and what mends it; None when nothing is."""
    disk = v.postgres.disk
    if refusing(v):
        return f"{disk.why}; see dmesg and the mount options, then mount it writable again"
    if hanging(v):
        return f"a small write to its disk has not come back for more than {v.settings.ttl:g} s; see dmesg"
    if disk.full:
        return f"{disk.full}: free some, or enlarge the file system"
    return None


def wire(v: View) -> str | None:
    """The same in one word, for the member key: numbers would have it written anew all the time."""
    if refusing(v):
        return "refuses writes"
    return "hangs" if hanging(v) else "full" if v.postgres.disk.full else None


def unfit(member: Member) -> str | None:
    """Why a member is not to be counted on, by its own key."""
    told = member.extra.get(WIRE_FIELD)
    return str(told) if told else None
