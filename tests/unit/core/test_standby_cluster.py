"""A standby cluster by the table: who leads it, what gives its key up, and that nothing in it becomes writable."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from haagent.core.actions import (
    Action,
    Callback,
    Campaign,
    Clone,
    Compare,
    Configure,
    DropSync,
    FinishInitialize,
    Initialize,
    Promote,
    PublishStatus,
    PutConfig,
    Resign,
    Rewind,
    StartPrimary,
    StartStandby,
    StopPostgres,
)
from haagent.core.decide import decide
from haagent.core.facts import (
    STANDBY_LEADER,
    ClusterFacts,
    DataKind,
    Divergence,
    FailoverKey,
    Goal,
    JobFacts,
    Outcome,
    Receiver,
    Remote,
    Rules,
    Standing,
    SyncKey,
    Upstream,
    View,
)
from haagent.core.publish import clone_source, wire_role
from haagent.core.states import State
from haagent.core.terms import Lsn, Revision, Timeline, later
from tests.builders import (
    LSN,
    NOW,
    TERM,
    a_cluster,
    a_guard,
    a_lease,
    a_member,
    a_memory,
    a_node,
    a_poll,
    a_primary,
    a_primary_view,
    a_reply,
    a_silent_dcs,
    a_standby,
    a_view,
    some_data,
    some_settings,
    stopped,
)

HOST = "10.1.0.1"
REMOTE = Remote(HOST, 5432, "dc2")
FOLLOWS = some_settings(standby_cluster=REMOTE)
SOURCE = Upstream(f"remote {HOST}", HOST, 5432)
FROM_REMOTE = Receiver("streaming", HOST, 5432, "dc2", Timeline(1))


def a_standby_leader(**changes: Any) -> View:
    """What ``a`` sees: it leads a standby cluster and streams from the remote primary."""
    usual: dict[str, Any] = {
        "settings": FOLLOWS,
        "postgres": a_standby(receiver=FROM_REMOTE),
        "guard": a_guard(),
        "memory": a_memory(State.STANDBY_LEADER, last_leader="a", told_role=STANDBY_LEADER),
        "cluster": led_cluster(),
    }
    return a_primary_view(**usual | changes)


def led_cluster(**changes: Any) -> ClusterFacts:
    members = (a_member("a", role=STANDBY_LEADER, replication_state="streaming"), a_member("b"), a_member("c"))
    return a_cluster(*members, **changes)


def actions(view: View, kind: type[Action]) -> list[Any]:
    return [action for action in decide(view).actions if isinstance(action, kind)]


def test_a_standby_that_wins_the_key_follows_the_remote_primary_and_is_not_promoted() -> None:
    view = a_standby_leader(
        memory=a_memory(State.CANDIDATE, told_role="replica"), postgres=a_standby(), cluster=led_cluster()
    )
    plan = decide(view)
    assert plan.memory.state is State.STANDBY_LEADER
    (configure,) = actions(view, Configure)
    assert (configure.config.upstream, configure.config.slot_name) == (SOURCE, "dc2")
    assert Callback("on_role_change", "standby_leader") in plan.actions
    assert not actions(view, Promote)
    assert plan.hold_until > NOW


def test_what_it_publishes() -> None:
    view = a_standby_leader()
    assert wire_role(view) == "standby_leader"
    (status,) = actions(view, PublishStatus)
    assert status.optime == LSN
    assert decide(view).row == 1399


def test_its_own_rules() -> None:
    rules = Rules({"work_mem": "9MB"}, recovery={"recovery_min_apply_delay": "5min"})
    settings = replace(FOLLOWS, by_role={STANDBY_LEADER: rules})
    (configure,) = actions(a_standby_leader(settings=settings), Configure)
    assert configure.config.parameters["work_mem"] == "9MB"
    assert configure.config.recovery == {"recovery_min_apply_delay": "5min"}


def test_the_others_stream_from_it() -> None:
    view = a_view(settings=FOLLOWS, cluster=led_cluster())
    (configure,) = actions(view, Configure)
    assert configure.config.upstream == Upstream("a", "10.0.0.1", 5432)
    assert configure.config.slot_name == "b"


def test_without_a_leader_the_best_standby_campaigns() -> None:
    view = a_view(
        settings=FOLLOWS,
        memory=a_memory(State.CANDIDATE, since=NOW),
        cluster=a_cluster(a_member("b"), a_member("c"), leader=None),
        peers=a_poll(a_reply("c")),
    )
    assert actions(view, Campaign)


@pytest.mark.parametrize(
    ("changes", "row", "to"),
    [
        ({"postgres": stopped()}, 1310, State.FENCED),
        ({"lease": replace(a_lease(), lost="the key is gone")}, 1315, State.STANDBY),
        ({"cluster": led_cluster(leader="c")}, 1318, State.STANDBY),
        ({"stopping": True}, 1320, State.STANDBY),
    ],
)
def test_whoever_stops_or_is_overtaken_gives_the_key_up(changes: dict[str, Any], row: int, to: State) -> None:
    view = a_standby_leader(**changes)
    plan = decide(view)
    assert (plan.row, plan.memory.state) == (row, to)
    assert actions(view, Resign)
    assert plan.hold_until == NOW


def test_while_the_remote_primary_is_away_it_stays_a_standby() -> None:
    """Fault 80: the source is gone, for however long; nothing is promoted."""
    postgres = a_standby(receiver=None)
    for state in (State.STANDBY_LEADER, State.CANDIDATE, State.FENCED):
        view = a_standby_leader(postgres=postgres, memory=a_memory(state, since=later(NOW, -86400.0)))
        assert decide(view).memory.state is State.STANDBY_LEADER


def test_while_etcd_is_silent_it_follows_until_its_lease_ends() -> None:
    assert decide(a_standby_leader(cluster=a_silent_dcs(cluster=led_cluster()))).row == 1345


def test_promoted_by_other_hands_it_is_stopped() -> None:
    view = a_standby_leader(postgres=a_primary())
    assert actions(view, StopPostgres) == [StopPostgres("immediate")]
    assert decide(replace(view, settings=replace(FOLLOWS, pause=True))).row == 1332


def test_without_the_setting_it_is_promoted_in_its_term() -> None:
    view = a_standby_leader(settings=some_settings())
    plan = decide(view)
    assert (plan.row, plan.memory.state) == (1342, State.CANDIDATE)
    (promote,) = actions(replace(view, memory=plan.memory), Promote)
    assert promote.term == TERM
    paused = decide(replace(view, settings=some_settings(pause=True)))
    assert (paused.row, paused.memory.state) == (1340, State.STANDBY_LEADER)


def test_with_the_setting_a_primary_stops_in_good_order_and_gives_the_key_up() -> None:
    view = a_primary_view(settings=FOLLOWS)
    plan = decide(view)
    assert plan.actions[0] == StopPostgres("fast")
    assert plan.memory.goal is Goal.ELSEWHERE
    stopping = replace(view, memory=plan.memory, postgres=stopped())
    assert actions(stopping, Resign)
    assert decide(replace(view, settings=replace(FOLLOWS, pause=True))).memory.state is State.PRIMARY


@pytest.mark.parametrize("state", [State.PROMOTING, State.CANDIDATE, State.FENCED, State.PRIMARY])
def test_a_primary_that_is_down_is_not_started_again(state: State) -> None:
    view = a_primary_view(settings=FOLLOWS, postgres=stopped(), memory=a_memory(state, since=NOW))
    assert actions(view, Resign)
    assert not actions(view, StartPrimary)


def test_a_promotion_under_way_is_broken_off() -> None:
    view = a_primary_view(settings=FOLLOWS, postgres=a_standby(), memory=a_memory(State.PROMOTING, since=NOW))
    assert actions(view, StopPostgres)


# --- history ---


def a_verdict(**changes: Any) -> Divergence:
    verdict = Divergence(SOURCE.name, Timeline(1), Timeline(1), LSN)
    return replace(verdict, **changes)


def test_a_former_primary_is_compared_with_the_remote_one_although_nobody_leads() -> None:
    view = a_view(
        settings=replace(FOLLOWS, use_pg_rewind=True),
        postgres=stopped(),
        cluster=a_cluster(a_member("c"), leader=None),
        memory=a_memory(State.FENCED),
    )
    assert actions(view, Compare) == [Compare(SOURCE)]
    diverged = replace(view, memory=a_memory(State.FENCED, divergence=a_verdict(fork_lsn=Lsn(1))))
    assert actions(diverged, Rewind) == [Rewind(SOURCE)]
    alike = replace(view, memory=a_memory(State.FENCED, divergence=a_verdict()))
    assert actions(alike, StartStandby)
    unreachable = replace(view, memory=a_memory(State.FENCED, attempts=3))
    assert actions(unreachable, StartStandby)
    led = replace(unreachable, cluster=led_cluster(leader="c"))
    assert decide(led).row == 1071


def test_a_leader_without_a_stream_asks_and_goes_when_its_history_has_parted() -> None:
    view = a_standby_leader(postgres=a_standby(receiver=None))
    assert actions(view, Compare) == [Compare(SOURCE)]
    memory = replace(view.memory, divergence=a_verdict(fork_lsn=Lsn(1)))
    parted = replace(view, memory=memory)
    assert decide(parted).row == 1365
    assert actions(parted, Resign)
    assert actions(parted, StopPostgres)


def test_the_sync_key_goes_once_it_streams() -> None:
    key = SyncKey(Revision(9), "a", 0, ("b",))
    view = a_standby_leader(cluster=led_cluster(sync=key), settings=replace(FOLLOWS, synchronous_mode="on"))
    assert actions(view, DropSync) == [DropSync(TERM, Revision(9))]
    assert not actions(replace(view, postgres=a_standby(receiver=None)), DropSync)


# --- operators ---


def test_a_change_of_leader_needs_no_stop() -> None:
    request = FailoverKey(Revision(9), leader="a", candidate="b")
    senders = a_primary().server
    assert senders is not None
    view = a_standby_leader(
        cluster=led_cluster(failover=request),
        postgres=a_standby(receiver=FROM_REMOTE, senders=senders.senders),
        peers=a_poll(a_reply("b"), a_reply("c")),
    )
    assert decide(view).row == 1355
    assert actions(view, Resign)
    assert not actions(view, StopPostgres)


# --- bootstrap ---


def an_empty_node(**changes: Any) -> View:
    usual: dict[str, Any] = {
        "settings": replace(FOLLOWS, bootstrap_document={"standby_cluster": {"host": HOST}}),
        "postgres": stopped(DataKind.EMPTY),
        "memory": a_memory(State.INITIALIZING, last_leader=None),
        "cluster": a_cluster(a_member("b", role="uninitialized"), leader=None, initialize="", config=None),
    }
    return a_view(**usual | changes)


def test_the_first_node_copies_the_remote_primary() -> None:
    view = an_empty_node(outcomes=(Outcome("BeginInitialize", result=Revision(7)),))
    assert actions(view, Clone) == [Clone(SOURCE, None, view.settings.replica_methods)]
    assert actions(view, PutConfig)
    assert not actions(view, Initialize)
    assert decide(view).memory.initialize_begun == Revision(7)


def test_the_copy_is_started_as_a_standby_of_the_remote_primary() -> None:
    job = JobFacts("clone", NOW, done=True)
    view = an_empty_node(job=job, postgres=replace(stopped(), data=some_data(cluster_state="in production")))
    assert decide(view).memory.state is State.STARTING
    assert actions(view, FinishInitialize)
    (start,) = actions(view, StartStandby)
    assert start.config.upstream == SOURCE
    failed = replace(view, job=replace(job, error="no route"))
    assert decide(failed).memory.state is State.VACANT


def test_the_second_node_copies_the_standby_leader() -> None:
    view = a_view(settings=FOLLOWS, cluster=led_cluster(), memory=a_memory(State.VACANT))
    source = clone_source(view)
    assert source is not None
    assert source.name == "a"


def test_a_copy_of_a_leader_that_does_not_follow_is_not_passed_on() -> None:
    """It may have parted from the remote primary's history, and each copy of it would have to be discarded in turn."""
    apart = a_cluster(a_member("a", role=STANDBY_LEADER, replication_state=None), a_member("b"))
    view = a_view(settings=FOLLOWS, cluster=apart, memory=a_memory(State.VACANT, since=NOW))
    assert clone_source(view) is None
    assert clone_source(replace(view, memory=a_memory(State.VACANT, since=later(NOW, -31.0)))) == SOURCE


def test_a_node_copies_the_remote_primary_itself_when_nobody_has_led_for_long() -> None:
    memory = a_memory(State.VACANT, since=NOW)
    view = a_view(settings=FOLLOWS, cluster=a_cluster(leader=None), memory=memory)
    assert clone_source(view) is None
    long = replace(view, memory=replace(view.memory, leaderless_since=later(NOW, -31.0)))
    assert clone_source(long) == SOURCE


def test_an_agent_that_is_started_anew_goes_on_with_its_lease() -> None:
    view = a_standby_leader(memory=a_memory(State.FENCED, told_role="", led_before=TERM))
    plan = decide(view)
    assert (plan.row, plan.memory.state) == (1006, State.STANDBY_LEADER)
    assert not actions(view, Callback)
    assert decide(replace(view, me=a_node("a"), postgres=a_primary())).memory.goal is Goal.ELSEWHERE


def test_a_standby_that_may_not_lead_is_measured_by_the_remote_primary_instead() -> None:
    """Promoted by hand once, and nobody is left to follow: the remote primary's history decides."""
    view = a_view(
        settings=replace(FOLLOWS, use_pg_rewind=True),
        cluster=a_cluster(a_member("b"), a_member("c"), leader=None),
        memory=a_memory(standing=Standing(True, Timeline(3))),
    )
    assert decide(view).row == 561
    assert actions(view, Compare) == [Compare(SOURCE)]
    alike = replace(view, memory=replace(view.memory, divergence=a_verdict()))
    assert decide(alike).memory.state is State.CANDIDATE
    parted = replace(view, memory=replace(view.memory, divergence=a_verdict(fork_lsn=Lsn(1))))
    assert decide(parted).row == 557
    failed = replace(view, job=JobFacts("compare", NOW, done=True, error="no route"))
    assert decide(failed).memory.retry_at > NOW


def test_an_interrupted_rewind_needs_no_leader_either() -> None:
    postgres = stopped(DataKind.UNFINISHED, marker="rewinding")
    view = a_view(settings=FOLLOWS, postgres=postgres, cluster=a_cluster(leader=None), memory=a_memory(State.FENCED))
    assert decide(view).row == 1044


def test_a_primary_that_a_new_agent_finds_is_not_taken_over_while_etcd_is_silent() -> None:
    """Its lease may still run; that it is a standby cluster was heard before."""
    view = a_standby_leader(
        memory=a_memory(State.FENCED), postgres=a_primary(), cluster=a_silent_dcs(cluster=led_cluster())
    )
    assert decide(view).memory.state is not State.PRIMARY
    paused = replace(view, settings=replace(FOLLOWS, pause=True))
    assert decide(paused).row == 1012


def test_a_winner_whose_postgresql_does_not_answer_just_now_follows_all_the_same() -> None:
    """A promotion is what the table would order next: the plan would break its law, and the agent would end."""
    silent = replace(a_standby(), unreachable_since=NOW)
    memory = a_memory(State.CANDIDATE)
    plan = decide(a_view(settings=FOLLOWS, postgres=silent, lease=a_lease(), memory=memory))
    assert (plan.row, plan.memory.state) == (607, State.STANDBY_LEADER)


def test_what_was_rewound_while_nobody_leads_gets_the_wal_it_waits_for_from_the_remote_primary() -> None:
    """Nobody could lead otherwise: who lets nobody in does not campaign."""

    same = Divergence(SOURCE.name, Timeline(1), Timeline(1), LSN)

    def upstreams(since_s: float, **changes: Any) -> list[Upstream | None]:
        memory = a_memory(State.STARTING, since=later(NOW, -since_s), divergence=same)
        postgres = replace(a_standby(), server=None, starting=True)
        view = a_view(settings=FOLLOWS, postgres=postgres, memory=memory, **changes)
        return [action.config.upstream for action in actions(view, Configure)]

    unled = a_cluster(leader=None)
    assert upstreams(30, cluster=unled) == [SOURCE]
    assert upstreams(1, cluster=unled) == [None]
    assert [one.name for one in upstreams(30, cluster=led_cluster()) if one] == ["a"]
