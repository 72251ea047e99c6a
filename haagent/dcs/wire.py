"""The JSON of etcd's v3 gateway, to and from what is asked and answered; pure.

Source: etcd's "gRPC gateway" page and rpc.proto. 64-bit integers are texts, a field with its default value is absent,
keys and values are base64, a stream is one object a line with ``result`` or ``error``.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from haagent.dcs.kv import Batch, Compacted, Compare, Grant, KeyEvent, KeyValue, Put, RangeReply, TxnReply, Write
from haagent.ports import Unreachable

Json = Mapping[str, Any]

LINE_MOST = 64 * 1024 * 1024
"""Bytes of one message of a stream beyond which it is given up."""


@dataclass(frozen=True, slots=True)
class Members:
    """The client URLs of a cluster's members by their numbers, as told by the member ``member_id`` of it.

    Members that have not started yet and ones that only learn are left out.
    """

    cluster_id: int
    member_id: int
    urls: Mapping[int, tuple[str, ...]]


# --- asking ---


def range_body(key: str, *, prefix: bool) -> Json:
    return {"key": _b64(key), "range_end": _range_end(key)} if prefix else {"key": _b64(key)}


def txn_body(when: Sequence[Compare], then: Sequence[Write], read_back: Sequence[str]) -> Json:
    return {
        "compare": [
            {"key": _b64(one.key), "target": one.target.name, one.target.value: str(one.number)} for one in when
        ],
        "success": [_write(one) for one in then],
        "failure": [{"request_range": {"key": _b64(key)}} for key in read_back],
    }


def watch_body(prefix: str, start: int) -> Json:
    span = range_body(prefix, prefix=True)
    return {"create_request": {**span, "start_revision": str(start), "progress_notify": True}}


def _write(write: Write) -> Json:
    if not isinstance(write, Put):
        return {"request_delete_range": {"key": _b64(write.key)}}
    put = {"key": _b64(write.key), "value": _b64(write.value)}
    return {"request_put": put | ({"lease": str(write.lease)} if write.lease else {})}


def _range_end(prefix: str) -> str:
    """The first key after all that begin with the prefix; UTF-8 has no byte 0xff, so its last one can be raised."""
    key = prefix.encode()
    return _b64(key[:-1] + bytes([key[-1] + 1])) if key else _b64(b"\0")


def _b64(text: str | bytes) -> str:
    return base64.b64encode(text.encode() if isinstance(text, str) else text).decode()


# --- answers ---


def range_reply(raw: Json) -> RangeReply:
    revision, raft_term = _header(raw)
    return RangeReply(revision, raft_term, tuple(_key_value(kv) for kv in raw.get("kvs", ())))


def txn_reply(raw: Json) -> TxnReply:
    revision, raft_term = _header(raw)
    if raw.get("succeeded", False):
        return TxnReply(True, revision, raft_term)
    ranges = (response.get("response_range", {}) for response in raw.get("responses", ()))
    return TxnReply(False, revision, raft_term, tuple(_key_value(kv) for one in ranges for kv in one.get("kvs", ())))


def grant(raw: Json) -> Grant:
    return Grant(int(raw["ID"]), float(raw["TTL"]))


def keepalive_ttl(raw: Json) -> float:
    """Seconds left; a dead lease has no TTL."""
    return float(_result(raw).get("TTL", 0))


def granted_ttl(raw: Json) -> float | None:
    """What was granted; None for a dead lease, whose TTL is -1 or absent."""
    return float(raw.get("grantedTTL", 0)) if float(raw.get("TTL", 0)) > 0 else None


def members(raw: Json) -> Members:
    header = raw["header"]
    urls = {
        int(one["ID"]): tuple(map(str, one["clientURLs"]))
        for one in raw["members"]
        if one.get("clientURLs") and not one.get("isLearner", False)
    }
    return Members(int(header["cluster_id"]), int(header["member_id"]), urls)


def batch(raw: Json) -> Batch:
    """A message of a watch; Compacted or Unreachable when it says that the watch is over."""
    result = _result(raw)
    if int(result.get("compact_revision", 0)):
        raise Compacted(f"etcd keeps history from revision {result['compact_revision']} on only")
    if result.get("canceled", False):
        raise Unreachable(f"etcd cancelled the watch: {result.get('cancel_reason') or 'no reason given'}")
    events = tuple(_event(event) for event in result.get("events", ()))
    if events:
        return Batch(events[-1].kv.mod_revision, events)
    return Batch(0 if result.get("created", False) else _header(result)[0])


def error_text(raw: Any) -> str | None:
    """The error that an answer carries, of whatever status; None when it carries none."""
    error = raw.get("error") if isinstance(raw, dict) else None
    if isinstance(error, dict):
        error = error.get("message") or error.get("error") or json.dumps(error)
    return None if error is None else str(error)


class Lines:
    """Cuts a stream's chunks, which end anywhere, into its messages."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, chunk: bytes) -> Iterator[Json]:
        """The messages that are now whole; ValueError when one is no JSON object."""
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        if len(self._rest) > LINE_MOST:
            raise ValueError(f"a message of more than {LINE_MOST} bytes")
        for line in lines:
            if line.strip():
                yield as_object(line)


def as_object(text: str | bytes) -> Json:
    """A JSON object; ValueError when it is none."""
    raw = json.loads(text)
    if not isinstance(raw, dict):
        raise ValueError(f"not a JSON object: {text[:100]!r}")
    return raw


def as_it_is(raw: Json) -> Json:
    """An answer of which its reader takes what it finds."""
    return raw


def _result(raw: Json) -> Json:
    result: Json = raw["result"]
    return result


def _header(raw: Json) -> tuple[int, int]:
    header = raw["header"]
    return int(header["revision"]), int(header["raft_term"])


def _event(raw: Json) -> KeyEvent:
    return KeyEvent(_key_value(raw["kv"]), raw.get("type") == "DELETE")


def _key_value(raw: Json) -> KeyValue:
    return KeyValue(
        key=base64.b64decode(raw["key"]).decode(errors="replace"),
        value=base64.b64decode(raw.get("value", "")),
        create_revision=int(raw.get("create_revision", 0)),
        mod_revision=int(raw.get("mod_revision", 0)),
        lease=int(raw.get("lease", 0)),
    )
