"""Slots of members: who keeps them, and how long they outlive their members."""

from __future__ import annotations

from dataclasses import replace

from haagent.core import publish
from haagent.core.actions import PublishStatus, SyncSlots
from haagent.core.decide import decide
from haagent.core.facts import PRIMARY, FailoverKey, PeerPoll, SlotFacts, Status, Tags, View
from haagent.core.intents import verdict
from haagent.core.status import lacking_slots
from haagent.core.terms import Lsn, Revision, later
from tests.builders import (
    LSN,
    NOW,
    a_cluster,
    a_member,
    a_node,
    a_primary,
    a_primary_view,
    a_reply,
    a_standby,
    a_view,
    some_settings,
)

KEPT_S = 1800.0


def dropped(view: View) -> tuple[str, ...]:
    return tuple(name for one in decide(view).actions if isinstance(one, SyncSlots) for name in one.drop)


def published(view: View) -> tuple[str, ...]:
    """The slots that are retained according to the ``status`` key as it is written now."""
    (one,) = (action for action in decide(view).actions if isinstance(action, PublishStatus))
    return one.retain


def a_leader_with_slots(*members: str, now_s: float = 0.0, retain: tuple[str, ...] = ("b", "c")) -> View:
    """A primary with inactive slots of ``b`` and ``c``, ``now_s`` after the beginning; these members have keys."""
    slots = tuple(SlotFacts(name, "physical", active=False, restart_lsn=LSN) for name in ("b", "c"))
    status = Status(Lsn(1), {}, retain)
    view = a_primary_view(
        postgres=a_primary(slots=slots),
        cluster=a_cluster(a_member("a"), *(a_member(name) for name in members), status=status),
        settings=some_settings(member_slots_ttl=KEPT_S),
    )
    now, lease = later(NOW, now_s), view.lease
    moved = replace(lease, demote_at=later(now, 5), permit_until=later(now, 8))
    return replace(view, now=now, lease=moved, guard=replace(view.guard, heard_at=now))


def after(view: View, before: View) -> View:
    return replace(view, memory=decide(before).memory)


def test_the_slot_of_a_member_that_is_away_is_kept_for_member_slots_ttl() -> None:
    """It would need a new copy if the WAL that it lacks were recycled while its node is restarted."""
    whole = a_leader_with_slots("b", "c")
    assert (dropped(whole), published(whole)) == ((), ("a", "b", "c"))
    away = after(a_leader_with_slots("b", now_s=60), whole)
    assert (dropped(away), published(away)) == ((), ("a", "b", "c"))
    long_away = after(a_leader_with_slots("b", now_s=KEPT_S + 1), away)
    assert (dropped(long_away), published(long_away)) == (("c",), ("a", "b"))
    still = after(a_leader_with_slots("b", now_s=KEPT_S + 2), long_away)
    assert dropped(still) == ("c",), "it does not begin anew because the status key still has it"


def test_a_new_leader_goes_on_with_what_the_last_one_retained() -> None:
    promoted = a_leader_with_slots("b")
    assert (dropped(promoted), published(promoted)) == ((), ("a", "b", "c"))


def test_a_slot_of_nobody_is_dropped() -> None:
    stranger = a_leader_with_slots("b", retain=("b",))
    assert dropped(stranger) == ("c",)


def test_a_member_that_does_not_stream_any_more_has_no_slot() -> None:
    whole = a_leader_with_slots("b", "c")
    view = a_leader_with_slots("b", "c", now_s=5)
    members = (a_member("a"), a_member("b"), a_member("c", tags={"nostream": True}))
    changed = replace(view, cluster=a_cluster(*members, status=Status(Lsn(1), {}, ("b", "c"))))
    assert dropped(after(changed, whole)) == ("c",)


# --- permanent slots ---

LISTED = {
    "feed": {"type": "logical", "database": "shop", "plugin": "pgoutput"},
    "store": {"type": "physical"},
    "afar": {"type": "physical", "cluster_type": "standby"},
}
FEED = SlotFacts("feed", "logical", active=False, restart_lsn=LSN, confirmed_flush_lsn=LSN)
COPY = replace(FEED, failover=True, synced=True)
STORE = SlotFacts("store", "physical", active=False, restart_lsn=LSN)
OF_B, OF_C = (SlotFacts(name, "physical", active=True, restart_lsn=LSN) for name in ("b", "c"))
PG15, PG17 = 150000, 170000
PLAIN = Status(LSN)


def a_leader(*there: SlotFacts, version: int = PG17, **settings: object) -> View:
    return a_primary_view(
        postgres=a_primary(slots=(OF_B, OF_C, *there), version=version),
        settings=some_settings(**{"slots": LISTED, **settings}),
    )


def a_follower(*there: SlotFacts, version: int = PG17, status: Status = PLAIN, **me: object) -> View:
    """What ``b`` sees; it has the slot of ``c``."""
    slots = (SlotFacts("a", "physical", active=False, restart_lsn=LSN), replace(OF_C, active=False), *there)
    return a_view(
        me=a_node("b", **me),
        postgres=a_standby(slots=slots, version=version),
        cluster=a_cluster(status=status),
        settings=some_settings(slots=LISTED),
    )


def order_of(view: View) -> SyncSlots:
    return next((one for one in decide(view).actions if isinstance(one, SyncSlots)), SyncSlots())


def test_a_leader_makes_the_permanent_slots_and_has_standbys_copy_the_logical_ones() -> None:
    made = order_of(a_leader()).create
    assert [(slot.name, slot.kind, slot.database, slot.plugin) for slot in made] == [
        ("store", "physical", None, None),
        ("feed", "logical", "shop", "pgoutput"),
    ]
    assert order_of(a_leader(FEED, STORE)).protect == ("feed",)
    assert order_of(a_leader(replace(FEED, active=True), STORE)) == SyncSlots(), "in use: it can't be changed now"
    assert order_of(a_leader(FEED, STORE, version=PG15)) == SyncSlots()
    assert order_of(a_leader(FEED, STORE, use_slots=False)).protect == ()


def test_slots_of_nobody_are_dropped_but_for_those_in_use_and_those_to_be_ignored() -> None:
    stranger = replace(FEED, name="stranger", failover=True, database="shop", plugin="pgoutput")
    view = a_leader(COPY, STORE, stranger, SlotFacts("gone", "physical", active=False))
    assert order_of(view).drop == ("stranger", "gone")
    assert order_of(a_leader(COPY, STORE, replace(stranger, active=True))).drop == ()
    assert order_of(a_leader(COPY, STORE, stranger, ignore_slots=({"plugin": "pgoutput"},))).drop == ()


def test_a_standby_has_no_logical_slot_of_its_own_in_the_way_of_the_copy() -> None:
    """Fault 74: what a demoted primary had would keep PostgreSQL from copying the new primary's."""
    assert order_of(a_follower(FEED, STORE)).drop == ("feed",)
    assert order_of(a_follower(COPY, STORE)) == SyncSlots()
    assert order_of(a_follower(replace(COPY, name="former"), STORE)).drop == (), "PostgreSQL drops its own copies"
    assert order_of(a_follower(FEED, STORE, version=PG15)).drop == ()
    assert order_of(a_follower(COPY, STORE, tags=Tags(nofailover=True))).drop == ("a", "c", "store")


def test_a_standby_advances_what_postgresql_does_not_and_holds_back_no_vacuum() -> None:
    ahead = Status(LSN, {"store": LSN, "feed": LSN})
    back = Lsn(int(LSN) - 8)
    behind = (replace(STORE, restart_lsn=back), replace(FEED, confirmed_flush_lsn=back))
    assert order_of(a_follower(*behind, version=PG15, status=ahead)).advance == {"store": LSN, "feed": LSN}
    copied = (behind[0], replace(behind[1], synced=True))
    assert order_of(a_follower(*copied, status=ahead)).advance == {"store": LSN}
    anew = order_of(a_follower(COPY, replace(STORE, xmin=True)))
    assert (anew.drop, [slot.name for slot in anew.create]) == (("store",), ["store"])
    assert order_of(a_leader(COPY, replace(STORE, xmin=True))) == SyncSlots()


def test_only_member_slots_and_permanent_ones_are_published() -> None:
    other = SlotFacts("other", "physical", active=True, restart_lsn=LSN)
    view = a_leader(COPY, STORE, other)
    (told,) = (action for action in decide(view).actions if isinstance(action, PublishStatus))
    assert told.slots.keys() == {"a", "b", "c", "feed", "store"}


def test_postgresql_is_told_what_copies_need_and_whom_subscribers_wait_for() -> None:
    leader = a_leader(COPY, STORE)
    told = publish.server_config(leader, None, '2 ("b","c")', PRIMARY)
    assert (told.keeps_logical, told.awaited_slots) == (True, ("b", "c"))
    assert publish.server_config(leader, None, '"d"', PRIMARY).awaited_slots == (), "a slot that is not there"
    assert publish.server_config(a_leader(slots={}), None, '"b"', PRIMARY).awaited_slots == ()
    last = replace(a_follower(COPY), settings=some_settings(slots={}))
    assert publish.server_config(last, None).keeps_logical, "else the copy would never end"
    barred = a_follower(tags=Tags(nofailover=True))
    assert not publish.server_config(barred, None).keeps_logical


def test_a_node_says_which_logical_slots_its_subscribers_would_lose() -> None:
    def lacks(*slots: SlotFacts, version: int = PG17) -> dict[str, str]:
        return lacking_slots(a_follower(*slots, version=version))

    assert lacks() == {"feed": "it is not there"}
    assert lacks(replace(COPY, temporary=True)) == {"feed": "PostgreSQL has not synchronized it yet"}
    assert lacks(replace(COPY, wal_status="lost")) == {"feed": "it is invalidated"}
    assert lacks(COPY) == {}
    assert lacks(FEED, version=PG15) == {"feed": "its copy is not proven yet"}
    assert lacks(replace(FEED, synced=True), version=PG15) == {}
    assert lacking_slots(a_leader()) == {}


def test_a_switchover_is_refused_to_whom_a_logical_slot_is_missing_but_an_ordered_failover_is_not() -> None:
    """Fault 74."""
    request = FailoverKey(Revision(50), leader="a", candidate="b")
    lacking = a_reply("b", lacks_slots={"feed": "it is not there"})
    leader = a_leader(COPY, STORE)
    asked = replace(leader, cluster=a_cluster(failover=request), peers=PeerPoll(NOW, (lacking,)))
    assert verdict(asked) == ("refuse", "subscribers would lose what b lacks: logical slot feed: it is not there")
    ordered = replace(asked, cluster=a_cluster(failover=replace(request, leader=None)))
    assert verdict(ordered)[0] == "go"
