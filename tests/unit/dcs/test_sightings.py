"""When the leader key last moved, as seen here, and which changes concern the loop."""

from __future__ import annotations

import pytest

from haagent.core.facts import Heartbeat, Member
from haagent.core.terms import Instant, LeaseId, Lsn, Revision, Term
from haagent.dcs import keys
from haagent.dcs.kv import KeyEvent, KeyValue, RangeReply
from haagent.dcs.sightings import Sightings
from tests.unit.dcs.a_clock import AClock

PREFIX = "/service/demo/"
LEASE = LeaseId(0x77)


def put(name: str, value: bytes = b"a", *, mod: int, create: int = 1, lease: int = LEASE) -> KeyEvent:
    return KeyEvent(KeyValue(PREFIX + name, value, create, mod, lease))


def gone(name: str, mod: int) -> KeyEvent:
    return KeyEvent(KeyValue(PREFIX + name, b"", 0, mod), deleted=True)


class Seen:
    """Sightings, the clock they go by, and the leases they asked about."""

    def __init__(self) -> None:
        self.clock = AClock()
        self.asked: list[LeaseId] = []
        self.sightings = Sightings(PREFIX, self.clock, self.asked.append)

    def read(self, revision: int, *events: KeyEvent) -> None:
        self.sightings.read(RangeReply(revision, 2, tuple(event.kv for event in events)))

    def changed(self, event: KeyEvent) -> str | None:
        return self.sightings.changed(event)

    def beat(self) -> tuple[int, int, float] | None:
        beat = self.sightings.heartbeat()
        return None if beat is None else (beat.term, beat.revision, beat.seen_at)


def test_a_heartbeat_is_as_old_as_its_first_sight() -> None:
    seen = Seen()
    seen.changed(put("leader", mod=5, create=5))
    seen.clock.at = 101
    seen.changed(put("leader", mod=6, create=5))
    seen.clock.at = 107
    seen.read(9, put("leader", mod=6, create=5))
    assert seen.beat() == (5, 6, 101)
    seen.clock.at = 108
    seen.read(10, put("leader", mod=10, create=5))
    assert seen.beat() == (5, 10, 108)


def test_late_news_changes_nothing() -> None:
    seen = Seen()
    seen.read(10, put("leader", mod=10, create=5))
    seen.changed(put("leader", mod=6, create=5))
    seen.changed(gone("leader", 4))
    assert seen.beat() == (5, 10, 100)


def test_the_last_beat_of_a_key_that_is_gone_is_remembered() -> None:
    seen = Seen()
    assert seen.sightings.heartbeat() is None
    seen.read(10, put("leader", mod=10, create=5))
    seen.clock.at = 120
    assert seen.changed(gone("leader", 11)) == "the leader key is gone"
    assert seen.sightings.heartbeat() == Heartbeat(Term(5), Revision(10), Instant(100), None, "a")


def test_a_key_that_is_read_as_gone_may_have_moved_till_then_unless_the_watch_says_otherwise() -> None:
    """A node that was cut off from etcd comes back just when the key has vanished: its last sight proves nothing."""
    seen = Seen()
    seen.read(10, put("leader", mod=10, create=5))
    seen.clock.at = 140
    seen.read(15)
    assert seen.beat() == (5, 10, 140)
    seen.clock.at = 141
    seen.read(16)
    assert seen.beat() == (5, 10, 140), "gone it was already"
    assert seen.changed(gone("leader", 12)) == "the leader key is gone"
    assert seen.beat() == (5, 10, 100), "the watch leaves nothing out: it had not moved"


def test_a_move_that_was_missed_counts_from_when_the_watch_tells_of_it() -> None:
    seen = Seen()
    seen.read(10, put("leader", mod=10, create=5))
    seen.clock.at = 140
    seen.read(15)
    seen.clock.at = 142
    seen.changed(put("leader", mod=13, create=5))
    assert seen.changed(gone("leader", 14)) == "the leader key is gone"
    assert seen.beat() == (5, 13, 142)
    seen.clock.at = 150
    seen.read(20, put("leader", b"b", mod=20, create=20))
    assert seen.beat() == (20, 20, 150)


def test_what_etcd_granted_is_asked_once_it_matters() -> None:
    seen = Seen()
    seen.read(10, put("leader", mod=10, create=5))
    assert seen.asked == [LEASE]
    seen.sightings.granted(LEASE, 10.0)
    seen.changed(put("leader", mod=11, create=5))
    assert seen.asked == [LEASE]
    beat = seen.sightings.heartbeat()
    assert beat is not None
    assert beat.granted_ttl == 10.0
    seen.changed(put("leader", mod=12, create=12, lease=0x78))
    beat = seen.sightings.heartbeat()
    assert beat is not None
    assert (beat.granted_ttl, seen.asked) == (None, [LEASE, 0x78])


def test_a_key_that_comes_back_the_same_is_seen_anew() -> None:
    """After etcd was set back nothing of before counts."""
    seen = Seen()
    seen.read(10, put("leader", mod=10, create=5))
    seen.sightings.forget()
    seen.clock.at = 130
    seen.read(3, put("leader", mod=3, create=3))
    assert seen.beat() == (3, 3, 130)


def test_renewals_wake_nobody_and_new_leaders_do() -> None:
    seen = Seen()
    assert seen.changed(put("leader", mod=5, create=5)) == "the leader key names a"
    assert seen.changed(put("leader", mod=6, create=5)) is None
    assert seen.changed(gone("leader", 7)) == "the leader key is gone"
    assert seen.changed(put("leader", mod=8, create=8)) == "the leader key names a"
    assert seen.changed(put("leader", b"b", mod=9, create=8)) == "the leader key names b"


@pytest.mark.parametrize("name", ["config", "failover", "sync", "initialize"])
def test_keys_the_loop_acts_upon_wake(name: str) -> None:
    assert Seen().changed(put(name, mod=5)) == f"the {name} key changed"
    assert Seen().changed(gone(name, 5)) == f"the {name} key changed"


@pytest.mark.parametrize("name", ["status", "history", "failsafe", "haagent_released", "whatever"])
def test_others_do_not(name: str) -> None:
    assert Seen().changed(put(name, mod=5)) is None


def test_members_wake_when_they_become_something_else() -> None:
    seen = Seen()

    def member(mod: int, **fields: object) -> str | None:
        return seen.changed(put("members/b", keys.member_value(Member("b", **fields)), mod=mod))  # type: ignore[arg-type]

    running = {"state": "running", "role": "replica"}
    assert member(5, **running) == "member b changed"
    assert member(6, **running, lsn=Lsn(9)) is None
    assert member(7, **running, tags={"nofailover": True}) == "member b changed"
    assert member(8, state="running", role="primary") == "member b changed"
    assert seen.changed(gone("members/b", 9)) == "the member key of b is gone"


def test_a_member_that_a_snapshot_showed_is_no_news() -> None:
    seen = Seen()
    value = keys.member_value(Member("b", state="running"))
    seen.read(10, put("members/b", value, mod=9))
    assert seen.changed(put("members/b", value, mod=11)) is None
