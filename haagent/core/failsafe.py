"""Failsafe mode: a primary goes on without etcd while every other member promises not to take the leader key.

Laws: all who may lead must consent, anew for each extension; the extension counts from when they were asked, by the
arithmetic of a renewal; a promise lasts a ttl and its drift on the clock of whoever gives it, from seeing the request.
While the ``failsafe`` key stands in etcd, nobody may lead whom it does not name; it names somebody new only while the
present permit rests on etcd, so that those who were asked are always all who may lead.

Source: Patroni's documentation, "DCS Failsafe Mode".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from haagent.core import slots
from haagent.core.actions import Action, PutFailsafe, RememberFailsafe
from haagent.core.facts import Document, KnownMembers, Mandate, Promise, ServerFacts, Snapshot, View
from haagent.core.lease import DRIFT
from haagent.core.terms import Instant, Lsn, Revision, Term, later

LONGEST_TTL_S = 3600.0
"""Nobody is promised more."""


# --- who may lead, and who must be asked ---


def members(snapshot: Snapshot) -> dict[str, str]:
    """What the ``failsafe`` key should say: every member that can be asked."""
    return {member.name: member.api_url for member in snapshot.members if member.api_url}


def known(v: View) -> KnownMembers | None:
    """All who may stand in the ``failsafe`` key: as last read, and as this node wrote since without seeing it yet."""
    snapshot, kept = v.cluster.snapshot, v.memory.failsafe_known
    if snapshot is None:
        return kept
    if not snapshot.failsafe:
        return None
    tried = kept.members if kept is not None and kept.revision == snapshot.failsafe_revision else {}
    return KnownMembers(snapshot.failsafe_revision, {**tried, **snapshot.failsafe})


def kept(found: object) -> KnownMembers | None:
    """What the local store keeps of it; None when it is nothing that can be read."""
    stored = found if isinstance(found, Mapping) else {}
    revision, names = stored.get("revision"), stored.get("members")
    if not isinstance(revision, int) or not isinstance(names, Mapping):
        return None
    return KnownMembers(Revision(revision), {str(name): str(url) for name, url in names.items()})


def maintained(v: View) -> tuple[Action, ...]:
    """The ``failsafe`` key as this leader wants it, unless its present permit rests on those it names now."""
    snapshot, term = v.snapshot, v.lease.term
    if snapshot is None or term is None or v.lease.vouched_until is not None:
        return ()
    if not v.settings.failsafe_mode:
        drop = PutFailsafe(term, None, snapshot.failsafe_revision)
        return (drop,) if snapshot.failsafe_revision else ()
    # Its own entry may have run out a moment ago: a key that left this node out would forbid it to lead once more.
    wanted = members(snapshot) | {v.me.name: v.me.api_url}
    if snapshot.failsafe == wanted:
        return ()
    put = PutFailsafe(term, wanted, snapshot.failsafe_revision)
    before = known(v)
    both = KnownMembers(snapshot.failsafe_revision, {**(before.members if before else {}), **wanted})
    return (RememberFailsafe(both), put)


def remembered(v: View, actions: tuple[Action, ...]) -> tuple[KnownMembers | None, tuple[Action, ...]]:
    """Who may stand in the key after this plan, and what of it the disk is still to be told."""
    told = [action.known for action in actions if isinstance(action, RememberFailsafe)]
    if told:
        return told[-1], actions
    now = known(v)
    unkept = any(one.action == "RememberFailsafe" and not one.ok for one in v.outcomes)
    if now == v.memory.failsafe_known and not unkept:
        return now, actions
    return now, (RememberFailsafe(now), *actions)


def mandate(v: View) -> Mandate | None:
    """Whose consent may stand in for a renewal of this node's lease; None: nobody's, it needs etcd."""
    names = known(v)
    follows = v.settings.standby_cluster is not None
    if not v.settings.failsafe_mode or v.lease.term is None or names is None or v.settings.pause or follows:
        return None
    server = v.postgres.server
    body = {
        "name": v.me.name,
        "conn_url": v.me.conn_url,
        "api_url": v.me.api_url,
        "slots": {} if server is None else _positions(server, v.me.name),
        "haagent": {"scope": v.me.scope, "term": int(v.lease.term), "ttl": v.timing.ttl},
    }
    return Mandate({name: url for name, url in names.members.items() if name != v.me.name}, body)


def _positions(server: ServerFacts, me: str) -> dict[str, int]:
    every = {slot.name for slot in server.slots}
    return {name: int(at) for name, at in slots.positions(server, me, every).items()}


def addressed(body: Document, name: str) -> dict[str, Any]:
    """The request as it goes to one member: whoever else may have its address now must not answer for it."""
    return {**body, "haagent": {**body.get("haagent", {}), "to": name}}


def still_covers(asked: Mandate, now: Mandate | None) -> bool:
    """Whether those who were asked are all who must consent now."""
    return now is not None and now.members.items() <= asked.members.items()


def left_out(v: View) -> str | None:
    """Why the ``failsafe`` key forbids this node to lead; None when it does not."""
    snapshot = v.snapshot
    if snapshot is None or not snapshot.failsafe or v.me.name in snapshot.failsafe:
        return None
    names = ", ".join(sorted(snapshot.failsafe))
    return (
        f"the key failsafe names {names}, not {v.me.name}: a leader among them may go on without etcd and without "
        f"asking this node; the next leader adds it"
    )


# --- promises ---


@dataclass(frozen=True, slots=True)
class Judged:
    """The answer to POST /failsafe; ``promise`` is what this node gives, and must keep, when it accepts."""

    status: int
    text: str
    promise: Promise | None = None
    lsn: Lsn = Lsn(0)


def length(*ttls: float) -> float:
    """How long a promise lasts, in seconds: the longest of these ttl, also on a clock that runs too fast."""
    return max(ttls) * (1 + DRIFT)


def judge(v: View, body: Document, *, campaigning: bool) -> Judged:
    """What this node answers to a primary that asks to go on without etcd; ``campaigning``: right at this moment."""
    try:
        asked = _read(body)
    except ValueError as why:
        return Judged(400, str(why))
    if not v.settings.failsafe_mode:
        return Judged(502, "failsafe_mode is off")
    if v.lease.term is not None or (v.postgres.running and v.postgres.writable):
        return Judged(500, "Running as a leader")
    if campaigning:
        return Judged(503, "this node is trying for the leader key at this moment")
    objection = _misdirected(v, asked, body.get("haagent") or {}) or _newer(v, asked)
    if objection is not None:
        return Judged(503, objection)
    lasts = length(v.settings.ttl, asked.length_s)
    until = later(v.now, lasts)
    before = v.failsafe.promise
    promise = replace(asked, length_s=lasts, until=until if before is None else max(until, before.until))
    return Judged(200, "Accepted", promise, v.postgres.server.lsn if v.postgres.server else Lsn(0))


def _misdirected(v: View, asked: Promise, own: Document) -> str | None:
    """Why the request is not for this node."""
    if asked.name == v.me.name:
        return f"{asked.name} is the name of this very node"
    if own.get("to", v.me.name) != v.me.name or own.get("scope", v.me.scope) != v.me.scope:
        return f"this is {v.me.name} of cluster {v.me.scope}, not {own.get('to')} of {own.get('scope')}"
    return None


def _newer(v: View, asked: Promise) -> str | None:
    """Why whoever asks is not the leader any more, as far as this node knows."""
    if v.leader is not None and v.leader.name != asked.name:
        return f"{v.leader.name} holds the leader key by term {v.leader.term}"
    beat, before = v.cluster.heartbeat, v.failsafe.promise
    # What an earlier agent led is older than any leader key seen since; if etcd was made anew its number says nothing.
    own = v.memory.led_before if beat is None else None
    terms = (beat.term if beat else None, before.term if before else None, own)
    latest = max((int(term) for term in terms if term is not None), default=0)
    if asked.term is not None and int(asked.term) < latest:
        return f"term {asked.term} is over: this node knows of term {latest}"
    return None


def _read(body: Document) -> Promise:
    """The request as the promise it asks for; ValueError says what is wrong with it."""
    texts = {name: body.get(name) for name in ("name", "conn_url", "api_url")}
    for name, value in texts.items():
        if not isinstance(value, str) or not value:
            raise ValueError(f"{name} is {value!r}; a text is expected")
    positions = body.get("slots") or {}
    if not isinstance(positions, Mapping) or not all(_is_count(at) for at in positions.values()):
        raise ValueError("slots must be an object of slot names and positions in bytes")
    own: Any = body.get("haagent") or {}
    term, ttl = (own.get("term"), own.get("ttl", 0)) if isinstance(own, Mapping) else (None, None)
    if not (term is None or _is_count(term)) or not isinstance(ttl, int | float) or not 0 <= ttl <= LONGEST_TTL_S:
        raise ValueError("haagent must be an object with a term and a ttl in seconds")
    return Promise(
        until=Instant(0.0),
        length_s=float(ttl),
        name=str(texts["name"]),
        conn_url=str(texts["conn_url"]),
        term=None if term is None else Term(term),
        slots={str(name): Lsn(at) for name, at in positions.items()},
    )


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def inherited(kept_s: object, settings_ttl: float, failsafe_mode: bool, now: Instant) -> Promise | None:
    """What an agent that starts is bound to: what its predecessor promised, for its full length once more.

    A machine that has just started may have lost what was kept: it waits until it has been up for a ttl.
    """
    length_s = float(kept_s) if isinstance(kept_s, int | float) and 0 < kept_s <= 2 * LONGEST_TTL_S else 0.0
    if not length_s and not failsafe_mode:
        return None
    until = max(later(now, length_s), Instant(length(settings_ttl)) if failsafe_mode else now)
    return Promise(until, length_s) if until > now else None


def promised(v: View) -> Promise | None:
    """The promise that binds this node now."""
    promise = v.failsafe.promise
    return promise if promise is not None and v.now < promise.until else None


def active(v: View) -> bool:
    """Whether failsafe mode is at work: this primary goes on by promises, or this node promised a primary to wait."""
    promise = promised(v)
    bound = promise is not None and bool(promise.name)
    return bound or (v.lease.vouched_until is not None and v.now < v.lease.vouched_until)
