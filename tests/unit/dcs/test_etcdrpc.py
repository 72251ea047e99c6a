"""gRPC's messages: what the JSON gateway's bodies become on the wire, and what comes back."""

from __future__ import annotations

import pytest
from google.protobuf import json_format

from haagent.dcs import wire
from haagent.dcs.etcdrpc import METHODS
from haagent.dcs.kv import Compare, Delete, KeyValue, Put, Target


def test_a_transaction_is_as_etcd_has_it_on_the_wire() -> None:
    """Field numbers 1 to 8 of ``Compare``: also a comparison with 0 is sent, as absent keys are meant by it."""
    body = wire.txn_body([Compare("k", Target.CREATE, 0)], [Put("k", b"v", 9), Delete("d")], ["k"])
    sent = json_format.ParseDict(dict(body), METHODS["/v3/kv/txn"].request()).SerializeToString()
    compare = b"\x0a\x07" + b"\x10\x01" + b"\x1a\x01k" + b"\x28\x00"
    put = b"\x12\x0a" + b"\x12\x08" + b"\x0a\x01k" + b"\x12\x01v" + b"\x18\x09"
    delete = b"\x12\x05" + b"\x1a\x03" + b"\x0a\x01d"
    back = b"\x1a\x05" + b"\x0a\x03" + b"\x0a\x01k"
    assert sent == compare + put + delete + back


def test_an_answer_reads_as_that_of_the_gateway() -> None:
    method = METHODS["/v3/kv/range"]
    header = b"\x0a\x06" + b"\x08\x07" + b"\x18\x64" + b"\x20\x02"
    kv = b"\x12\x0d" + b"\x0a\x01k" + b"\x10\x05" + b"\x18\x06" + b"\x2a\x01v" + b"\x30\x09" + b""
    reply = method.reply.FromString(header + kv[:1] + bytes([len(kv) - 2]) + kv[2:])
    raw = json_format.MessageToDict(reply, preserving_proto_field_name=True)
    assert wire.range_reply(raw).revision == 100
    assert wire.range_reply(raw).kvs == (KeyValue("k", b"v", 5, 6, 9),)


@pytest.mark.parametrize("path", METHODS)
def test_every_method_is_named_as_in_etcds_services(path: str) -> None:
    assert METHODS[path].path.startswith("/etcdserverpb.")
    assert METHODS[path].streams == (path in {"/v3/watch", "/v3/lease/keepalive"})
