"""Copies of logical slots on a standby of PostgreSQL 16 or older: what is copied, and whose turn it is to restart."""

from __future__ import annotations

from dataclasses import replace

from haagent.core.actions import CopySlots, StopPostgres
from haagent.core.decide import decide
from haagent.core.facts import SlotFacts, Status, Tags, View
from haagent.core.states import State
from haagent.core.terms import later
from tests.builders import LSN, NOW, a_cluster, a_member, a_node, a_standby, a_view, some_settings

LISTED = {"feed": {"type": "logical", "database": "shop", "plugin": "pgoutput"}}
COPY = SlotFacts("feed", "logical", active=False, restart_lsn=LSN, confirmed_flush_lsn=LSN)
THERE = Status(LSN, {"feed": LSN})
RUNNING = (a_member("a"), a_member("b"), a_member("c"))


def a_follower(*slots: SlotFacts, version: int = 150000, staged_s: float | None = None, **view: object) -> View:
    """What ``b`` sees, ``staged_s`` after it copied slots."""
    postgres = replace(a_standby(slots=slots, version=version), slots_staged_at=None if staged_s is None else NOW)
    known = {"cluster": a_cluster(*RUNNING, status=THERE), "settings": some_settings(slots=LISTED), **view}
    return replace(a_view(postgres=postgres, **known), now=later(NOW, staged_s or 0.0))


def copied(view: View) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    return [(one.fetch, one.prove) for one in decide(view).actions if isinstance(one, CopySlots)]


def test_what_is_missing_is_copied_from_a_leader_that_has_it_and_then_proven() -> None:
    assert copied(a_follower()) == [(("feed",), ())]
    assert copied(a_follower(COPY)) == [((), ("feed",))]
    assert copied(a_follower(replace(COPY, synced=True))) == []
    assert copied(a_follower(cluster=a_cluster(*RUNNING, status=Status(LSN)))) == [], "the leader has none yet"
    assert copied(a_follower(version=170000)) == [], "PostgreSQL does it"
    assert copied(a_follower(me=a_node("b", tags=Tags(nofailover=True)))) == []
    assert copied(a_follower(settings=some_settings(slots=LISTED, pause=True))) == []
    assert copied(a_follower(staged_s=0.0)) == [], "what was copied waits for the restart"


def restarts(view: View) -> bool:
    plan = decide(view)
    return plan.row == 585 and any(isinstance(one, StopPostgres) for one in plan.actions)


def test_standbys_restart_one_after_the_other_to_take_copies_up() -> None:
    assert restarts(a_follower(staged_s=0.0)), "b comes first"
    assert decide(a_follower(staged_s=0.0)).memory.state is State.DEMOTING
    second = a_cluster(a_member("a"), a_member("aa"), a_member("b"), status=THERE)
    assert not restarts(a_follower(staged_s=11.0, cluster=second))
    assert restarts(a_follower(staged_s=12.0, cluster=second)), "four rounds of 3 s later"
    away = a_cluster(a_member("a"), a_member("b"), a_member("c", state="starting"), status=THERE)
    assert not restarts(a_follower(staged_s=59.0, cluster=away))
    assert restarts(a_follower(staged_s=60.0, cluster=away))
    assert not restarts(a_follower(staged_s=60.0, settings=some_settings(slots=LISTED, pause=True)))
