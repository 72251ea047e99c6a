"""What etcd's error texts mean: which of the three failures it is, and the command that mends it; pure.

Source: the texts of etcd's rpctypes (3.4 to 3.6) and what its gateway was seen to answer.
"""

from __future__ import annotations

from haagent.dcs.kv import Denied
from haagent.ports import PortError, Refused, Unknown, Unreachable

_LOGIN = ("invalid auth token", "user name is empty", "revision of auth store is old")
_LEASE_DEAD = ("requested lease not found",)
_IN_DOUBT = (
    "request timed out",
    "leader changed",
    "server stopped",
    "context deadline exceeded",
    "context canceled",
    "transport is closing",
    "error reading from server",
)
"""The proposal may have been on its way when this was said."""
_TURNED_AWAY = ("no leader", "unhealthy cluster", "corrupt cluster", "not capable", "too many requests", "not ready")
"""Said before anything was proposed, and soon over."""

_ADVICE = {
    "database space exceeded": "alarm NOSPACE: etcd takes no writes until space is freed: "
    "etcdctl compact REVISION; etcdctl defrag; etcdctl alarm disarm",
    "corrupt cluster": "alarm CORRUPT: a member's data differs: etcdctl alarm list, then replace that member",
    "permission denied": "the etcd user lacks a right: "
    "etcdctl role grant-permission ROLE readwrite --prefix=true NAMESPACE",
    "authentication failed": "check etcd3.username and etcd3.password",
    "user name is empty": "etcd asks for a user: set etcd3.username and etcd3.password",
    "CommonName of client": "with auth on, etcd's JSON gateway takes only client certificates without a CN: "
    "use such a one, or set etcd3.transport: grpc",
    "Not Found": "is it etcd 3.4 or later, with --enable-grpc-gateway? Else set etcd3.transport: grpc",
}


def wants_login(text: str) -> bool:
    """Whether the token was the trouble: a new login may help."""
    return any(part in text for part in _LOGIN)


def failure(text: str, status: int) -> type[PortError]:
    """Which failure an error of this text and HTTP status is."""
    if any(part in text for part in _LEASE_DEAD):
        return Refused
    if any(part in text for part in _IN_DOUBT):
        return Unknown
    if any(part in text for part in _TURNED_AWAY):
        return Unreachable
    return Denied if 400 <= status < 500 else Unknown


def explained(text: str) -> str:
    """The text, on one line, and what to do about it where that is known."""
    said = " ".join(text.split())[:300]
    advice = next((advice for part, advice in _ADVICE.items() if part in text), None)
    return said if advice is None else f"{said} ({advice})"
