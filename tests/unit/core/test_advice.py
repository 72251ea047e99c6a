"""What keeps a node from leading, and that each objection comes with what lifts it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from haagent.core.advice import advice, not_eligible
from haagent.core.facts import DataKind, FailoverKey, FenceFacts, SyncKey, View
from haagent.core.states import State
from haagent.core.status import status
from haagent.core.terms import Lsn, Revision, later
from tests.builders import (
    LSN,
    NOW,
    a_cluster,
    a_memory,
    a_node,
    a_primary_view,
    a_silent_dcs,
    a_standby,
    a_view,
    some_settings,
    some_tags,
    stopped,
)

BEHIND = a_standby(lsn=Lsn(LSN - 3_000_000))
REQUEST = FailoverKey(Revision(9), leader="a", candidate="c")

BARRED: dict[str, tuple[View, str, str]] = {
    "fence": (
        a_view(fence=FenceFacts("required", why="haagent_fence.so is not installed for this PostgreSQL")),
        "haagent_fence.so is not installed",
        "make -C fence install",
    ),
    "pause": (a_view(settings=some_settings(pause=True)), "the cluster is paused", "haagent-ctl resume demo"),
    "stands back": (
        a_view(memory=a_memory(stand_back_until=later(NOW, 4.0))),
        "stands back for 4.0 s more",
        "by itself",
    ),
    "not synchronous": (
        a_view(
            settings=some_settings(synchronous_mode="on"), cluster=a_cluster(sync=SyncKey(Revision(4), "a", 0, ("c",)))
        ),
        "b may lack acknowledged commits",
        "haagent-ctl failover demo --candidate b",
    ),
    "request for another": (
        a_view(cluster=a_cluster(failover=REQUEST), memory=a_memory(since=later(NOW, -1.0))),
        "a change of leader to c is under way",
        "haagent-ctl flush demo switchover",
    ),
    "down": (a_view(postgres=stopped()), "b does not answer as a running standby", "haagent-ctl why b"),
    "nofailover": (
        a_view(me=a_node(tags=some_tags(nofailover=True))),
        "b has the tag nofailover",
        "take tags.nofailover out of its file, then haagent-ctl reload demo b",
    ),
    "priority": (
        a_view(me=a_node(tags=some_tags(failover_priority=0))),
        "failover_priority 0",
        "take tags.failover_priority out of its file",
    ),
    "lag": (
        a_view(postgres=BEHIND),
        "b is 3000000 bytes behind",
        "haagent-ctl edit-config demo -s maximum_lag_on_failover=3000000",
    ),
}


@pytest.mark.parametrize("case", BARRED)
def test_each_objection_comes_with_what_lifts_it(case: str) -> None:
    view, objection, command = BARRED[case]
    assert objection in (not_eligible(view) or "")
    assert command in advice(view)
    own = status(view)["haagent"]
    assert own["not_eligible"] == not_eligible(view)
    assert own["advice"] == advice(view)


def test_what_lifts_the_lag_does_lift_it() -> None:
    view = a_view(postgres=BEHIND, settings=some_settings(maximum_lag_on_failover=3_000_000))
    assert not_eligible(view) is None


def test_a_standby_that_may_lead_is_told_how_to() -> None:
    assert not_eligible(a_view()) is None
    assert "not_eligible" not in status(a_view())["haagent"]
    assert advice(a_view()) == "haagent-ctl switchover demo --candidate b, to have it lead"


def test_a_leader_has_nothing_to_object_to() -> None:
    paused = a_primary_view(settings=some_settings(pause=True))
    assert not_eligible(paused) is None
    assert "haagent-ctl switchover demo --leader a" in advice(paused)


def test_a_failed_node_wants_a_new_copy_or_a_hand() -> None:
    failed = a_view(memory=a_memory(State.FAILED), postgres=stopped())
    assert "haagent-ctl reinit demo b --wait" in advice(failed)
    assert "by hand" in advice(replace(failed, postgres=stopped(DataKind.UNREADABLE)))


def test_without_etcd_nobody_leads() -> None:
    assert "etcdctl endpoint health" in advice(a_view(cluster=a_silent_dcs()))
