"""Who has seen no heartbeat waits, a campaign whose answer was lost is made again, and no demotion is endless."""

from __future__ import annotations

from dataclasses import replace

import pytest

from haagent.core import conditions as c
from haagent.core.actions import AskPeers, Campaign, StopPostgres
from haagent.core.decide import decide
from haagent.core.facts import ClusterFacts, FailoverKey, Goal, Heartbeat, LeaderKey, LeaseFacts, Settings, Status, View
from haagent.core.states import State
from haagent.core.terms import LeaseId, Lsn, Revision, Term, later
from tests.builders import (
    LEASE,
    LSN,
    NOW,
    a_cluster,
    a_guard,
    a_lease,
    a_memory,
    a_poll,
    a_primary,
    a_reply,
    a_snapshot,
    a_standby,
    a_view,
    some_data,
    some_settings,
)

# --- a key that vanished before this node looked ---


def unheard(led: int, released: int, since_s: float | None = None) -> View:
    """Nobody leads, and this node has never seen a heartbeat."""
    snapshot = a_snapshot(leader=None, led_revision=Revision(led), released_revision=Revision(released))
    since = None if since_s is None else later(NOW, -since_s)
    memory = a_memory(State.STANDBY, leaderless_since=since)
    return a_view(cluster=ClusterFacts(snapshot, NOW), memory=memory)


@pytest.mark.parametrize(
    ("view", "free"),
    [
        (unheard(0, 0), True),
        (unheard(50, 60), True),
        (unheard(60, 50), False),
        (unheard(60, 0, since_s=5.0), False),
        (unheard(60, 0, since_s=10.2), True),
    ],
    ids=["nobody ever led", "released after its last write", "written after a release", "too soon", "after a ttl"],
)
def test_a_node_that_saw_no_heartbeat_waits_for_whoever_did_not_release(view: View, free: bool) -> None:
    assert c.let_go(view) is free
    plan = decide(view)
    assert (plan.memory.state is State.CANDIDATE) is free
    if not free:
        assert plan.wake_in <= 10.1


def test_the_wait_begins_anew_when_a_leader_was_seen_or_nothing_could_be() -> None:
    waited = unheard(60, 0, since_s=9.0)
    assert decide(waited).memory.leaderless_since == later(NOW, -9.0)
    led = replace(waited, cluster=a_cluster())
    assert decide(led).memory.leaderless_since is None
    silent = replace(waited, cluster=replace(waited.cluster, silent_since=NOW))
    assert decide(silent).memory.leaderless_since is None


# --- a campaign whose answer was lost ---


def won_unheard(state: State, *, pause: bool, lease: LeaseId = LEASE) -> View:
    key = LeaderKey("b", Term(200), Revision(200), LEASE)
    beat = Heartbeat(Term(200), Revision(200), NOW, 10.0, "b")
    cluster = replace(a_cluster(), snapshot=replace(a_snapshot(), leader=key), heartbeat=beat)
    return a_view(
        cluster=cluster,
        postgres=a_primary(),
        lease=LeaseFacts(lease_id=lease),
        settings=some_settings(pause=pause),
        memory=a_memory(state, since=NOW),
    )


@pytest.mark.parametrize("pause", [False, True])
def test_a_running_primary_asks_again_for_the_key_that_it_won_unheard(pause: bool) -> None:
    plan = decide(won_unheard(State.CANDIDATE, pause=pause))
    assert plan.row == 608
    assert any(isinstance(one, Campaign) for one in plan.actions)
    assert decide(won_unheard(State.STANDBY, pause=True)).row == 527


def test_a_key_under_another_lease_is_of_this_node_s_past() -> None:
    assert not c.won_unheard(won_unheard(State.CANDIDATE, pause=True, lease=LeaseId(LEASE + 1)))


# --- an order to lead all the same ---


def test_an_operator_who_names_a_lagging_node_while_nobody_leads_is_obeyed() -> None:
    behind = a_standby(lsn=Lsn(LSN - 5_000_000))
    free = a_cluster(leader=None, status=Status(LSN))
    assert "5000000 bytes behind" in (c.why_not_me(a_view(cluster=free, postgres=behind)) or "")
    asked = a_cluster(leader=None, status=Status(LSN), failover=FailoverKey(Revision(9), candidate="b"))
    view = a_view(cluster=asked, postgres=behind, memory=a_memory(State.CANDIDATE, since=NOW), peers=a_poll())
    plan = decide(view)
    assert any(isinstance(one, Campaign) for one in plan.actions)
    assert "5000000 bytes behind" in plan.why


# --- a stop that a receiver holds up ---


def draining(goal: Goal, asked_s: float, *, state: str = "shut down", **changes: object) -> View:
    """The leader is told to stop; its last checkpoint is on disk if ``state`` says so."""
    data = some_data(cluster_state=state, checkpoint_lsn=LSN)
    view = a_view(
        postgres=replace(a_primary(), data=data, server=None, unreachable_since=NOW),
        lease=a_lease(),
        guard=a_guard(permit_s=8.0),
        cluster=a_cluster(leader="b"),
        memory=a_memory(
            State.DEMOTING, goal=goal, stop_mode="fast", stop_asked_at=later(NOW, -asked_s), since=later(NOW, -asked_s)
        ),
    )
    return replace(view, **changes)  # type: ignore[arg-type]


def stops_at_once(view: View) -> bool:
    return StopPostgres("immediate") in decide(view).actions


def test_a_stop_ends_once_a_standby_has_what_was_written() -> None:
    asked = draining(Goal.SHUTDOWN, 13.0)
    assert any(isinstance(one, AskPeers) for one in decide(asked).actions)
    has_it = a_poll(a_reply("a", lsn=Lsn(LSN + 120)))
    lacks_it = a_poll(a_reply("a", lsn=LSN))
    assert stops_at_once(replace(asked, peers=has_it))
    assert not stops_at_once(replace(asked, peers=lacks_it))
    assert not stops_at_once(draining(Goal.SHUTDOWN, 5.0, peers=has_it)), "the control file may be of before the stop"
    assert not stops_at_once(draining(Goal.SHUTDOWN, 13.0, state="in production", peers=has_it))


def test_a_restart_needs_no_standby_and_every_stop_has_a_limit() -> None:
    assert stops_at_once(draining(Goal.RESTART, 13.0))
    for goal in (Goal.SHUTDOWN, Goal.RESTART, Goal.HANDOVER, Goal.FOLLOW):
        assert not stops_at_once(draining(goal, 59.0, state="in production"))
        assert stops_at_once(draining(goal, 61.0, state="in production"))
    longer = Settings(primary_stop_timeout=120)
    assert not stops_at_once(draining(Goal.SHUTDOWN, 61.0, state="in production", settings=longer))
