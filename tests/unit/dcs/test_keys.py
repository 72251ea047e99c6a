"""The codec: what is written is read back the same, and what others wrote never breaks a snapshot."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haagent.core.facts import FailoverKey, HistoryLine, LeaderKey, Member, Snapshot, Status, SyncKey
from haagent.core.terms import LeaseId, Lsn, Revision, Term, Timeline
from haagent.dcs import keys
from haagent.dcs.kv import KeyValue, RangeReply

PREFIX = "/service/demo/"

lsns = st.integers(0, 2**64 - 1).map(Lsn)
texts = st.text(min_size=1, max_size=20)
scalars = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.text(max_size=10)
documents = st.dictionaries(texts, scalars | st.lists(scalars, max_size=3), max_size=4)
filled = st.dictionaries(texts, scalars, min_size=1, max_size=4)
known = set(json.loads(keys.member_value(Member("x")))) | {
    "conn_url", "api_url", "state", "role", "version", keys.OWN_VERSION, "checkpoint_after_promote", "tags", "pause",
    "pending_restart", "pending_restart_reason", "xlog_location", "receive_lsn", "replay_lsn", "replication_state",
    "timeline", "scheduled_restart",
}  # fmt: skip
members = st.builds(
    Member,
    name=st.from_regex(r"[a-z][a-z0-9._-]{0,8}", fullmatch=True),
    conn_url=st.just("") | texts,
    api_url=st.just("") | texts,
    state=st.just("") | texts,
    role=st.just("") | texts,
    version=st.just("") | texts,
    timeline=st.none() | st.integers(0, 2**32).map(Timeline),
    lsn=st.none() | lsns,
    receive_lsn=st.none() | lsns,
    replay_lsn=st.none() | lsns,
    replication_state=st.none() | texts,
    tags=documents,
    pending_restart=st.none() | st.just({}) | filled,
    checkpoint_after_promote=st.none() | st.booleans(),
    pause=st.booleans(),
    scheduled_restart=st.none() | documents,
    extra=st.dictionaries(texts.filter(lambda name: name not in known), scalars, max_size=3),
)


def kv(name: str, value: bytes | str, *, mod: int = 7, create: int = 5, lease: int = 0) -> KeyValue:
    """A key of the cluster under test."""
    return KeyValue(PREFIX + name, value.encode() if isinstance(value, str) else value, create, mod, lease)


def read(*kvs: KeyValue) -> Snapshot:
    return keys.snapshot(RangeReply(9, 2, kvs), PREFIX)


@given(members)
def test_a_member_is_read_as_it_was_written(member: Member) -> None:
    assert keys.member(member.name, keys.member_value(member)) == member


def test_a_member_on_the_wire() -> None:
    member = Member(
        "a",
        conn_url="postgres://10.0.0.1:5432/postgres",
        api_url="http://10.0.0.1:8008/patroni",
        state="running",
        role="primary",
        version="0.1.0",
        timeline=Timeline(2),
        lsn=Lsn.parse("0/5000060"),
        tags={"clonefrom": True},
        pending_restart={"max_connections": {"old_value": "100", "new_value": "200"}},
        checkpoint_after_promote=False,
        pause=True,
    )
    assert json.loads(keys.member_value(member)) == {
        "conn_url": "postgres://10.0.0.1:5432/postgres",
        "api_url": "http://10.0.0.1:8008/patroni",
        "state": "running",
        "role": "primary",
        "version": "4.1.5",
        "haagent_version": "0.1.0",
        "timeline": 2,
        "xlog_location": 83886176,
        "tags": {"clonefrom": True},
        "pending_restart": True,
        "pending_restart_reason": {"max_connections": {"old_value": "100", "new_value": "200"}},
        "checkpoint_after_promote": False,
        "pause": True,
    }
    assert b" " not in keys.member_value(replace(member, pending_restart=None))


def test_fields_that_do_not_apply_are_left_out() -> None:
    assert keys.member_value(Member("a", state="stopped")) == b'{"state":"stopped"}'


def test_what_a_patroni_member_says_is_kept() -> None:
    wire = b'{"state":"running","role":"replica","version":"4.1.0","proxy_url":"postgres://p","xlog_location":1}'
    member = keys.member("b", wire)
    assert (member.version, member.lsn, member.extra) == ("4.1.0", Lsn(1), {"proxy_url": "postgres://p"})


def test_a_member_is_patroni_s_that_tells_a_version_and_not_one_of_haagent() -> None:
    assert keys.member("b", b'{"version":"4.1.0"}').patroni
    assert not keys.member("b", b'{"version":"4.1.5","haagent_version":"0.1.0"}').patroni
    assert not keys.member("b", b"{}").patroni


@pytest.mark.parametrize(
    ("field", "value"),
    [("xlog_location", "12"), ("xlog_location", True), ("xlog_location", -1), ("timeline", 1.5), ("state", ["x"]),
     ("tags", "none"), ("pause", "yes"), ("scheduled_restart", 3), ("pending_restart_reason", [])],
)  # fmt: skip
def test_a_broken_field_hides_no_other(field: str, value: Any) -> None:
    wire = json.dumps({"role": "replica", field: value}).encode()
    assert keys.member("b", wire) == Member("b", role="replica")


NAMES = ["leader", "members/a", "initialize", "config", "sync", "status", "history", "failover", "failsafe",
         "haagent_released", "members/", "members/a/b", "what", ""]  # fmt: skip


@given(st.dictionaries(st.sampled_from(NAMES), st.binary(max_size=30) | documents.map(keys.compact), max_size=8))
def test_garbage_never_breaks_a_snapshot(values: dict[str, bytes]) -> None:
    good = kv("members/z", keys.member_value(Member("z", state="running")))
    snapshot = read(*(kv(name, value) for name, value in values.items()), good)
    assert snapshot.member("z") == Member("z", state="running")
    assert [member.name for member in snapshot.members] == (["a", "z"] if "members/a" in values else ["z"])


def test_deeply_nested_json_is_garbage() -> None:
    assert read(kv("config", "[" * 100_000), kv("members/a", "{" * 100_000)).config is None


def test_all_keys_of_a_cluster() -> None:
    snapshot = read(
        kv("leader", "a", create=3, mod=8, lease=99),
        kv("initialize", "7268616322854375442", mod=4),
        kv("config", '{"ttl":10}'),
        kv("sync", '{"leader":"a","quorum":1,"sync_standby":"c,b"}'),
        kv("status", '{"optime":5,"slots":{"b":4,"x":"?"},"retain_slots":["b"]}'),
        kv("history", '[[1,16,"no recovery target specified","2026-01-01T00:00:00+00:00","a"],["?"],[2,17,"r"]]'),
        kv("failover", '{"leader":"a","member":"b","scheduled_at":"2026-01-01T00:00:00+00:00"}'),
        kv("failsafe", '{"a":"http://a","b":1}'),
        kv("haagent_released", "3"),
        kv("haagent_timeline", "6", mod=5),
    )
    assert snapshot.leader == LeaderKey("a", Term(3), Revision(8), LeaseId(99))
    assert (snapshot.initialize, snapshot.initialize_revision) == ("7268616322854375442", 4)
    assert snapshot.config is not None
    assert snapshot.config.document == {"ttl": 10}
    assert snapshot.sync == SyncKey(Revision(7), "a", 1, ("b", "c"))
    assert snapshot.status == Status(Lsn(5), {"b": Lsn(4)}, ("b",))
    assert snapshot.history == (
        HistoryLine(Timeline(1), Lsn(16), "no recovery target specified", "2026-01-01T00:00:00+00:00", "a"),
        HistoryLine(Timeline(2), Lsn(17), "r"),
    )
    at = "2026-01-01T00:00:00+00:00"
    assert snapshot.failover == FailoverKey(Revision(7), "a", "b", at, datetime.fromisoformat(at).timestamp())
    assert snapshot.failsafe == {"a": "http://a"}
    assert snapshot.released == 3
    assert (snapshot.claimed, snapshot.claimed_revision) == (Timeline(6), 5)
    assert read(kv("haagent_timeline", "six", mod=5)).claimed is None


def test_no_keys_at_all() -> None:
    assert read() == Snapshot(Revision(9))


def test_an_empty_initialize_is_not_an_absent_one() -> None:
    assert read(kv("initialize", "")).initialize == ""


@pytest.mark.parametrize("at", ["2026-01-01T00:00:00", "tomorrow", 17, "9999-99-99T00:00:00Z", ""])
def test_a_request_whose_time_is_unreadable_asks_for_nothing(at: Any) -> None:
    request = read(kv("failover", json.dumps({"leader": "a", "member": "b", "scheduled_at": at}))).failover
    assert request is not None
    assert request.empty
    assert request.scheduled_epoch is None


def test_a_request_done_with() -> None:
    request = read(kv("failover", keys.failover_value(None, None, None))).failover
    assert keys.failover_value(None, None, None) == b"{}"
    assert request == FailoverKey(Revision(7))


def test_zones_count() -> None:
    assert keys.epoch_of("1970-01-01T01:00:00+01:00") == 0.0
    assert keys.epoch_of("1970-01-01T00:00:10Z") == 10.0


@given(st.none() | texts, st.integers(0, 9), st.sets(st.from_regex(r"[a-z]{1,4}", fullmatch=True)))
def test_sync_is_read_as_it_was_written(leader: str | None, quorum: int, standbys: set[str]) -> None:
    value = keys.sync_value(leader, quorum, sorted(standbys))
    assert keys.sync_key(kv("sync", value)) == SyncKey(Revision(7), leader, quorum, tuple(sorted(standbys)))


def test_sync_on_the_wire() -> None:
    assert keys.sync_value("a", 0, []) == b'{"leader":"a","quorum":0,"sync_standby":null}'
    assert keys.sync_value("a", 1, ["c", "b"]) == b'{"leader":"a","quorum":1,"sync_standby":"b,c"}'


@given(lsns, st.dictionaries(texts, lsns), st.lists(texts))
def test_status_is_read_as_it_was_written(optime: Lsn, slots: dict[str, Lsn], retain: list[str]) -> None:
    assert keys.status(keys.status_value(optime, slots, retain)) == Status(optime, slots, tuple(retain))


@given(
    st.lists(
        st.builds(
            HistoryLine,
            timeline=st.integers(1, 2**31).map(Timeline),
            lsn=lsns,
            reason=st.text(),
            at=st.none() | texts,
            new_leader=st.none() | texts,
        )
    )
)
def test_history_is_read_as_it_was_written(lines: list[HistoryLine]) -> None:
    assert keys.history(keys.history_value(lines)) == tuple(lines)
