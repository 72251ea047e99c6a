"""What the table makes of a watchdog device: open before anything is writable, stopped only when nothing is."""

from __future__ import annotations

from dataclasses import replace

import pytest

from haagent.core.actions import CloseWatchdog, OpenWatchdog, Promote, Resign, StartPrimary, StopPostgres
from haagent.core.conditions import why_not_me
from haagent.core.decide import decide
from haagent.core.facts import Goal, LeaseFacts, View, WatchdogFacts
from haagent.core.lease import timing, under_watchdog
from haagent.core.states import State
from haagent.core.status import protection, status
from haagent.core.terms import later
from tests.builders import (
    LEASE,
    NOW,
    a_memory,
    a_node,
    a_poll,
    a_primary_view,
    a_standby,
    a_view,
    a_winner,
    some_settings,
    stopped,
)

DEVICE = "/dev/watchdog"
OPEN = WatchdogFacts("required", DEVICE, open=True, timeout_s=5)
CLOSED = WatchdogFacts("required", DEVICE)
ABSENT = replace(CLOSED, why="there is none", absent_since=later(NOW, -60))
TRIED = replace(ABSENT, failed_at=later(NOW, -1))


def kinds(view: View) -> list[type]:
    return [type(action) for action in decide(view).actions]


def test_it_is_opened_after_the_key_is_won_and_before_the_promotion() -> None:
    view = a_winner(watchdog=CLOSED)
    assert decide(view).memory.state is State.CANDIDATE
    assert OpenWatchdog in kinds(view)
    assert Promote not in kinds(view)
    assert Promote in kinds(a_winner(watchdog=OPEN))


def test_required_and_not_to_be_had_there_is_no_promotion() -> None:
    view = a_winner(watchdog=TRIED)
    plan = decide(view)
    assert Promote not in kinds(view)
    assert Resign in kinds(view)
    assert plan.memory.state is State.STANDBY
    assert plan.memory.stand_back_until > NOW
    assert "there is none" in plan.why


def test_automatic_and_not_to_be_had_the_promotion_goes_on() -> None:
    assert Promote in kinds(a_winner(watchdog=replace(TRIED, mode="automatic")))


def test_a_node_without_the_required_device_is_not_eligible_and_says_why() -> None:
    view = a_view(watchdog=ABSENT)
    assert why_not_me(view) == "watchdog.mode is required, but there is none"
    document = status(view)
    assert document["watchdog_failed"] is True
    assert "watchdog.mode: automatic" in document["haagent"]["advice"]
    assert "watchdog_failed" not in status(a_view(watchdog=replace(ABSENT, mode="automatic")))


def test_a_primary_that_loses_the_required_device_tries_it_again_and_hands_over_after_a_ttl() -> None:
    lately = replace(ABSENT, absent_since=later(NOW, -6), failed_at=later(NOW, -6))
    assert OpenWatchdog in kinds(a_primary_view(watchdog=lately))
    plan = decide(a_primary_view(watchdog=ABSENT))
    assert (plan.memory.state, plan.memory.goal) == (State.DEMOTING, Goal.HANDOVER)
    crashed = a_primary_view(watchdog=TRIED, postgres=stopped())
    assert StartPrimary not in kinds(crashed)
    assert decide(crashed).memory.state is State.FENCED


@pytest.mark.parametrize("mode", ["automatic", "off"])
def test_a_primary_that_does_not_need_it_goes_on_without(mode: str) -> None:
    assert decide(a_primary_view(watchdog=replace(ABSENT, mode=mode))).memory.state is State.PRIMARY


def test_it_is_stopped_before_the_key_is_given_up_and_only_when_postgresql_is_down() -> None:
    demoting = a_primary_view(watchdog=OPEN, memory=a_memory(State.DEMOTING, goal=Goal.SWITCHOVER, stop_mode="fast"))
    assert CloseWatchdog not in kinds(demoting)
    done = kinds(replace(demoting, postgres=stopped()))
    assert done.index(CloseWatchdog) < done.index(Resign)
    orphans = replace(demoting, postgres=replace(stopped(), orphans=1))
    assert CloseWatchdog not in kinds(orphans), "a backend that outlived its postmaster may still commit"


def test_a_restart_in_place_keeps_it() -> None:
    memory = a_memory(State.DEMOTING, goal=Goal.RESTART, stop_mode="fast")
    done = kinds(a_primary_view(watchdog=OPEN, memory=memory, postgres=stopped()))
    assert StartPrimary in done
    assert CloseWatchdog not in done


@pytest.mark.parametrize("known", [OPEN, replace(CLOSED, left=True)], ids=["open", "left by an earlier agent"])
def test_pause_stops_it_and_so_does_a_standby(known: WatchdogFacts) -> None:
    assert CloseWatchdog in kinds(a_primary_view(watchdog=known, settings=some_settings(pause=True)))
    assert CloseWatchdog in kinds(a_view(watchdog=known))


def test_what_an_earlier_agent_left_running_is_taken_over_by_a_primary() -> None:
    done = kinds(a_primary_view(watchdog=replace(CLOSED, left=True)))
    assert OpenWatchdog in done
    assert CloseWatchdog not in done


def test_a_found_primary_without_a_lease_keeps_what_was_left_running() -> None:
    found = a_primary_view(
        watchdog=replace(CLOSED, left=True), lease=LeaseFacts(lease_id=LEASE), memory=a_memory(State.FENCED)
    )
    assert CloseWatchdog not in kinds(found)


def test_a_node_that_holds_the_key_opens_it_before_it_starts_postgresql() -> None:
    view = a_primary_view(watchdog=CLOSED, memory=a_memory(State.FENCED), postgres=stopped(), peers=a_poll())
    assert OpenWatchdog in kinds(view)
    assert StartPrimary not in kinds(view)
    assert StartPrimary in kinds(replace(view, watchdog=OPEN))
    assert Resign in kinds(replace(view, watchdog=TRIED))


def test_lost_during_the_promotion_postgresql_is_stopped() -> None:
    view = a_winner(watchdog=TRIED, memory=a_memory(State.PROMOTING), postgres=a_standby(), me=a_node("b"))
    assert StopPostgres in kinds(view)


def test_it_counts_as_a_protection() -> None:
    assert protection(a_primary_view(watchdog=OPEN)) == ["guard", "watchdog device"]
    assert "watchdog device" not in protection(a_primary_view(watchdog=ABSENT))


@pytest.mark.parametrize(("ttl", "timeout_s"), [(10, 5), (30, 25), (30, 3), (5, 4), (120, 60)])
def test_an_open_device_brings_every_deadline_before_its_own(ttl: float, timeout_s: float) -> None:
    usual = timing(ttl, 1, 1)
    found = under_watchdog(usual, timeout_s)
    assert 2 * found.renew_every + found.renew_timeout <= found.demote_after < found.fence_after
    assert found.fence_after + found.margin <= timeout_s
    assert found.fence_after <= usual.fence_after
