"""What the table makes of trouble that passes: nothing is thrown away for it, and nobody is stuck because of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from haagent.core.actions import (
    Campaign,
    EnsureGuard,
    Exit,
    KillPostgres,
    MoveAside,
    Plan,
    PutFailover,
    Resign,
    StartPrimary,
    StartStandby,
    StopPostgres,
)
from haagent.core.conditions import why_not_me
from haagent.core.decide import decide
from haagent.core.facts import (
    IMMOVABLE,
    DataFacts,
    DataKind,
    Divergence,
    FailoverKey,
    Failure,
    Goal,
    GuardFacts,
    Heartbeat,
    JobFacts,
    LeaseFacts,
    Outcome,
    View,
)
from haagent.core.publish import wire_role
from haagent.core.states import State
from haagent.core.terms import Lsn, Revision, Term, Timeline, later
from tests.builders import (
    LEASE,
    LSN,
    NOW,
    TERM,
    a_cluster,
    a_guard,
    a_lease,
    a_memory,
    a_poll,
    a_primary,
    a_primary_view,
    a_reply,
    a_silent_dcs,
    a_snapshot,
    a_view,
    some_settings,
    stopped,
)


def state_after(plan: Plan) -> State:
    return plan.memory.state


def a_failed_clone(kind: DataKind) -> View:
    job = JobFacts("clone", NOW, done=True, error="it is not empty: it is not cloned over")
    return a_view(memory=a_memory(State.CLONING), postgres=stopped(kind), job=job)


def test_a_failed_clone_leaves_data_alone_that_it_did_not_write() -> None:
    for kind in DataKind:
        plan = decide(a_failed_clone(kind))
        moved = any(isinstance(action, MoveAside) for action in plan.actions)
        assert moved is (kind is DataKind.UNFINISHED), kind


def test_data_that_can_t_be_moved_aside_is_left_to_the_operator() -> None:
    """No restart after restart: the node says what is to be done, and goes on once the directory is empty."""
    refused = Outcome("MoveAside", Failure.REFUSED, "/pg is a mount point", IMMOVABLE)
    for kind in (DataKind.VALID, DataKind.UNFINISHED):
        view = a_view(memory=a_memory(State.VACANT), postgres=stopped(kind), outcomes=(refused,))
        plan = decide(view)
        assert (state_after(plan), "/pg is a mount point" in plan.memory.trouble) == (State.FAILED, True)
        later_on = replace(view, memory=plan.memory, outcomes=())
        assert state_after(decide(later_on)) is State.FAILED
        assert state_after(decide(replace(later_on, postgres=stopped(DataKind.EMPTY)))) is State.VACANT
    passing = replace(
        a_view(memory=a_memory(State.VACANT), postgres=stopped()), outcomes=(replace(refused, result=None),)
    )
    assert state_after(decide(passing)) is State.FENCED


def test_a_disk_that_does_not_answer_is_waited_for() -> None:
    for state in (State.FENCED, State.VACANT):
        assert state_after(decide(a_view(memory=a_memory(state), postgres=stopped(DataKind.UNKNOWN)))) is state
    found = a_view(memory=a_memory(State.VACANT), postgres=stopped())
    assert state_after(decide(found)) is State.FENCED
    gone = replace(found, memory=a_memory(State.FENCED), postgres=stopped(DataKind.ABSENT))
    assert state_after(decide(gone)) is State.VACANT


# --- a paused cluster ---


def paused(**changes: Any) -> View:
    return a_primary_view(settings=some_settings(pause=True), **changes)


def test_an_agent_started_anew_in_a_paused_cluster_leaves_a_stopped_primary_stopped() -> None:
    """Fault 59: the operator may be at work on the data directory."""
    view = paused(memory=a_memory(State.FENCED, row=1010), postgres=stopped(), lease=a_lease(permit_s=float("inf")))
    plan = decide(view)
    assert state_after(plan) is State.PRIMARY
    assert not [action for action in plan.actions if isinstance(action, StartPrimary | StartStandby | Resign)]
    again = decide(replace(view, memory=plan.memory))
    assert not [action for action in again.actions if isinstance(action, StartPrimary | StartStandby | Resign)]
    resumed = decide(replace(view, memory=again.memory, settings=some_settings()))
    assert any(isinstance(action, StartPrimary) for action in resumed.actions)


def test_a_primary_found_while_etcd_was_silent_asks_for_the_key_when_it_is_back() -> None:
    """Else it would be stopped as soon as the pause ends."""
    view = paused(memory=a_memory(State.STANDBY), lease=LeaseFacts(LEASE), cluster=a_cluster(leader=None))
    plan = decide(view)
    assert state_after(plan) is State.CANDIDATE
    asked = replace(view, memory=plan.memory, peers=a_poll(a_reply("b"), a_reply("c")))
    assert any(isinstance(action, Campaign) for action in decide(asked).actions)
    outdated = replace(asked, peers=a_poll(a_reply("b", timeline=2)))
    assert not [action for action in decide(outdated).actions if isinstance(action, Campaign | StopPostgres)]


# --- the guard ---


def test_an_agent_started_anew_while_etcd_is_silent_hears_the_guard_before_it_stops_a_primary() -> None:
    lost = {"memory": a_memory(State.FENCED), "lease": LeaseFacts(), "cluster": a_silent_dcs()}
    view = a_primary_view(guard=GuardFacts(), **lost)
    plan = decide(view)
    assert state_after(plan) is State.FENCED
    assert any(isinstance(action, EnsureGuard) for action in plan.actions)
    assert state_after(decide(replace(view, guard=a_guard(permit_s=4.0)))) is State.FENCED
    assert state_after(decide(replace(view, guard=a_guard()))) is State.DEMOTING
    failed = (Outcome("EnsureGuard", Failure.UNREACHABLE),)
    assert state_after(decide(replace(view, outcomes=failed))) is State.DEMOTING


def test_a_primary_without_a_guard_for_a_whole_ttl_gives_leadership_up() -> None:
    for age_s, state in ((5.0, State.PRIMARY), (10.0, State.DEMOTING)):
        missed = a_memory(State.PRIMARY, guardless_since=later(NOW, -age_s))
        assert state_after(decide(a_primary_view(guard=GuardFacts(), memory=missed))) is state


# --- PostgreSQL ---


def test_a_crash_recovery_in_place_ends_with_primary_start_timeout() -> None:
    recovering = replace(a_primary(), server=None, starting=True)
    view = a_primary_view(postgres=recovering)
    plan = decide(view)
    assert state_after(plan) is State.PROMOTING
    assert state_after(decide(replace(view, memory=plan.memory))) is State.PROMOTING
    assert state_after(decide(replace(view, memory=plan.memory, postgres=a_primary()))) is State.PRIMARY
    long = replace(plan.memory, since=later(NOW, -301))
    assert state_after(decide(replace(view, memory=long))) is State.DEMOTING


def test_who_cannot_end_postgresql_does_not_renew_its_lease() -> None:
    """A process that hangs in the kernel must not keep the cluster leaderless for ever (fault 49)."""
    lingering = replace(stopped(), orphans=1)
    killing = a_memory(State.DEMOTING, goal=Goal.HANDOVER, stop_mode="kill", stop_asked_at=later(NOW, -5))
    for memory, postgres in (
        (a_memory(State.PRIMARY), lingering),
        (a_memory(State.PROMOTING), lingering),
        (killing, lingering),
        (killing, replace(a_primary(), unreachable_since=later(NOW, -20))),
    ):
        assert decide(a_primary_view(memory=memory, postgres=postgres)).hold_until == NOW


def test_an_agent_asked_to_stop_ends_orphans_before_it_leaves() -> None:
    """With the agent its guard would go, too."""
    view = a_view(memory=a_memory(State.FENCED), postgres=replace(stopped(), orphans=2), stopping=True)
    actions = decide(view).actions
    assert any(isinstance(action, KillPostgres) for action in actions)
    assert not any(isinstance(action, Exit) for action in actions)


# --- the leader key ---


def test_a_key_that_was_never_renewed_may_have_a_holder_that_writes() -> None:
    """Deleted by other hands right after the election: the new leader's permit runs."""
    taken = Heartbeat(Term(120), Revision(120), later(NOW, -1), 10.0, "a")
    free = replace(a_cluster(leader=None), heartbeat=taken)
    assert state_after(decide(a_view(cluster=free))) is State.STANDBY
    long_ago = replace(free, heartbeat=replace(taken, seen_at=later(NOW, -10.2)))
    assert state_after(decide(a_view(cluster=long_ago))) is State.CANDIDATE
    released = replace(free, snapshot=a_snapshot(leader=None, released=Term(120)))
    assert state_after(decide(a_view(cluster=released))) is State.CANDIDATE


def test_a_campaign_that_etcd_does_not_take_is_not_tried_again_at_once() -> None:
    view = a_view(
        memory=a_memory(State.CANDIDATE, since=later(NOW, -0.1)),
        cluster=a_cluster(leader=None),
        peers=a_poll(a_reply("a", lsn=Lsn(1)), a_reply("c", lsn=Lsn(1))),
        outcomes=(Outcome("Campaign", Failure.UNREACHABLE, "database space exceeded"),),
    )
    plan = decide(view)
    assert plan.memory.stand_back_until > NOW
    assert "space exceeded" in plan.why
    assert state_after(decide(replace(view, memory=plan.memory, outcomes=()))) is State.STANDBY
    faster = replace(view, outcomes=(Outcome("Campaign", Failure.REFUSED, "c holds it"),))
    assert decide(faster).memory.stand_back_until <= NOW


def test_a_change_of_leader_waits_while_postgresql_does_not_answer() -> None:
    request = FailoverKey(Revision(9), "a", "b")
    silent = replace(a_primary(), server=None, unreachable_since=NOW)
    asked = a_poll(a_reply("b"), a_reply("c"))
    plan = decide(a_primary_view(postgres=silent, cluster=a_cluster(failover=request), peers=asked))
    assert plan.row == 899, "asking the peers again and again would not help"


def test_a_change_of_leader_that_was_called_off_is_not_begun_again() -> None:
    """PostgreSQL would be stopped again and again, as long as the request stands."""
    request = FailoverKey(Revision(9), "a", "b")
    cluster = a_cluster(failover=request)
    stopping = a_memory(State.DEMOTING, goal=Goal.SWITCHOVER, stop_mode="fast", stop_asked_at=later(NOW, -11))
    plan = decide(a_primary_view(memory=stopping, cluster=cluster))
    assert plan.row == 938
    back = replace(plan.memory, state=State.PRIMARY, goal=Goal.NONE)
    asked = a_poll(a_reply("b"), a_reply("c"))
    refused = decide(a_primary_view(memory=back, cluster=cluster, peers=asked))
    assert refused.row == 870
    assert "could not be stopped" in refused.why
    assert PutFailover(None, None, None, Revision(9)) in refused.actions
    anew = a_cluster(failover=replace(request, revision=Revision(12)))
    assert decide(a_primary_view(memory=refused.memory, cluster=anew, peers=asked)).row == 875


def test_a_rewind_whose_source_is_away_is_tried_until_it_is_back() -> None:
    """Trouble of the network must not end in a node that needs an operator."""
    memory = a_memory(State.REWINDING, attempts=3)
    for failure, state in ((Failure.UNREACHABLE, State.FENCED), (Failure.REFUSED, State.FAILED)):
        job = JobFacts("rewind", NOW, done=True, error="no replication connection", failure=failure)
        plan = decide(a_view(memory=memory, postgres=stopped(), job=job))
        assert state_after(plan) is state
    plan = decide(
        a_view(memory=replace(memory, attempts=0), postgres=stopped(), job=replace(job, failure=Failure.UNKNOWN))
    )
    assert plan.memory.attempts == 0
    assert plan.memory.retry_at > NOW


@pytest.mark.parametrize("discards", ["rewind_failure", "diverged_timelines"])
def test_three_rewinds_that_fail_end_in_a_new_copy_or_with_the_operator(discards: str) -> None:
    """Each of the two settings allows it; nothing is moved aside while there is nobody to copy from."""
    parted = Divergence("a", Timeline(2), Timeline(1), LSN, LSN, reason="parted")
    job = JobFacts("rewind", NOW, done=True, error="pg_rewind ended with exit code 1", failure=Failure.REFUSED)
    allowed = some_settings(use_pg_rewind=True, **{f"remove_data_directory_on_{discards}": True})

    def after(attempts: int, **changes: Any) -> tuple[int, State]:
        memory = a_memory(State.REWINDING, attempts=attempts, divergence=parted)
        plan = decide(a_view(memory=memory, postgres=stopped(), job=job, **changes))
        return plan.row, state_after(plan)

    assert [after(tries) for tries in (0, 1)] == [(1140, State.FENCED)] * 2
    assert after(2) == (1135, State.FAILED)
    assert after(2, settings=allowed) == (1130, State.VACANT)
    assert after(2, settings=allowed, cluster=a_cluster(leader=None)) == (1140, State.FENCED)
    fenced = a_view(memory=a_memory(State.FENCED, attempts=3, divergence=parted), postgres=stopped(), settings=allowed)
    assert decide(fenced).row == 1058, "it is tried again once somebody leads"


def test_what_the_operator_of_a_failed_node_starts_is_not_judged_by_what_it_was() -> None:
    """It may have been mended meanwhile: a verdict from before would have it stopped at once, and again and again."""
    parted = Divergence("a", Timeline(1), Timeline(1), LSN, LSN, reason="parted")
    plan = decide(a_view(memory=a_memory(State.FAILED, divergence=parted)))
    assert (plan.row, plan.memory.divergence) == (1240, None)
    assert decide(a_view(memory=plan.memory)).row == 599


def test_a_veto_withdraws_the_request_that_named_this_node() -> None:
    """Fault 13: the others need not wait for a candidate that is not to be promoted."""
    request = FailoverKey(Revision(9), leader="a", candidate="b")
    job = JobFacts("pre_promote", NOW, done=True, error="/bin/false ended with exit code 1")
    view = a_view(
        memory=a_memory(State.CANDIDATE),
        lease=a_lease(),
        guard=a_guard(permit_s=8),
        cluster=a_cluster(leader="b", failover=request),
        job=job,
    )
    kinds = [type(action) for action in decide(view).actions]
    assert kinds.index(Resign) < kinds.index(PutFailover)


@pytest.mark.parametrize(("state", "agreed"), [(State.STANDBY, False), (State.CANDIDATE, True)])
def test_an_answer_of_pre_promote_that_comes_after_its_candidacy_allows_no_later_promotion(
    state: State, agreed: bool
) -> None:
    """Fault 13: the lease ended while the program ran, and the next promotion is to be asked for anew."""
    job = JobFacts("pre_promote", NOW, done=True)
    settings = some_settings(pre_promote="/bin/true")
    won = {"lease": a_lease(), "guard": a_guard(permit_s=8), "cluster": a_cluster(leader="b")}
    view = a_view(memory=a_memory(state), settings=settings, job=job, **({} if state is State.STANDBY else won))
    plan = decide(view)
    assert plan.memory.prepared is agreed
    left = decide(a_view(memory=a_memory(State.CANDIDATE, prepared=True), settings=settings))
    assert (left.row, left.memory.prepared) == (660, False)


def test_a_named_candidate_that_does_not_come_is_waited_for_once_and_not_for_ever() -> None:
    """Fault 85: whatever state this node passed through meanwhile, the wait counts from the last leader's heartbeat."""
    request = FailoverKey(Revision(9), leader="a", candidate="c")
    cluster = a_cluster(leader=None, failover=request, released=TERM)
    for state in (State.STANDBY, State.CANDIDATE):
        memory = a_memory(state, since=later(NOW, -0.1))
        for silent_s, waits in ((1.0, True), (4.0, False)):
            beat = Heartbeat(TERM, Revision(110), later(NOW, -silent_s), 10.0, "a")
            view = a_view(cluster=replace(cluster, heartbeat=beat), memory=memory)
            assert ("is under way" in (why_not_me(view) or "")) is waits
        for vacant_s, waits in ((1.0, True), (4.0, False)):
            unheard = replace(memory, leaderless_since=later(NOW, -vacant_s))
            assert ("is under way" in (why_not_me(a_view(cluster=cluster, memory=unheard)) or "")) is waits


@pytest.mark.parametrize(
    ("data", "role"),
    [
        (DataFacts(DataKind.UNFINISHED, marker="initializing"), "uninitialized"),
        (DataFacts(DataKind.EMPTY), "uninitialized"),
        (DataFacts(DataKind.UNFINISHED, marker="rewinding"), "replica"),
        (DataFacts(DataKind.UNREADABLE), "replica"),
    ],
)
def test_a_failed_node_without_data_keeps_nobody_from_a_bootstrap(data: DataFacts, role: str) -> None:
    """Its directory is a mount point, say, so that what its own bootstrap left could not be moved aside."""
    assert wire_role(a_view(memory=a_memory(State.FAILED), postgres=replace(stopped(), data=data))) == role
