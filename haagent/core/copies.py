"""When a standby of PostgreSQL 16 or older copies the primary's logical slots, and when it restarts to take them up.

Standbys are restarted one after the other, so that somebody can take over all the while.
"""

from __future__ import annotations

from haagent.core import conditions as c
from haagent.core import slots
from haagent.core.actions import Action, CopySlots
from haagent.core.facts import View
from haagent.core.states import State

PATIENCE_S = 60.0
"""After so long a standby that does not run is no longer waited for."""
TURN_LOOPS = 4
"""Each standby's turn comes so many rounds of the loop after that of the one before it."""


def orders(v: View) -> tuple[Action, ...]:
    """Copy what is missing and the primary has; prove what is not proven yet."""
    server, source = v.postgres.server, c.upstream(v)
    copies = server is not None and server.in_recovery and server.version < slots.SYNCHRONIZES
    if not copies or server is None or source is None or not c.streaming(v) or not v.me.tags.may_lead:
        return ()
    if v.snapshot is None or v.leader is None or source.name != v.leader.name or v.settings.pause or c.busy(v):
        return ()
    there = {slot.name: slot for slot in server.slots}
    known = v.snapshot.status.slots if v.snapshot.status else {}
    listed = [slot.name for slot in slots.logical(v.settings)]
    fetch = tuple(name for name in listed if name not in there and name in known)
    prove = tuple(name for name in listed if name in there and not there[name].synced)
    waits = v.postgres.slots_staged_at is not None
    if waits or not (fetch or prove):
        return ()
    return (CopySlots(source, slots.slot_name(v.me.name), fetch, prove),)


def wait_for_start(v: View) -> bool:
    """Copies wait for PostgreSQL to be started, all is well, and it is this standby's turn."""
    since = v.postgres.slots_staged_at
    if since is None or v.snapshot is None or v.settings.pause or v.state is not State.STANDBY or not c.streaming(v):
        return False
    leader = v.leader.name if v.leader else None
    standbys = sorted(m.name for m in v.snapshot.members if m.name != leader)
    turn = standbys.index(v.me.name) if v.me.name in standbys else len(standbys)
    others_run = all(m.running for m in v.snapshot.members if m.name != v.me.name)
    waited = v.now - since
    return waited >= turn * TURN_LOOPS * v.settings.loop_wait and (others_run or waited >= PATIENCE_S)
