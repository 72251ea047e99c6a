"""Members of Patroni in the same cluster: how their leader gives up, and what they would not take as a setting.

Laws. Patroni deletes the leader key without a note that it gave it up; that it can't be writing any more is believed
only of an answer to a question that was asked after the key was seen to be gone. Only the term that this node saw, or
its lack, counts: a later term is another leader's.

Source: Patroni's documentation ("Dynamic Configuration Settings"), and the watched behaviour of Patroni 4.1: it says
``role: demoted`` from when it stops PostgreSQL for a change of leader until it has started it as a standby, and it
promotes only in a round of its loop in which it has read the leader key anew.
"""

from __future__ import annotations

from dataclasses import replace

from haagent.core.durations import parse_seconds
from haagent.core.facts import Document, Handover, Member, PeerReply, Snapshot, View

LEAST_S = {"ttl": 20, "loop_wait": 1, "retry_timeout": 3}
"""The least values that Patroni takes; what is below it replaces by values of its own."""


# --- a leader of Patroni hands over ---


def remembered(v: View) -> Handover | None:
    """What is known of the end of the present or the last term, if a Patroni member holds or held it."""
    snapshot, beat, known = v.snapshot, v.cluster.heartbeat, v.memory.handover
    if snapshot is None:
        return known
    if snapshot.leader is not None:
        holder = snapshot.member(snapshot.leader.name)
        if holder is None or not holder.patroni:
            return None
        return Handover(snapshot.leader.term, holder.role in ("primary", "master"))
    if known is None or beat is None or beat.term != known.term:
        return None
    return replace(known, over=known.over or _over(v, known))


def _over(v: View, known: Handover) -> bool:
    """The member that held the term says, since its key is gone, that its PostgreSQL does not write any more."""
    beat, gone_at, polled = v.cluster.heartbeat, v.memory.leaderless_since, v.peers
    reply = polled.reply(beat.name) if polled is not None and beat is not None else None
    if polled is None or gone_at is None or reply is None or polled.asked_at < gone_at:
        return False
    return reply.demoted or (known.led and _asked_to_leave(v, reply.name) and _stands_by(reply))


def _stands_by(reply: PeerReply) -> bool:
    """PostgreSQL itself answered that it is in recovery."""
    return reply.reached and reply.running and reply.in_recovery and reply.lsn > 0 and not reply.leads


def _asked_to_leave(v: View, name: str) -> bool:
    """An operator's request to lead elsewhere stands: that is why the key is gone.

    Without one a primary that is in recovery may have lost its way to the DCS for a while, and be about to be promoted
    again under the very term whose key other hands have deleted.
    """
    request = v.snapshot.failover if v.snapshot else None
    if request is None or request.empty or request.candidate == name:
        return False
    return request.due(v.wall) and request.leader in (None, name)


def handed_over(v: View) -> bool:
    """The last term seen was a Patroni member's, and it is known to be over."""
    known, beat = v.memory.handover, v.cluster.heartbeat
    return known is not None and beat is not None and known.over and known.term == beat.term


def outgoing(v: View) -> Member | None:
    """The Patroni member whose leader key has vanished and who may be asked whether it has given up; None: nobody."""
    known, beat, snapshot = v.memory.handover, v.cluster.heartbeat, v.snapshot
    if known is None or known.over or beat is None or known.term != beat.term or snapshot is None:
        return None
    member = snapshot.member(beat.name)
    asked = snapshot.leader is None and beat.name != v.me.name and member is not None and bool(member.api_url)
    return member if asked else None


# --- settings that Patroni would not take ---


def objection(snapshot: Snapshot | None, document: Document) -> str | None:
    """Why a new dynamic configuration must not be written while Patroni members are present; None when it may.

    Only what is changed is judged: what stands there already is not made worse.
    """
    members = [] if snapshot is None else [m for m in snapshot.members if m.patroni]
    present = snapshot.config.document if snapshot is not None and snapshot.config is not None else {}
    changed = {name: document[name] for name in LEAST_S if name in document and document[name] != present.get(name)}
    if not members or not changed:
        return None
    wrong = [text for name, value in changed.items() if (text := _too_small(name, value)) is not None]
    wrong = wrong or [text for text in (_out_of_proportion(document),) if text is not None]
    if not wrong:
        return None
    who = ", ".join(f"{m.name} (Patroni {m.version})" for m in members)
    return (
        f"{'; '.join(wrong)}: this would not be taken by {who}; nothing was changed. "
        f"Set it when haagent runs on all members"
    )


def _too_small(name: str, value: object) -> str | None:
    least = LEAST_S[name]
    seconds = _seconds(value)
    if seconds is None:
        return f"{name} {value!r} is not a whole number of seconds"
    return f"{name} {seconds} is below Patroni's minimum of {least}" if seconds < least else None


def _out_of_proportion(document: Document) -> str | None:
    """Patroni wants room for two retries in a ttl."""
    ttl, loop_wait, retry = (_seconds(document.get(name)) for name in ("ttl", "loop_wait", "retry_timeout"))
    if ttl is None or loop_wait is None or retry is None or loop_wait + 2 * retry <= ttl:
        return None
    return f"loop_wait {loop_wait} + 2 * retry_timeout {retry} is more than ttl {ttl}"


def _seconds(value: object) -> int | None:
    try:
        seconds = parse_seconds(value)
    except ValueError:
        return None
    return int(seconds) if seconds.is_integer() else None
