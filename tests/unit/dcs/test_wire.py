"""The gateway's JSON: texts for integers, absent defaults, streams cut anywhere, errors inside a good status."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haagent.dcs import wire
from haagent.dcs.kv import Batch, Compacted, Compare, Delete, KeyEvent, KeyValue, Put, RangeReply, Target, TxnReply
from haagent.ports import Unreachable

HEADER = {"cluster_id": "1", "member_id": "2", "revision": "44", "raft_term": "3"}


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@given(st.lists(st.dictionaries(st.text(max_size=3), st.text(max_size=5), max_size=2), max_size=5), st.data())
def test_a_stream_may_be_cut_anywhere(messages: list[dict[str, str]], data: st.DataObject) -> None:
    stream = b"".join(json.dumps(message).encode() + b"\n" for message in messages)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    lines = wire.Lines()
    heard: list[Any] = []
    for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        heard += lines.feed(stream[begin:end])
    assert heard == messages


def test_absent_fields_have_their_defaults() -> None:
    assert wire.range_reply({"header": HEADER}) == RangeReply(44, 3)
    assert wire.txn_reply({"header": HEADER}) == TxnReply(False, 44, 3)
    raw = {"key": b64("k"), "create_revision": "9007199254740993", "mod_revision": "9007199254740995", "version": "1"}
    [found] = wire.range_reply({"header": HEADER, "kvs": [raw], "count": "1"}).kvs
    assert found == KeyValue("k", b"", 9007199254740993, 9007199254740995)


def test_a_transaction() -> None:
    body = wire.txn_body(
        [Compare("k", Target.CREATE, 0), Compare("k", Target.LEASE, 7)], [Put("k", b"v", 7), Delete("d")], ["k"]
    )
    assert body == {
        "compare": [
            {"key": b64("k"), "target": "CREATE", "create_revision": "0"},
            {"key": b64("k"), "target": "LEASE", "lease": "7"},
        ],
        "success": [
            {"request_put": {"key": b64("k"), "value": b64("v"), "lease": "7"}},
            {"request_delete_range": {"key": b64("d")}},
        ],
        "failure": [{"request_range": {"key": b64("k")}}],
    }


def test_a_prefix_ends_after_all_that_begin_with_it() -> None:
    assert wire.range_body("/a/", prefix=True)["range_end"] == b64("/a0")
    assert "range_end" not in wire.range_body("/a/", prefix=False)


@pytest.mark.parametrize(
    ("raw", "ttl"),
    [({"result": {"ID": "7", "TTL": "10"}}, 10), ({"result": {"ID": "7"}}, 0), ({"result": {"TTL": "-1"}}, -1)],
)
def test_a_keepalive(raw: wire.Json, ttl: float) -> None:
    assert wire.keepalive_ttl(raw) == ttl


def test_what_a_lease_was_granted() -> None:
    assert wire.granted_ttl({"ID": "7", "TTL": "3", "grantedTTL": "10"}) == 10
    assert wire.granted_ttl({"ID": "7", "TTL": "-1"}) is None
    assert wire.granted_ttl({"ID": "7"}) is None


def test_messages_of_a_watch() -> None:
    put = {"kv": {"key": b64("k"), "value": b64("v"), "create_revision": "5", "mod_revision": "5", "lease": "7"}}
    gone = {"type": "DELETE", "kv": {"key": b64("k"), "mod_revision": "6"}}
    heard = wire.batch({"result": {"header": HEADER, "events": [put, gone]}})
    assert heard == Batch(6, (KeyEvent(KeyValue("k", b"v", 5, 5, 7)), KeyEvent(KeyValue("k", b"", 0, 6), deleted=True)))
    assert wire.batch({"result": {"header": HEADER}}) == Batch(44)


def test_the_word_that_a_watch_began_is_no_progress() -> None:
    assert wire.batch({"result": {"header": HEADER, "created": True}}) == Batch(0)


def test_a_cancelled_watch_is_over() -> None:
    with pytest.raises(Compacted):
        wire.batch({"result": {"header": HEADER, "canceled": True, "compact_revision": "40"}})
    with pytest.raises(Unreachable, match="permission denied"):
        wire.batch({"result": {"header": HEADER, "canceled": True, "cancel_reason": "permission denied"}})


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ({"error": "etcdserver: no leader", "code": 14}, "etcdserver: no leader"),
        ({"error": {"grpc_code": 14, "message": "etcdserver: no leader"}}, "etcdserver: no leader"),
        ({"header": HEADER}, None),
        ([], None),
    ],
)
def test_errors_whatever_their_form(raw: Any, text: str | None) -> None:
    assert wire.error_text(raw) == text


@pytest.mark.parametrize("text", ["[]", "Not Found", "", "3"])
def test_what_is_no_object_is_no_answer(text: str) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        wire.as_object(text)
