"""Which failure an error of etcd is, and what mends it."""

from __future__ import annotations

import re

import pytest

from haagent.dcs import errors
from haagent.dcs.kv import Denied
from haagent.ports import PortError, Refused, Unknown, Unreachable


@pytest.mark.parametrize(
    ("text", "status", "kind"),
    [
        ("etcdserver: requested lease not found", 404, Refused),
        ("etcdserver: request timed out", 503, Unknown),
        ("etcdserver: request timed out, possibly due to previous leader failure", 503, Unknown),
        ("etcdserver: leader changed", 503, Unknown),
        ("etcdserver: server stopped", 503, Unknown),
        ("context canceled", 408, Unknown),
        ("something new", 500, Unknown),
        ("upstream connect error", 503, Unknown),
        ("etcdserver: no leader", 503, Unreachable),
        ("etcdserver: too many requests", 429, Unreachable),
        ("etcdserver: mvcc: database space exceeded", 429, Denied),
        ("etcdserver: corrupt cluster", 500, Unreachable),
        ("etcdserver: permission denied", 403, Denied),
        ("etcdserver: invalid auth token", 401, Denied),
        ("Not Found", 404, Denied),
        ("CommonName of client sending a request against gateway will be ignored", 400, Denied),
    ],
)
def test_only_what_surely_did_not_happen_is_called_so(text: str, status: int, kind: type[PortError]) -> None:
    assert errors.failure(text, status) is kind


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("etcdserver: mvcc: database space exceeded", "alarm NOSPACE.*etcdctl alarm disarm"),
        ("etcdserver: permission denied", "etcdctl role grant-permission"),
        ("etcdserver: authentication failed, invalid user ID or password", "etcd3.password"),
        ("Not Found\n", "enable-grpc-gateway"),
        ("CommonName of client sending a request against gateway will be ignored", "without a CN"),
    ],
)
def test_the_operator_is_told_what_to_do(text: str, advice: str) -> None:
    assert re.search(advice, errors.explained(text))


def test_an_unknown_error_is_shown_on_one_line() -> None:
    assert errors.explained("some\n thing") == "some thing"
