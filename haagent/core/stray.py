"""Timelines that other hands made: whoever left recovery without a term leads no election until its history is cleared.

Its timeline is later than everybody's, and would rank it above those that hold what was acknowledged meanwhile.
"""

from __future__ import annotations

from collections.abc import Mapping

from haagent.core import remote, synchrony
from haagent.core.actions import Action, Clone, Initialize, MoveAside, Promote, RememberStanding, Rewind, StartPrimary
from haagent.core.facts import DataKind, Standing, View
from haagent.core.states import State
from haagent.core.terms import Timeline

LEFT_RECOVERY = ("in production", "shut down", "shutting down")
"""What the control file says of a server that is no standby any more."""
WIRE_FIELD = "haagent_stray"
"""Of the member key: the timeline in question."""
CLEARED_BY = (Promote, StartPrimary, Clone, Initialize, MoveAside)


def noted(v: View) -> str | None:
    """That this node's timeline was made without a term, in words; None while nothing is known of that."""
    timeline = v.memory.standing.stray
    if timeline is None or remote.proven(v) or synchrony.led_last(v) or _like_all_others(v):
        return None
    return (
        f"its PostgreSQL was promoted without the leader key, to timeline {timeline}, and may lack commits that others "
        f"hold; it leads again once it has followed a leader"
    )


def objection(v: View) -> str | None:
    """Why this node may not be elected, unless an operator orders a failover to it; None when nothing is known."""
    found = noted(v)
    if found is None or synchrony.forced(v):
        return None
    return f"{found}; to lead with it all the same: haagent-ctl failover {v.me.scope} --candidate {v.me.name}"


def standing(v: View, *, streams: bool) -> Standing:
    """What is to be remembered after this look; ``streams``: it streams from where it should."""
    known = v.memory.standing
    if v.lease.term is not None and v.state is not State.STANDBY_LEADER:
        return Standing() if v.postgres.writable else known
    timeline = _left_recovery(v)
    if v.settings.pause and timeline is not None:
        return known
    if timeline is not None:
        surely = v.postgres.writable and v.state in (State.STANDBY, State.STARTING, State.STANDBY_LEADER)
        return Standing(False, timeline) if known.stood or surely else known
    stands = v.state in (State.STANDBY, State.STANDBY_LEADER)
    if not stands or not (v.postgres.server and v.postgres.server.in_recovery):
        return known
    cleared = streams and _with_leader(v)
    return Standing(True, None if cleared else known.stray)


def remembered(v: View, actions: tuple[Action, ...], stored: Standing) -> tuple[Standing, tuple[Action, ...]]:
    """What is remembered with this plan; its disk is told first when that is something new."""
    found = Standing() if any(_clears(v, action) for action in actions) else v.memory.standing
    return found, (RememberStanding(found), *actions) if found != stored else actions


def kept(found: object) -> Standing:
    """What the local store keeps of it."""
    stored = found if isinstance(found, Mapping) else {}
    timeline = stored.get("stray")
    return Standing(stored.get("stood") is True, Timeline(timeline) if isinstance(timeline, int) else None)


def _clears(v: View, action: Action) -> bool:
    """A term, or another copy; in a standby cluster, which may have no leader to follow, a rewind to the remote too."""
    to_remote = isinstance(action, Rewind) and action.source == remote.source(v)
    return to_remote or isinstance(action, CLEARED_BY)


def _like_all_others(v: View) -> bool:
    """Nobody is left whom other hands have not promoted, nor may anybody who is away hold acknowledged commits."""
    if v.snapshot is None:
        return False
    found = synchrony.key(v)
    counted_on = set() if found is None else {found.leader, *found.standbys}
    strays = {member.name for member in v.snapshot.members if WIRE_FIELD in member.extra}
    return {member.name for member in v.snapshot.members} | counted_on <= strays


def _left_recovery(v: View) -> Timeline | None:
    """The timeline of a PostgreSQL that is writable, or was when it ended; None when it is a standby, or unknown."""
    data, server = v.postgres.data, v.postgres.server
    if v.postgres.writable and server is not None:
        return server.timeline
    ended = not v.postgres.running and data.kind is DataKind.VALID and data.cluster_state in LEFT_RECOVERY
    return (data.timeline or Timeline(0)) if ended else None


def _with_leader(v: View) -> bool:
    """It is on the very timeline that the leader says it is on."""
    member = v.snapshot.member(v.leader.name) if v.snapshot and v.leader else None
    server = v.postgres.server
    return member is not None and server is not None and member.timeline == server.timeline
