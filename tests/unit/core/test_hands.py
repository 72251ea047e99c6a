"""What the core makes of pauses, of wiped stores and of other hands on PostgreSQL: cases that the simulator found."""

from __future__ import annotations

from dataclasses import replace

import pytest

from haagent.core.actions import ArmGuard, Resign, StopPostgres
from haagent.core.decide import decide
from haagent.core.facts import ClusterFacts, DataKind, Divergence, GuardFacts, Heartbeat
from haagent.core.states import State
from haagent.core.terms import Revision, Timeline, later
from tests.builders import (
    LSN,
    NOW,
    TERM,
    a_cluster,
    a_guard,
    a_member,
    a_memory,
    a_poll,
    a_primary,
    a_primary_view,
    a_reply,
    a_silent_dcs,
    a_standby,
    a_view,
    stopped,
)


def test_a_resume_after_a_long_pause_arms_the_guard_instead_of_giving_up() -> None:
    """In the pause nobody needed the guard, so nothing had been heard of it for longer than a ttl."""
    idle = GuardFacts(alive=True, heard_at=later(NOW, -300))
    plan = decide(a_primary_view(guard=idle))
    assert plan.row == 850
    assert plan.memory.guardless_since == NOW
    in_vain = replace(plan.memory, guardless_since=later(NOW, -11))
    assert decide(a_primary_view(guard=idle, memory=in_vain)).row == 848
    assert decide(a_primary_view(memory=in_vain)).memory.guardless_since is None


def test_a_resume_while_postgresql_starts_arms_the_guard_before_it_is_writable() -> None:
    """In the pause it was started without a permit; the simulator saw its first commits made without one."""
    starting = replace(a_primary(), starting=True, server=None)
    idle = GuardFacts(alive=True, heard_at=NOW)
    memory = a_memory(State.PROMOTING, promoted_at=NOW)
    plan = decide(a_primary_view(guard=idle, memory=memory, postgres=starting))
    assert plan.row == 790
    assert any(isinstance(action, ArmGuard) for action in plan.actions)
    assert decide(a_primary_view(memory=memory, postgres=starting)).row == 799


EMPTY = {"leader": None, "initialize": None, "config": None}


@pytest.mark.parametrize("role", ["primary", "replica", "demoted"])
def test_nobody_bootstraps_while_a_member_has_data(role: str) -> None:
    """Fault 43: the keys were lost, not the cluster."""
    cluster = a_cluster(a_member("a", role=role), a_member("b", role="uninitialized"), **EMPTY)
    new = a_memory(State.VACANT, last_leader=None)
    assert decide(a_view(memory=new, postgres=stopped(DataKind.EMPTY), cluster=cluster)).row == 199
    fresh = a_cluster(a_member("a", role="uninitialized"), **EMPTY)
    plan = decide(a_view(memory=new, postgres=stopped(DataKind.EMPTY), cluster=fresh))
    assert plan.memory.state is State.INITIALIZING
    known = replace(new, last_leader="c")
    assert decide(a_view(memory=known, postgres=stopped(DataKind.EMPTY), cluster=fresh)).row == 199


def test_nobody_bootstraps_while_the_last_leader_may_live() -> None:
    """Fault 43: its member key has gone with all others, and it will put everything back."""

    def seen(seconds_ago: float) -> ClusterFacts:
        beat = Heartbeat(TERM, Revision(int(TERM) + 5), later(NOW, -seconds_ago), 10.0, "a")
        return replace(a_cluster(a_member("b", role="uninitialized"), **EMPTY), heartbeat=beat)

    vacant = {"memory": a_memory(State.VACANT, last_leader=None), "postgres": stopped(DataKind.EMPTY)}
    assert decide(a_view(**vacant, cluster=seen(5))).row == 199
    assert decide(a_view(**vacant, cluster=seen(11))).row == 140


def test_what_was_found_of_a_history_is_forgotten_once_it_was_written_to() -> None:
    """Fault 58: a standby was promoted by hand after it had been compared with the leader."""
    verdict = Divergence("a", Timeline(1), Timeline(1), LSN)
    plan = decide(a_view(memory=a_memory(divergence=verdict), postgres=a_primary(timeline=2), guard=a_guard()))
    assert plan.row == 525
    assert plan.memory.divergence is None
    assert decide(a_view(memory=a_memory(divergence=verdict))).memory.divergence == verdict


def test_a_failed_node_stops_what_an_operator_started_writable() -> None:
    """Fault 58: it asks for an operator, but never lets a second writer stand beside the leader."""
    view = a_view(memory=a_memory(State.FAILED), postgres=a_primary())
    plan = decide(view)
    assert (plan.row, plan.memory.state) == (1235, State.DEMOTING)
    assert StopPostgres("immediate") in plan.actions
    assert decide(replace(view, settings=replace(view.settings, pause=True))).row == 1299


def test_a_leader_key_that_came_back_is_given_up_when_a_peer_has_a_later_history() -> None:
    """Fault 42: etcd was set back to a snapshot of the time when this node, just started, led."""
    view = a_primary_view(memory=a_memory(State.FENCED), postgres=stopped())
    assert decide(view).row == 1011
    behind = a_poll(a_reply("b", timeline=1), a_reply("c", timeline=1))
    assert decide(replace(view, peers=behind)).row == 1016
    ahead = a_poll(a_reply("b", timeline=2, in_recovery=False))
    plan = decide(replace(view, peers=ahead))
    assert plan.row == 1008
    assert Resign(TERM) in plan.actions
    leading = a_poll(a_reply("b", timeline=1, in_recovery=False, leads=True))
    assert decide(replace(view, peers=leading)).row == 1008
    down = a_poll(a_reply("b", timeline=0, newest_timeline=2, running=False))
    assert decide(replace(view, peers=down)).row == 1008, "its PostgreSQL is being stopped, or is, and wrote on that"
    mine = a_cluster(claimed=Timeline(2))
    assert decide(replace(view, peers=ahead, cluster=mine)).row == 1016, "it crashed before its first checkpoint"


def test_a_new_agent_in_a_pause_leaves_a_running_primary_alone_while_etcd_is_away() -> None:
    """Fault 59: it remembers the pause; work on etcd is what pauses are for."""
    paused = replace(a_view().settings, pause=True)
    view = a_view(settings=paused, memory=a_memory(State.FENCED), postgres=a_primary(), cluster=a_silent_dcs())
    assert decide(view).row == 1023
    assert decide(replace(view, settings=replace(paused, pause=False))).row == 1026


def test_a_leader_that_is_a_standby_in_a_pause_is_not_promoted() -> None:
    view = a_primary_view(memory=a_memory(State.FENCED), postgres=a_standby(), peers=a_poll())
    assert decide(view).row == 1014
    assert decide(replace(view, settings=replace(view.settings, pause=True))).row == 1015


def test_a_primary_by_hand_in_a_pause_waits_as_a_candidate_for_whoever_led_last() -> None:
    """As a standby it would be taken for one that other hands promoted, and barred for it once the pause ends."""
    paused = replace(a_view().settings, pause=True)
    waits = a_view(
        settings=paused, memory=a_memory(State.CANDIDATE, stand_back_until=later(NOW, 5)), postgres=a_primary()
    )
    silent = replace(waits, cluster=a_silent_dcs(cluster=a_cluster(leader=None)))
    led = replace(waits, cluster=a_cluster(leader="a"))
    assert [decide(view).row for view in (silent, led)] == [657, 660]
