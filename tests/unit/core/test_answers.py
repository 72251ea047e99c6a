"""The verdicts of health checks, and the documents about the cluster."""

from __future__ import annotations

from dataclasses import replace

import pytest

from haagent.core import answers
from haagent.core.answers import CHECKS, QueryError, parse_size
from haagent.core.facts import (
    ConfigKey,
    FailoverKey,
    HistoryLine,
    LeaseFacts,
    Receiver,
    Remote,
    Status,
    SyncKey,
    View,
)
from haagent.core.states import State
from haagent.core.terms import Instant, Lsn, Revision, Timeline, later
from tests.builders import (
    LSN,
    NOW,
    a_cluster,
    a_lease,
    a_member,
    a_memory,
    a_node,
    a_primary,
    a_primary_view,
    a_silent_dcs,
    a_standby,
    a_view,
    some_settings,
    some_tags,
    stopped,
)

MB = 1024 * 1024


def holds(check: str, view: View, **query: str) -> bool:
    return CHECKS[check](view, query)


def yes(view: View, **query: str) -> set[str]:
    """The names of all checks that hold."""
    return {name for name, check in CHECKS.items() if check(view, query)}


def a_sync_cluster(mode_leader: str = "a", standbys: tuple[str, ...] = ("b",)) -> SyncKey:
    return SyncKey(Revision(5), mode_leader, 0, standbys)


STANDBY_CLUSTER = some_settings(standby_cluster=Remote("10.1.0.1"))


# --- which checks hold of which node ------------------------------------------------------------------------------


def test_the_primary_holds_what_a_primary_should() -> None:
    expected = {"primary", "leader", "read_only", "read_only_sync", "read_only_quorum", "health", "readiness"}
    assert yes(a_primary_view()) == expected


def test_an_async_standby_holds_what_a_standby_should() -> None:
    assert yes(a_view()) == {"replica", "read_only", "asynchronous", "health", "readiness"}


def test_a_sync_standby_is_not_asynchronous() -> None:
    view = a_view(cluster=a_cluster(sync=a_sync_cluster()))
    assert yes(view) == {"replica", "read_only", "sync", "read_only_sync", "health", "readiness"}


def test_a_quorum_standby_is_neither_sync_nor_asynchronous() -> None:
    view = a_view(cluster=a_cluster(sync=a_sync_cluster()), settings=some_settings(synchronous_mode="quorum"))
    assert yes(view) == {"replica", "read_only", "quorum", "read_only_quorum", "health", "readiness"}


def test_the_leader_of_a_standby_cluster_is_leader_but_no_primary() -> None:
    view = a_view(
        me=a_node("a"),
        lease=a_lease(),
        settings=STANDBY_CLUSTER,
        memory=a_memory(State.STANDBY_LEADER),
        postgres=a_standby(),
    )
    assert yes(view) == {"leader", "standby_leader", "read_only", "health", "readiness"}


def test_nothing_holds_while_postgresql_is_down() -> None:
    assert yes(a_primary_view(postgres=stopped())) == set()
    assert yes(a_view(postgres=stopped())) == set()


# --- 200 on /primary needs the lease and writes --------------------------------------------------------------------


def test_primary_ends_by_arithmetic_with_the_permit_also_when_the_loop_hangs() -> None:
    view = a_primary_view(lease=a_lease(permit_s=2.0))
    assert holds("primary", replace(view, now=later(NOW, 1.99)))
    assert not holds("primary", replace(view, now=later(NOW, 2.0)))


def test_primary_without_lease_or_with_one_surely_lost_does_not_hold() -> None:
    assert not holds("primary", a_primary_view(lease=LeaseFacts()))
    assert not holds("primary", a_primary_view(lease=replace(a_lease(), lost="another holder")))


def test_a_standby_promoted_by_hand_is_never_published_writable() -> None:
    """Fault 58."""
    view = a_view(postgres=a_primary())
    assert yes(view) == {"health"}


def test_the_leader_is_not_primary_before_promotion_has_ended() -> None:
    """Fault 60."""
    promoting = a_primary_view(postgres=a_standby(), memory=a_memory(State.PROMOTING))
    assert not holds("primary", promoting)
    assert holds("leader", promoting)
    assert not holds("primary", a_primary_view(memory=a_memory(State.PROMOTING)))


@pytest.mark.parametrize("state", [state for state in State if state is not State.PRIMARY])
def test_only_the_state_primary_is_primary(state: State) -> None:
    assert not holds("primary", a_primary_view(memory=a_memory(state)))


def test_a_postmaster_that_does_not_answer_is_not_primary_for_long() -> None:
    """Fault 9, and fault 77: the last known role counts for a bounded time."""
    silent = replace(a_primary(), unreachable_since=NOW, unreachable_why="timeout")
    view = a_primary_view(postgres=silent, settings=some_settings(retry_timeout=3))
    assert holds("primary", replace(view, now=later(NOW, 2.9)))
    assert not holds("primary", replace(view, now=later(NOW, 3.1)))
    assert not holds("health", replace(view, now=later(NOW, 3.1)))


def test_what_nobody_has_looked_at_for_two_ttl_is_not_claimed() -> None:
    view = a_view(settings=some_settings(ttl=10))
    assert holds("replica", replace(view, now=later(NOW, 20)))
    assert not holds("replica", replace(view, now=later(NOW, 20.1)))


def test_the_primary_goes_on_while_etcd_is_silent_until_its_permit_ends() -> None:
    view = a_primary_view(cluster=a_silent_dcs())
    assert holds("primary", view)


# --- parameters -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("1048576", MB),
        ("16kB", 16384),
        ("64MB", 64 * MB),
        ("1GB", 1024 * MB),
        ("1 TB", 1024 * 1024 * MB),
        ("10mb", 10 * MB),
        ("1.5kB", 1536),
        ("12B", 12),
    ],
)
def test_sizes_are_read_as_documented(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "x", "-1", "1e9", "inf", "nan", "16 parsecs", "0x10", "٣", "9" * 30, "1,5MB"])
def test_what_is_no_size_is_said_so(text: str) -> None:
    with pytest.raises(QueryError, match="not a size"):
        parse_size(text)


@pytest.mark.parametrize("check", ["replica", "read_only", "sync", "asynchronous", "readiness"])
def test_a_bad_lag_is_an_error_of_the_request_not_a_verdict(check: str) -> None:
    for view in (a_view(), a_primary_view()):
        with pytest.raises(QueryError):
            CHECKS[check](view, {"lag": "soon"})


@pytest.mark.parametrize(("behind", "limit", "expected"), [(0, "0", True), (MB, "1MB", True), (MB + 1, "1MB", False)])
def test_lag_counts_what_was_replayed_against_the_leaders_position(behind: int, limit: str, expected: bool) -> None:
    """Fault 102."""
    view = a_view(postgres=a_standby(received_lsn=LSN, replayed_lsn=Lsn(LSN - behind)))
    assert holds("replica", view, lag=limit) is expected
    assert holds("asynchronous", view, lag=limit) is expected
    assert holds("read_only", view, lag=limit) is expected


def test_a_lag_that_nobody_knows_is_not_within_a_limit() -> None:
    view = a_view(cluster=a_cluster(status=None))
    assert holds("replica", view)
    assert not holds("replica", view, lag="1GB")


def test_a_replication_state_can_be_asked_for() -> None:
    archive = a_view(postgres=a_standby(receiver=None, archive_recovery=True))
    assert holds("replica", archive, replication_state="in archive recovery")
    assert not holds("replica", archive, replication_state="streaming")
    assert holds("replica", a_view(), replication_state="streaming")


def test_tags_must_all_be_there_with_the_value_asked_for() -> None:
    view = a_view(me=a_node("b", tags=some_tags(zone="a", ssd=True, weight=1.4)))
    assert holds("replica", view, tag_zone="a", tag_ssd="true", tag_weight="1.4")
    assert holds("replica", view, tag_ssd="True")
    assert not holds("replica", view, tag_zone="A")
    assert not holds("replica", view, tag_zone="a", tag_rack="7")


def test_tags_do_not_count_for_a_leader() -> None:
    for check in ("primary", "leader", "read_only"):
        assert holds(check, a_primary_view(), tag_zone="a")


def test_noloadbalance_takes_a_standby_out_of_reads_but_not_the_primary() -> None:
    view = a_view(me=a_node("b", tags=some_tags(noloadbalance=True)))
    assert yes(view) == {"health", "readiness"}
    assert holds("read_only", a_primary_view(me=a_node("a", tags=some_tags(noloadbalance=True))))


def test_readiness_is_about_what_was_applied_unless_writes_are_asked_for() -> None:
    view = a_view(postgres=a_standby(received_lsn=LSN, replayed_lsn=Lsn(LSN - 2 * MB)))
    assert not holds("readiness", view)
    assert holds("readiness", view, mode="write")
    assert holds("readiness", view, lag="2MB")
    assert holds("readiness", view, lag="2MB", mode="apply")


def test_readiness_wants_replication() -> None:
    assert not holds("readiness", a_view(postgres=a_standby(receiver=None)))
    waiting = Receiver("waiting", "10.0.0.1", 5432, "b", Timeline(1))
    assert not holds("readiness", a_view(postgres=a_standby(receiver=waiting)))


def test_readiness_knows_two_modes() -> None:
    with pytest.raises(QueryError, match="apply or write"):
        CHECKS["readiness"](a_primary_view(), {"mode": "read"})


# --- liveness -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("view", "age_s", "expected"),
    [
        (a_primary_view(), 9.9, True),
        (a_primary_view(), 10.0, False),
        (a_view(), 19.9, True),
        (a_view(), 20.0, False),
    ],
)
def test_liveness_gives_a_primary_one_ttl_and_others_two(view: View, age_s: float, expected: bool) -> None:
    assert answers.liveness(replace(view, now=Instant(NOW + age_s)), NOW) is expected


# --- documents ------------------------------------------------------------------------------------------------------


def test_the_cluster_lists_members_by_name_with_role_and_lag() -> None:
    late = a_member("c", lsn=Lsn(LSN - 100), replay_lsn=Lsn(LSN - 300), receive_lsn=Lsn(LSN - 100))
    view = a_view(cluster=a_cluster(late, a_member("b"), a_member("a")))
    answer = answers.cluster(view)
    assert answer.status == 200
    assert answer.body == {
        "scope": "demo",
        "members": [
            {
                "name": "a",
                "role": "leader",
                "state": "running",
                "api_url": "http://10.0.0.1:8008/patroni",
                "host": "10.0.0.1",
                "port": 5432,
                "timeline": 1,
            },
            {
                "name": "b",
                "role": "replica",
                "state": "streaming",
                "api_url": "http://10.0.0.2:8008/patroni",
                "host": "10.0.0.2",
                "port": 5432,
                "timeline": 1,
                "receive_lag": 0,
                "receive_lsn": "0/5000000",
                "replay_lag": 0,
                "replay_lsn": "0/5000000",
                "lag": 0,
                "lsn": "0/5000000",
            },
            {
                "name": "c",
                "role": "replica",
                "state": "streaming",
                "api_url": "http://10.0.0.3:8008/patroni",
                "host": "10.0.0.3",
                "port": 5432,
                "timeline": 1,
                "receive_lag": 100,
                "receive_lsn": "0/4FFFF9C",
                "replay_lag": 300,
                "replay_lsn": "0/4FFFED4",
                "lag": 100,
                "lsn": "0/4FFFF9C",
            },
        ],
    }


def members(view: View) -> dict[str, dict[str, object]]:
    body = answers.cluster(view).body
    assert isinstance(body, dict)
    return {member["name"]: member for member in body["members"]}


def test_a_member_that_does_not_run_has_no_lag() -> None:
    gone = a_member("b", state="stopped")
    found = members(a_view(cluster=a_cluster(a_member("a"), gone)))["b"]
    assert (found["state"], found["lag"], found["lsn"]) == ("stopped", "unknown", "unknown")


def test_nobody_lags_less_than_nothing() -> None:
    ahead = a_member("b", lsn=Lsn(LSN + 1000))
    assert members(a_view(cluster=a_cluster(a_member("a"), ahead)))["b"]["lag"] == 0


@pytest.mark.parametrize(("mode", "role"), [("on", "sync_standby"), ("quorum", "quorum_standby")])
def test_the_cluster_tells_for_whom_commits_wait(mode: str, role: str) -> None:
    view = a_view(cluster=a_cluster(sync=a_sync_cluster()), settings=some_settings(synchronous_mode=mode))
    found = members(view)
    assert (found["a"]["role"], found["b"]["role"], found["c"]["role"]) == ("leader", role, "replica")


def test_the_cluster_tells_pause_tags_restarts_and_a_scheduled_switchover() -> None:
    reason = {"max_connections": {"old_value": "100", "new_value": "101"}}
    schedule = {"schedule": "2026-01-01T00:00:00+00:00"}
    member = a_member("b", tags={"clonefrom": True}, pending_restart=reason, scheduled_restart=schedule)
    planned = FailoverKey(Revision(9), "a", None, "2026-01-01T00:00:00+00:00")
    view = a_view(cluster=a_cluster(a_member("a"), member, failover=planned), settings=some_settings(pause=True))
    body = answers.cluster(view).body
    assert isinstance(body, dict)
    assert body["pause"] is True
    assert body["scheduled_switchover"] == {"at": "2026-01-01T00:00:00+00:00", "from": "a"}
    found = members(view)["b"]
    assert found["tags"] == {"clonefrom": True}
    assert (found["pending_restart"], found["pending_restart_reason"]) == (True, reason)
    assert found["scheduled_restart"] == schedule


def test_the_cluster_is_answered_from_memory_while_etcd_is_silent() -> None:
    view = a_view(cluster=a_silent_dcs())
    assert set(members(view)) == {"a", "b", "c"}
    assert answers.config(view).status == 200


def test_a_cluster_never_read_is_not_made_up() -> None:
    view = a_view(cluster=replace(a_silent_dcs(), snapshot=None))
    assert answers.cluster(view).status == 503
    assert answers.config(view).status == 502
    assert answers.history(view).body == []


def test_the_history_has_as_many_fields_as_are_known() -> None:
    lines = (
        HistoryLine(Timeline(1), Lsn(25623960), "no recovery target specified", "2026-01-01T00:00:00+00:00", "b"),
        HistoryLine(Timeline(2), Lsn(25624344), "no recovery target specified"),
    )
    assert answers.history(a_view(cluster=a_cluster(history=lines))).body == [
        [1, 25623960, "no recovery target specified", "2026-01-01T00:00:00+00:00", "b"],
        [2, 25624344, "no recovery target specified"],
    ]


def test_the_configuration_is_answered_as_stored() -> None:
    document = {"ttl": 30, "slots": {"x": None}}
    stored = a_view(cluster=a_cluster(config=ConfigKey(Revision(3), document)))
    assert answers.config(stored).body == document
    assert answers.config(a_view(cluster=a_cluster(config=None))).status == 502


def test_failsafe_is_502_unless_it_is_on() -> None:
    urls = {"a": "http://10.0.0.1:8008/patroni"}
    cluster = a_cluster(failsafe=urls)
    assert answers.failsafe(a_view(cluster=cluster)).status == 502
    on = answers.failsafe(a_view(cluster=cluster, settings=some_settings(failsafe_mode=True)))
    assert (on.status, on.body) == (200, urls)


def test_lag_needs_only_the_published_position() -> None:
    """The status key outlives the leader, so that reads go on while a new one is elected."""
    leaderless = a_view(cluster=a_cluster(leader=None, status=Status(LSN)))
    assert holds("replica", leaderless, lag="1MB")
