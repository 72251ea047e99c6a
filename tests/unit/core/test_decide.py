"""Whatever a node may see, it decides something, and within the laws."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from haagent.core.actions import (
    Campaign,
    CloseWatchdog,
    Initialize,
    Promote,
    Resign,
    StartPrimary,
    StartStandby,
    StopPostgres,
)
from haagent.core.conditions import leads, unwritable, why_not_me
from haagent.core.decide import decide
from haagent.core.facts import (
    ClusterFacts,
    DataKind,
    Divergence,
    FailoverKey,
    FenceReport,
    Goal,
    Grounds,
    GuardFacts,
    Heartbeat,
    HistoryLine,
    Intent,
    JobFacts,
    LeaseFacts,
    PeerPoll,
    PeerReply,
    PostgresFacts,
    Remote,
    Settings,
    SyncKey,
    View,
    WatchdogFacts,
)
from haagent.core.states import WRITABLE, State
from haagent.core.terms import Instant, Lsn, Revision, Term, Timeline, later
from tests.builders import (
    LEASE,
    LSN,
    NOW,
    TERM,
    a_cluster,
    a_guard,
    a_leader_key,
    a_lease,
    a_member,
    a_memory,
    a_node,
    a_poll,
    a_primary,
    a_primary_view,
    a_silent_dcs,
    a_snapshot,
    a_standby,
    a_view,
    some_settings,
    some_tags,
    stopped,
)

NAMES = ("a", "b", "c")

leases = st.one_of(
    st.just(LeaseFacts()),
    st.just(LeaseFacts(lease_id=LEASE)),
    st.builds(lambda permit: a_lease(permit_s=permit), st.floats(-3, 9)),
    st.builds(lambda permit: replace(a_lease(permit_s=permit), lost="the key is gone"), st.floats(-3, 9)),
)
sync_keys = st.builds(
    SyncKey,
    st.just(Revision(9)),
    st.sampled_from([None, *NAMES]),
    st.integers(0, 2),
    st.sets(st.sampled_from(NAMES)).map(lambda names: tuple(sorted(names))),
)
guards = st.one_of(
    st.just(GuardFacts()),
    st.builds(lambda permit: a_guard(permit_s=permit), st.floats(0.1, 9)),
    st.just(GuardFacts(alive=True, heard_at=NOW)),
    st.just(GuardFacts(alive=True, fired=FenceReport(TERM, 5, 40.0, "the permit ended"), heard_at=NOW)),
)

watchdogs = st.builds(
    lambda mode, is_open, left, failed: WatchdogFacts(
        mode,
        "/dev/watchdog",
        is_open,
        5.0 if is_open else None,
        left and not is_open,
        "there is none" if failed is not None and not is_open else "",
        failed_at=failed,
        absent_since=failed,
    ),
    st.sampled_from(["off", "automatic", "required"]),
    st.booleans(),
    st.booleans(),
    st.sampled_from([None, later(NOW, -1), later(NOW, -100)]),
)


@st.composite
def postgreses(draw: st.DrawFn) -> PostgresFacts:
    lsn = Lsn(draw(st.integers(int(LSN) - 10**7, int(LSN) + 10**7)))
    timeline = draw(st.integers(1, 3))
    facts = draw(
        st.sampled_from(
            [
                stopped(draw(st.sampled_from(DataKind))),
                a_standby(lsn=lsn, timeline=timeline),
                a_primary(lsn=lsn, timeline=timeline),
                replace(a_standby(), server=None, starting=True),
            ]
        )
    )
    if draw(st.booleans()):
        facts = replace(facts, unreachable_since=later(NOW, -draw(st.floats(0, 30))))
    if not facts.running:
        facts = replace(facts, orphans=draw(st.integers(0, 1)))
        marker = draw(st.sampled_from(["initializing", "cloning", "rewinding"]))
        facts = replace(facts, data=replace(facts.data, marker=marker))
    return facts


@st.composite
def clusters(draw: st.DrawFn) -> ClusterFacts:
    if draw(st.integers(0, 4)) == 0:
        return a_silent_dcs()
    leader = draw(st.sampled_from([None, *NAMES]))
    members = [
        a_member(
            name,
            lsn=Lsn(draw(st.integers(0, 2 * int(LSN)))),
            timeline=draw(st.integers(1, 3)),
            state=draw(st.sampled_from(["running", "stopped", "starting"])),
        )
        for name in draw(st.sets(st.sampled_from(NAMES)))
    ]
    key = a_leader_key(leader, term=Term(draw(st.sampled_from([100, 120])))) if leader else None
    request = draw(
        st.one_of(
            st.none(),
            st.builds(
                FailoverKey,
                st.just(Revision(9)),
                st.sampled_from([None, *NAMES]),
                st.sampled_from([None, *NAMES]),
                st.none(),
                st.one_of(st.none(), st.floats(0, 2e9)),
            ),
        )
    )
    snapshot = replace(
        a_snapshot(*members),
        leader=key,
        initialize=draw(st.sampled_from([None, "", a_snapshot().initialize, "123"])),
        failover=request,
        config=draw(st.sampled_from([None, a_snapshot().config])),
        sync=draw(st.one_of(st.none(), sync_keys)),
    )
    beat = None
    if key is not None and draw(st.booleans()):
        seen_at = later(NOW, -draw(st.floats(0, 40)))
        beat = Heartbeat(key.term, key.revision, seen_at, draw(st.sampled_from([None, 10.0])))
    return ClusterFacts(snapshot, NOW, heartbeat=beat)


@st.composite
def views(draw: st.DrawFn) -> View:
    memory = a_memory(
        draw(st.sampled_from(State)),
        since=later(NOW, -draw(st.floats(0, 400))),
        goal=draw(st.sampled_from(Goal)),
        starts=tuple(draw(st.lists(st.builds(lambda s: later(NOW, -s), st.floats(0, 400)), max_size=4))),
        retry_at=later(NOW, draw(st.floats(-5, 5))),
        stand_back_until=later(NOW, draw(st.floats(-5, 5))),
        stop_asked_at=draw(st.one_of(st.none(), st.builds(lambda s: later(NOW, -s), st.floats(0, 100)))),
        stop_mode=draw(st.sampled_from(["", "fast", "immediate"])),
        attempts=draw(st.integers(0, 4)),
        prepared=draw(st.booleans()),
        promoted_at=draw(st.one_of(st.none(), st.just(NOW))),
        checkpointed=draw(st.booleans()),
        sync_revision=draw(st.sampled_from([None, Revision(9)])),
        leaving_at=draw(st.sampled_from([None, later(NOW, -1)])),
    )
    kinds = ["initialize", "clone", "rewind", "compare", "checkpoint", "pre_promote"]
    job = draw(
        st.one_of(
            st.none(),
            st.builds(
                JobFacts,
                st.sampled_from(kinds),
                st.just(NOW),
                done=st.booleans(),
                error=st.sampled_from([None, "it failed"]),
            ),
        )
    )
    replies = [
        PeerReply(
            name,
            reached=draw(st.booleans()),
            running=draw(st.booleans()),
            in_recovery=draw(st.booleans()),
            timeline=Timeline(draw(st.integers(1, 3))),
            lsn=Lsn(draw(st.integers(0, 2 * int(LSN)))),
            complete=draw(st.booleans()),
        )
        for name in ("a", "c")
    ]
    poll = draw(st.one_of(st.none(), st.just(PeerPoll(NOW, tuple(replies)))))
    body = {"leader": draw(st.sampled_from(["", *NAMES])), "candidate": draw(st.sampled_from(["", *NAMES]))}
    asked = [Intent(1, kind, body, NOW) for kind in ("switchover", "failover", "reinitialize", "patch_config")]
    asked.append(Intent(1, "restart", {}, NOW))
    return replace(
        a_view(),
        memory=memory,
        me=a_node("b", tags=some_tags(nofailover=True) if draw(st.booleans()) else some_tags()),
        postgres=draw(postgreses()),
        cluster=draw(clusters()),
        lease=draw(leases),
        guard=draw(guards),
        watchdog=draw(watchdogs),
        peers=poll,
        job=job,
        intents=tuple(draw(st.lists(st.sampled_from(asked), max_size=1))),
        stopping=draw(st.booleans()),
        settings=Settings(
            pause=draw(st.booleans()),
            primary_start_timeout=draw(st.sampled_from([0.0, 300.0])),
            primary_stop_timeout=draw(st.sampled_from([0.0, 5.0])),
            use_pg_rewind=draw(st.booleans()),
            pre_promote=draw(st.sampled_from([None, "/bin/true"])),
            remove_data_directory_on_diverged_timelines=draw(st.booleans()),
            synchronous_mode=draw(st.sampled_from(["off", "on", "quorum"])),
            synchronous_mode_strict=draw(st.booleans()),
            standby_cluster=draw(st.sampled_from([None, None, Remote("10.1.0.1"), Remote()])),
        ),
    )


@settings(max_examples=600, deadline=None)
@given(views())
def test_every_view_has_a_plan_within_the_laws(view: View) -> None:
    plan = decide(view)
    names = [type(action) for action in plan.actions]
    if Promote in names or StartPrimary in names:
        assert leads(view)
        assert view.watchdog.open or view.watchdog.mode != "required" or view.settings.pause
    if Resign in names:
        assert unwritable(view) or view.lease.lost is not None
    if CloseWatchdog in names:
        assert unwritable(view) or view.settings.pause or view.watchdog.mode == "off"
    if Campaign in names:
        assert view.me.tags.may_lead or view.state is State.INITIALIZING or view.postgres.writable
    if view.settings.standby_cluster is not None and view.cluster.snapshot is not None:
        assert not {Promote, StartPrimary, Initialize} & set(names)
    if plan.memory.state in WRITABLE and not view.settings.pause:
        assert leads(view) or plan.memory.state is view.state
    assert plan.wake_in >= 0


@settings(max_examples=200, deadline=None)
@given(views())
def test_a_writable_postgres_without_a_lease_is_never_left_alone(view: View) -> None:
    """Fault 58: whatever made it writable, PostgreSQL is stopped, or the agent is on its way to a lease."""
    view = replace(
        view,
        memory=replace(view.memory, state=State.STANDBY),
        postgres=a_primary(),
        lease=LeaseFacts(lease_id=LEASE),
        settings=replace(view.settings, pause=False),
        stopping=False,
        intents=(),
    )
    plan = decide(view)
    assert any(isinstance(action, StopPostgres) for action in plan.actions)
    assert plan.memory.state is State.DEMOTING


def test_a_lost_lease_stops_postgres_at_once() -> None:
    view = replace(
        a_view(postgres=a_primary(), lease=a_lease(permit_s=-0.1), guard=a_guard()),
        memory=a_memory(State.PRIMARY),
    )
    plan = decide(view)
    assert plan.actions[0] == StopPostgres("immediate")
    assert plan.hold_until == NOW


@pytest.mark.parametrize("told", [{"claimed": Timeline(2)}, {"history": (HistoryLine(Timeline(1), Lsn(1), ""),)}])
def test_a_running_primary_is_not_adopted_when_another_was_primary_after_it(told: dict[str, Any]) -> None:
    """Those who followed the other would never see a fork in what it acknowledges on its old timeline."""
    memory = a_memory(State.CANDIDATE, since=later(NOW, -1))
    alone = a_view(postgres=a_primary(), memory=memory, cluster=a_cluster(leader=None, **told), peers=a_poll())
    plan = decide(alone)
    assert (plan.row, plan.memory.state) == (648, State.DEMOTING)
    own = replace(alone, postgres=a_primary(timeline=2))
    assert decide(own).row != 648
    assert "timeline 2 was begun after it" in (why_not_me(alone) or "")


@pytest.mark.parametrize(("paused", "row"), [(False, 678), (True, 679)])
def test_a_running_primary_is_not_adopted_when_only_a_peer_tells_of_a_later_history(paused: bool, row: int) -> None:
    """As where etcd was set back and has lost the claim of that timeline."""
    later_one = PeerReply("c", reached=True, running=True, timeline=Timeline(2), lsn=LSN)
    view = a_view(
        postgres=a_primary(),
        memory=a_memory(State.CANDIDATE, since=later(NOW, -0.2)),
        cluster=a_cluster(leader=None),
        peers=PeerPoll(NOW, (later_one,)),
        settings=some_settings(pause=paused),
    )
    assert decide(view).row == row


def test_a_key_that_vanished_while_the_permit_runs_is_asked_for_again() -> None:
    """Fault 43: the running primary puts itself back; a key that another node holds ends its leadership at once."""
    robbed = replace(a_lease(), lost="the key is gone")
    view = a_view(postgres=a_primary(), lease=robbed, guard=a_guard(), cluster=a_cluster(a_member("c"), leader=None))
    view = replace(view, memory=a_memory(State.PRIMARY))
    assert decide(view).row == 814
    assert Campaign(Grounds()) in decide(view).actions
    taken = replace(view, cluster=a_cluster(a_member("c"), leader="c"))
    assert decide(taken).actions[0] == StopPostgres("immediate")
    late = replace(view, lease=replace(a_lease(permit_s=1.0), lost="the key is gone", demote_at=NOW))
    assert decide(late).actions[0] == StopPostgres("immediate")


def test_a_paused_primary_whose_lease_was_lost_with_etcd_goes_on_and_takes_the_key_again() -> None:
    lost = replace(a_lease(permit_s=-20), lost="the key is gone")
    view = replace(
        a_view(postgres=a_primary(), lease=lost, guard=a_guard(), cluster=a_silent_dcs()),
        memory=a_memory(State.PRIMARY),
        settings=Settings(pause=True),
    )
    assert not [one for one in decide(view).actions if isinstance(one, StopPostgres)]
    back = replace(view, cluster=a_cluster(a_member("c"), leader=None))
    assert Campaign(Grounds()) in decide(back).actions
    leaving = decide(replace(back, memory=a_memory(State.FENCED), stopping=True))
    assert leaving.row == 1000
    assert not [one for one in leaving.actions if isinstance(one, StopPostgres)]


def test_the_best_standby_campaigns_for_a_free_key() -> None:
    poll = PeerPoll(NOW, (PeerReply("c", reached=True, running=True, timeline=Timeline(1), lsn=LSN),))
    view = replace(
        a_view(cluster=a_cluster(a_member("b"), a_member("c"), leader=None), postgres=a_standby(lsn=LSN)),
        memory=a_memory(State.CANDIDATE, since=NOW),
        peers=poll,
    )
    assert any(isinstance(action, Campaign) for action in decide(view).actions)


def test_a_standby_that_lags_behind_an_equal_peer_stands_back_shortly() -> None:
    ahead = PeerReply("c", reached=True, running=True, timeline=Timeline(1), lsn=Lsn(int(LSN) + 8))
    view = replace(
        a_view(cluster=a_cluster(a_member("b"), a_member("c"), leader=None), postgres=a_standby(lsn=LSN)),
        memory=a_memory(State.CANDIDATE, since=NOW),
        peers=PeerPoll(NOW, (ahead,)),
    )
    plan = decide(view)
    assert plan.row == 680
    assert plan.wake_in <= 0.2


def test_a_primary_that_did_not_answer_is_asked_again_before_clients_are_sent_away() -> None:
    """Else one slow answer would cut all sessions: ``/primary`` answers 503 after ``retry_timeout`` of silence."""
    view = a_primary_view()
    silent = replace(view, postgres=replace(view.postgres, unreachable_since=NOW))
    assert decide(view).wake_in == view.settings.loop_wait >= view.settings.retry_timeout
    assert decide(silent).row == decide(view).row
    assert decide(silent).wake_in <= view.settings.retry_timeout / 4


def test_nothing_is_due_before_the_standstill_has_lasted_ttl() -> None:
    key = a_leader_key("a")
    members = (a_member("a"), a_member("b"), a_member("c"))
    for stood_s, row in ((9.0, 599), (10.2, 560)):
        beat = Heartbeat(key.term, key.revision, Instant(NOW - stood_s), 10.0)
        cluster = replace(a_cluster(*members), heartbeat=beat)
        view = replace(a_view(cluster=cluster, postgres=a_standby()), memory=a_memory(State.STANDBY))
        assert decide(view).row == row, f"after {stood_s} s"


def test_the_longer_a_start_lasts_the_less_often_it_is_looked_at() -> None:
    recovering = replace(a_standby(), server=None, starting=True)
    view = a_view(postgres=recovering, lease=LeaseFacts(lease_id=LEASE))
    compared = Divergence("a", Timeline(1), Timeline(1), LSN)

    def pause(lasted_s: float) -> float:
        since = later(NOW, -lasted_s)
        plan = decide(replace(view, memory=a_memory(State.STARTING, since=since, row=499, divergence=compared)))
        assert plan.row == 499
        return plan.wake_in

    assert pause(1.0) == 0.1
    assert pause(10.0) == 0.5
    assert pause(3600.0) == view.settings.loop_wait


def test_a_standby_that_crashed_during_its_promotion_never_writes_on_the_timeline_of_another() -> None:
    """It is started as a standby again and promoted then: two writers on one timeline could not be told apart."""
    for row_state in (State.FENCED, State.PROMOTING, State.PRIMARY):
        view = replace(
            a_view(lease=a_lease(), guard=a_guard(permit_s=8.0), cluster=a_cluster(leader="b")),
            postgres=stopped(cluster_state="in archive recovery", standby_signal=True),
            memory=a_memory(row_state),
            peers=a_poll(),
        )
        plan = decide(view)
        assert plan.memory.state is State.PROMOTING
        kinds = {type(action) for action in plan.actions}
        assert StartStandby in kinds
        assert StartPrimary not in kinds
        after = decide(replace(view, postgres=a_standby(), memory=plan.memory))
        assert Promote in {type(action) for action in after.actions}
