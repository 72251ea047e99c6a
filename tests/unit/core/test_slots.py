"""Slots of members: who keeps them, and how long they outlive their members."""

from __future__ import annotations

from dataclasses import replace

from haagent.core.actions import PublishStatus, SyncSlots
from haagent.core.decide import decide
from haagent.core.facts import SlotFacts, Status, View
from haagent.core.terms import Lsn, later
from tests.builders import LSN, NOW, a_cluster, a_member, a_primary, a_primary_view, some_settings

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
