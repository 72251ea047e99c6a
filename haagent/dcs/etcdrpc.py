"""etcd's gRPC messages and stubs, as far as haagent speaks them, made at import for the protobuf that is installed.

Stands in for ``etcd3.etcdrpc``, whose generated code no current protobuf can load. Field numbers are those of etcd's
``rpc.proto``, ``kv.proto`` and ``auth.proto`` (3.4); what is left out is skipped on the wire, as protobuf has it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import Message

_PACKAGE = "etcdserverpb"

_ENUMS = {
    "CompareResult": ("EQUAL", "GREATER", "LESS", "NOT_EQUAL"),
    "CompareTarget": ("VERSION", "CREATE", "MOD", "VALUE", "LEASE"),
    "EventType": ("PUT", "DELETE"),
}
"""Their values count from 0."""

_MESSAGES = {
    "ResponseHeader": "1 uint64 cluster_id, 2 uint64 member_id, 3 int64 revision, 4 uint64 raft_term",
    "KeyValue": "1 bytes key, 2 int64 create_revision, 3 int64 mod_revision, 4 int64 version, 5 bytes value, "
    "6 int64 lease",
    "Event": "1 EventType type, 2 KeyValue kv",
    "RangeRequest": "1 bytes key, 2 bytes range_end",
    "RangeResponse": "1 ResponseHeader header, 2 KeyValue* kvs",
    "PutRequest": "1 bytes key, 2 bytes value, 3 int64 lease",
    "DeleteRangeRequest": "1 bytes key, 2 bytes range_end",
    "Compare": "1 CompareResult result, 2 CompareTarget target, 3 bytes key, 4 int64| version, "
    "5 int64| create_revision, 6 int64| mod_revision, 7 bytes| value, 8 int64| lease",
    "RequestOp": "1 RangeRequest| request_range, 2 PutRequest| request_put, 3 DeleteRangeRequest| request_delete_range",
    "ResponseOp": "1 RangeResponse| response_range",
    "TxnRequest": "1 Compare* compare, 2 RequestOp* success, 3 RequestOp* failure",
    "TxnResponse": "1 ResponseHeader header, 2 bool succeeded, 3 ResponseOp* responses",
    "WatchCreateRequest": "1 bytes key, 2 bytes range_end, 3 int64 start_revision, 4 bool progress_notify",
    "WatchRequest": "1 WatchCreateRequest| create_request",
    "WatchResponse": "1 ResponseHeader header, 3 bool created, 4 bool canceled, 5 int64 compact_revision, "
    "6 string cancel_reason, 11 Event* events",
    "LeaseGrantRequest": "1 int64 TTL, 2 int64 ID",
    "LeaseGrantResponse": "1 ResponseHeader header, 2 int64 ID, 3 int64 TTL",
    "LeaseRevokeRequest": "1 int64 ID",
    "LeaseRevokeResponse": "1 ResponseHeader header",
    "LeaseKeepAliveRequest": "1 int64 ID",
    "LeaseKeepAliveResponse": "1 ResponseHeader header, 2 int64 ID, 3 int64 TTL",
    "LeaseTimeToLiveRequest": "1 int64 ID",
    "LeaseTimeToLiveResponse": "1 ResponseHeader header, 2 int64 ID, 3 int64 TTL, 4 int64 grantedTTL",
    "Member": "1 uint64 ID, 2 string name, 3 string* peerURLs, 4 string* clientURLs, 5 bool isLearner",
    "MemberListRequest": "",
    "MemberListResponse": "1 ResponseHeader header, 2 Member* members",
    "StatusRequest": "",
    "StatusResponse": "1 ResponseHeader header, 2 string version, 3 int64 dbSize, 4 uint64 leader, 8 string* errors",
    "AlarmRequest": "",
    "AlarmMember": "1 uint64 memberID, 2 int32 alarm",
    "AlarmResponse": "1 ResponseHeader header, 2 AlarmMember* alarms",
    "AuthenticateRequest": "1 string name, 2 string password",
    "AuthenticateResponse": "1 ResponseHeader header, 2 string token",
}
"""``NUMBER TYPE NAME``; ``*`` marks what is repeated, ``|`` the choices of the message's one union."""

_FIELD = descriptor_pb2.FieldDescriptorProto


def _pool() -> descriptor_pool.DescriptorPool:
    file = descriptor_pb2.FileDescriptorProto(name="haagent/etcdrpc.proto", package=_PACKAGE, syntax="proto3")
    for name, text in _MESSAGES.items():
        message = file.message_type.add(name=name)
        if "|" in text:
            message.oneof_decl.add(name="choice")
        for part in filter(None, text.split(", ")):
            number, kind, field_name = part.split(" ")
            field = message.field.add(name=field_name, number=int(number), label=_FIELD.LABEL_OPTIONAL)
            if kind.endswith("*"):
                field.label = _FIELD.LABEL_REPEATED
            if kind.endswith("|"):
                field.oneof_index = 0
            _type(field, kind.rstrip("*|"))
    for name, values in _ENUMS.items():
        # Values of an enum are names of their scope: one scope for each, as PUT and LEASE would else clash.
        scope = next((one for one in file.message_type if name.startswith(one.name)), None)
        enum = (scope or file).enum_type.add(name=name)
        for position, value in enumerate(values):
            enum.value.add(name=value, number=position)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return pool


def _type(field: descriptor_pb2.FieldDescriptorProto, kind: str) -> None:
    if kind in _ENUMS:
        scope = "Event" if kind.startswith("Event") else "Compare"
        field.type, field.type_name = _FIELD.TYPE_ENUM, f".{_PACKAGE}.{scope}.{kind}"
    elif kind in _MESSAGES:
        field.type, field.type_name = _FIELD.TYPE_MESSAGE, f".{_PACKAGE}.{kind}"
    else:
        field.type = getattr(_FIELD, f"TYPE_{kind.upper()}")


def _classes() -> dict[str, type[Message]]:
    pool = _pool()
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}")) for name in _MESSAGES
    }


_CLASSES = _classes()
Compare = _CLASSES["Compare"]
"""Looked at by ``etcd3.transactions`` when it is imported."""


@dataclass(frozen=True, slots=True)
class Method:
    """A gRPC method; of a streaming one a single request is sent, after which the client's side is closed."""

    path: str
    request: type[Message]
    reply: type[Message]
    streams: bool = False

    def single(self, channel: Any) -> Any:
        """To be called for one answer, the first one of a stream."""
        return channel.unary_unary(self.path, self.request.SerializeToString, self.reply.FromString)

    def many(self, channel: Any) -> Any:
        """To be called for all answers."""
        return channel.unary_stream(self.path, self.request.SerializeToString, self.reply.FromString)


def _method(service: str, name: str, kind: str = "", streams: bool = False) -> Method:
    kind = kind or name
    request, reply = _CLASSES[f"{kind}Request"], _CLASSES[f"{kind}Response"]
    return Method(f"/{_PACKAGE}.{service}/{name}", request, reply, streams)


METHODS = {
    "/v3/kv/range": _method("KV", "Range"),
    "/v3/kv/txn": _method("KV", "Txn"),
    "/v3/lease/grant": _method("Lease", "LeaseGrant"),
    "/v3/lease/revoke": _method("Lease", "LeaseRevoke"),
    "/v3/lease/keepalive": _method("Lease", "LeaseKeepAlive", streams=True),
    "/v3/lease/timetolive": _method("Lease", "LeaseTimeToLive"),
    "/v3/watch": _method("Watch", "Watch", streams=True),
    "/v3/cluster/member/list": _method("Cluster", "MemberList"),
    "/v3/maintenance/status": _method("Maintenance", "Status"),
    "/v3/maintenance/alarm": _method("Maintenance", "Alarm"),
    "/v3/auth/authenticate": _method("Auth", "Authenticate"),
}
"""By the path that the JSON gateway gives each."""


class _Stub:
    """``etcd3.client`` makes its stubs when it opens a channel; haagent calls the ``METHODS`` on that channel."""

    def __init__(self, channel: Any) -> None:
        self.channel = channel


KVStub = WatchStub = ClusterStub = LeaseStub = MaintenanceStub = AuthStub = _Stub
