"""What this node has seen of the cluster's keys: when the leader key last moved, and which changes concern the loop.

Laws: the instant of a heartbeat is when it was first *seen* here, never earlier; what is older than something already
seen changes nothing but that. A key that a reading finds gone may have moved, unseen, until this very moment: only the
watch, which leaves nothing out, can tell that it had not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from haagent.core.facts import Heartbeat, LeaderKey, Member
from haagent.core.terms import Instant, LeaseId
from haagent.dcs import keys
from haagent.dcs.kv import KeyEvent, KeyValue, RangeReply
from haagent.ports import Clock

_LOUD = frozenset({keys.INITIALIZE, keys.CONFIG, keys.SYNC, keys.FAILOVER})
"""Keys whose every change the loop acts upon."""


class Sightings:
    """Fed by snapshots and by the watch; ``ask_ttl`` is called when a lease shows up whose grant is not known."""

    def __init__(self, prefix: str, clock: Clock, ask_ttl: Callable[[LeaseId], None]) -> None:
        self._prefix = prefix
        self._clock = clock
        self._ask_ttl = ask_ttl
        self._leader: LeaderKey | None = None
        self._last: LeaderKey | None = None
        self._seen_at = Instant(0.0)
        self._missed_at: Instant | None = None
        """When a reading found the leader key gone, until the watch has told the same."""
        self._as_of = 0
        self._granted: tuple[LeaseId, float] | None = None
        self._members: dict[str, tuple[Any, ...]] = {}

    def heartbeat(self) -> Heartbeat | None:
        """The leader key's last change, also when the key has gone since; None when none was ever seen."""
        last = self._last
        if last is None:
            return None
        seen_at = self._seen_at if self._missed_at is None else max(self._seen_at, self._missed_at)
        return Heartbeat(last.term, last.revision, seen_at, self._ttl_of(last.lease_id), last.name)

    def granted(self, lease: LeaseId, ttl: float) -> None:
        """etcd said what it granted to a lease, in seconds."""
        self._granted = (lease, ttl)

    def forget(self) -> None:
        """The store is not the one that was seen before."""
        self._leader, self._as_of = None, 0
        self._members.clear()

    def read(self, reply: RangeReply) -> None:
        """All keys were read."""
        found = {kv.key.removeprefix(self._prefix): kv for kv in reply.kvs}
        if keys.LEADER not in found and self._leader is not None and reply.revision >= self._as_of:
            self._missed_at = self._clock.now()
        self._saw_leader(found.get(keys.LEADER), reply.revision)
        for key, kv in found.items():
            name = keys.member_name(key)
            if name is not None:
                self._members[name] = _of_interest(keys.member(name, kv.value))

    def changed(self, event: KeyEvent) -> str | None:
        """A key changed: why the loop should wake, or None."""
        key = event.kv.key.removeprefix(self._prefix)
        if key == keys.LEADER:
            return self._leader_changed(event)
        name = keys.member_name(key)
        if name is not None:
            return self._member_changed(name, event)
        return f"the {key} key changed" if key in _LOUD else None

    def _leader_changed(self, event: KeyEvent) -> str | None:
        if event.deleted:
            if self._last is not None and event.kv.mod_revision > self._last.revision:
                self._missed_at = None
            self._saw_leader(None, event.kv.mod_revision)
            return "the leader key is gone"
        before = self._leader
        self._saw_leader(event.kv, event.kv.mod_revision)
        now = keys.leader_key(event.kv)
        created = event.kv.create_revision == event.kv.mod_revision
        if created or before is None or before.name != now.name:
            return f"the leader key names {now.name}"
        return None

    def _member_changed(self, name: str, event: KeyEvent) -> str | None:
        if event.deleted:
            self._members.pop(name, None)
            return f"the member key of {name} is gone"
        now = _of_interest(keys.member(name, event.kv.value))
        before = self._members.get(name)
        self._members[name] = now
        return None if now == before else f"member {name} changed"

    def _saw_leader(self, kv: KeyValue | None, as_of: int) -> None:
        if as_of < self._as_of:
            self._missed(kv)
            return
        self._as_of = as_of
        if kv is None:
            self._leader = None
            return
        self._missed_at = None
        leader = keys.leader_key(kv)
        if leader != self._leader:
            self._leader = self._last = leader
            self._seen_at = self._clock.now()
        if leader.lease_id and self._ttl_of(leader.lease_id) is None:
            self._ask_ttl(leader.lease_id)

    def _missed(self, kv: KeyValue | None) -> None:
        """The watch tells of a change of the leader key after a reading that was already past it."""
        leader = None if kv is None else keys.leader_key(kv)
        if leader is not None and self._last is not None and leader.revision > self._last.revision:
            self._last, self._seen_at = leader, self._clock.now()

    def _ttl_of(self, lease: LeaseId) -> float | None:
        return self._granted[1] if self._granted is not None and self._granted[0] == lease else None


def _of_interest(member: Member) -> tuple[Any, ...]:
    """What of another member the loop acts upon at once; its progress in WAL is not."""
    return (member.state, member.role, dict(member.tags), member.conn_url, member.api_url, member.timeline)
