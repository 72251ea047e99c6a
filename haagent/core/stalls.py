"""A standby that neither streams nor gets any further: how long already, when to ask why, and what follows.

Its own PostgreSQL shows the reason only in its log; the leader, asked with the same credentials, tells it: it lets
nobody in, or the WAL is gone there. In the last case nothing but a new copy helps, and this one holds nothing that the
leader lacks.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from haagent.core import conditions as c
from haagent.core import remote
from haagent.core.facts import Stalled, View
from haagent.core.states import State

STALLED_S = 8.0
ASK_AGAIN_S = 30.0


def remembered(v: View) -> dict[str, Any]:
    """What must be known in the next tick."""
    server = v.postgres.server
    led = v.state is State.STANDBY and c.led_by_other(v) and c.leader_member_facts(v) is not None
    led |= v.state is State.STANDBY_LEADER and remote.source(v) is not None
    known, streams = v.memory.stalled, c.streaming(v)
    if not led or server is None or not server.in_recovery or server.replay_paused:
        return {"stalled": None}
    if streams and (known is None or known.blinked or known.lsn != server.lsn):
        return {"stalled": None}
    here = known if known is not None and known.lsn == server.lsn else Stalled(server.lsn, v.now)
    return {"stalled": replace(here, blinked=streams)}


def stalled(v: View) -> bool:
    """It has been so for a while, and its own disk has no more WAL to replay."""
    known, server = v.memory.stalled, v.postgres.server
    if known is None or known.blinked or server is None:
        return False
    return server.replayed_all and v.now - known.since >= STALLED_S


def question_due(v: View) -> bool:
    """The leader was not asked why yet, or long ago."""
    known = v.memory.stalled
    return stalled(v) and known is not None and (known.asked_at is None or v.now - known.asked_at >= ASK_AGAIN_S)


def wal_gone(v: View) -> bool:
    """The leader no longer has the WAL that this standby needs next, and no archive gave it."""
    known = v.memory.divergence
    return (
        stalled(v)
        and known is not None
        and v.memory.stalled is not None
        and known.own_lsn == v.memory.stalled.lsn
        and v.leader is not None
        and known.leader == v.leader.name
        and known.wal_gone != ""
    )


def copy_stopped(v: View) -> bool:
    """The WAL that this copy needed next was found to be gone."""
    known = v.memory.divergence
    return known is not None and known.wal_gone != ""


def short(v: View) -> bool:
    """The primary has more connections or their like than this standby, whose replay has therefore stopped."""
    server = v.postgres.server
    return server is not None and server.in_recovery and server.replay_paused and bool(server.short_of)


def why(v: View) -> str:
    """Why this standby does not get any further; empty when it does, or when that is not known to be so."""
    known = v.memory.stalled
    if known is None or not stalled(v):
        return ""
    gone = v.memory.divergence.wal_gone if v.memory.divergence and wal_gone(v) else ""
    return gone or known.why or f"it does not stream and stays at {known.lsn}; PostgreSQL's log may say why"
