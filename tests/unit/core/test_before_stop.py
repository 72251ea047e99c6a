"""Which stops wait for ``before_stop``, and for how long."""

from __future__ import annotations

from dataclasses import replace

import pytest

from haagent.core import orders
from haagent.core.actions import StopPostgres
from haagent.core.conditions import ESCALATE_S, why_not_me
from haagent.core.facts import Goal, HistoryLine, View
from haagent.core.publish import member
from haagent.core.terms import Lsn, Timeline
from tests.builders import a_lease, a_node, a_primary_view, a_snapshot, a_standby, a_view, some_settings


def stop(view: View, goal: Goal, mode: str = "fast") -> StopPostgres:
    (found,) = [one for one in orders.stopper(goal, mode)(view).actions if isinstance(one, StopPostgres)]
    return found


def leading(**settings: object) -> View:
    return replace(a_primary_view(), settings=some_settings(before_stop="drain", ttl=30, **settings))


@pytest.mark.parametrize(
    ("goal", "seconds"), [(Goal.SHUTDOWN, 60), (Goal.RESTART, 60), (Goal.SWITCHOVER, 15), (Goal.REINIT, 30)]
)
def test_a_stop_in_good_order_waits_within_what_others_wait_for_it(goal: Goal, seconds: float) -> None:
    assert stop(leading(), goal) == StopPostgres("fast", "drain", seconds)
    assert stop(leading(primary_stop_timeout=8), goal).first_s == 4


def test_a_lease_that_ends_leaves_half_of_the_time_to_the_stop_itself() -> None:
    view = replace(leading(), lease=a_lease(permit_s=ESCALATE_S + 1.0))
    assert stop(view, Goal.LEASE).first_s == pytest.approx(0.5)
    assert stop(replace(view, lease=a_lease(permit_s=ESCALATE_S)), Goal.LEASE) == StopPostgres("fast")


def test_a_stop_at_once_waits_for_nothing() -> None:
    assert stop(leading(), Goal.HANDOVER, "immediate") == StopPostgres("immediate")
    assert stop(a_primary_view(), Goal.SHUTDOWN) == StopPostgres("fast")


def test_check_timeline_bars_who_is_on_a_timeline_that_has_ended() -> None:
    history = (HistoryLine(Timeline(2), Lsn(1), ""),)
    view = a_view(postgres=a_standby(timeline=2), settings=some_settings(check_timeline=True))
    view = replace(view, cluster=replace(view.cluster, snapshot=a_snapshot(leader=None, history=history)))
    assert "timeline 2 has ended already; check_timeline is on" in (why_not_me(view) or "")
    assert why_not_me(replace(view, postgres=a_standby(timeline=3))) is None
    assert why_not_me(replace(view, settings=some_settings())) is None


def test_the_address_of_a_pooler_is_published() -> None:
    view = replace(a_view(), me=a_node(proxy_url="postgres://10.0.0.1:6432/postgres"))
    assert member(view).extra == {"proxy_url": "postgres://10.0.0.1:6432/postgres"}
    assert "proxy_url" not in member(a_view()).extra
