"""Whatever a client sends, it gets an answer of the protocol, and the server goes on."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from haagent.core.answers import Answer
from haagent.core.facts import ClusterFacts, View
from haagent.rest.routes import TABLE
from tests.builders import a_primary_view, a_view, stopped
from tests.unit.rest.conftest import Node, listening

VIEWS: list[View] = [
    a_primary_view(),
    a_view(),
    a_view(postgres=stopped(), cluster=ClusterFacts()),
]
METHODS = sorted({method for method, _ in TABLE})
PATHS = sorted({path for _, path in TABLE})
PARAMETERS = ["lag", "replication_state", "mode", "tag_zone", "tag_", "x"]

printable = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=30)
queries = st.lists(st.tuples(st.sampled_from(PARAMETERS), printable), max_size=4).map(
    lambda pairs: "&".join(f"{name}={value}" for name, value in pairs)
)
targets = st.one_of(
    st.sampled_from(PATHS),
    st.builds("{}?{}".format, st.sampled_from(PATHS), queries | printable),
    printable.map("/{}".format),
    printable,
)
header_names = st.sampled_from(
    ["Authorization", "Content-Type", "Content-Encoding", "Expect", "Upgrade", "Range", "X", "Transfer-Encoding"]
)
headers = st.lists(st.tuples(header_names, printable), max_size=3)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
bodies = st.one_of(
    st.binary(max_size=200), (st.dictionaries(st.text(), json_values) | json_values).map(json.dumps).map(str.encode)
)
requests_known = st.sampled_from(sorted(TABLE))


async def exchange(port: int, raw: bytes) -> bytes:
    """Send bytes and read whatever comes until the server closes or has answered once."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(raw)
        return await asyncio.wait_for(reader.read(), 5)
    except ConnectionError:
        return b""
    finally:
        writer.close()


async def answer_of(port: int, raw: bytes) -> bytes:
    """What is read; asked again when the server let the connection go first, as after a stall of this machine."""
    for _ in range(20):
        if reply := await exchange(port, raw):
            return reply
    return b""


class Open(Node):
    """Accepts every request."""

    async def submit(self, kind: str, body: object, origin: str) -> Answer:
        return Answer(202, {"kind": kind, "body": body})


async def answered(requests: list[bytes], view: View) -> list[bytes]:
    """What a guarded and an open server reply; both must go on to serve."""
    bounds = listening(idle_timeout_s=0.15, body_timeout_s=0.15)
    replies: list[bytes] = []
    for settings_used in (bounds, replace(bounds, username="admin", password="x")):
        node = Open(view=view, settings=settings_used)
        await node.start()
        assert node.server is not None
        try:
            replies += await asyncio.gather(*(exchange(node.port, raw) for raw in requests))
            alive = await answer_of(node.port, b"GET /patroni HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        finally:
            await node.server.stop()
        assert alive.startswith(b"HTTP/1.1 200 "), alive[:200]
    return replies


def check(requests: list[bytes], view: View) -> None:
    for reply in asyncio.run(answered(requests, view)):
        assert not reply.startswith(b"HTTP/1.1 500"), reply[:300]
        assert b"Traceback" not in reply


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(VIEWS), requests_known | st.tuples(st.sampled_from(METHODS), targets), headers, bodies)
def test_no_request_gets_a_500(view: View, asked: tuple[str, str], extra: list[tuple[str, str]], body: bytes) -> None:
    method, target = asked
    lines = [f"{method} {target} HTTP/1.1", "Host: x", f"Content-Length: {len(body)}", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in extra]
    check([("\r\n".join(lines) + "\r\n\r\n").encode() + body], view)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=300), min_size=1, max_size=3))
def test_no_bytes_get_a_500(raw: list[bytes]) -> None:
    check([*raw, *(b"GET / HTTP/1.1\r\n" + one for one in raw)], VIEWS[0])


def test_an_endless_head_is_refused() -> None:
    head = b"GET /primary HTTP/1.1\r\n" + b"X: " + b"y" * 100_000
    check([head, b"GET /" + b"x" * 100_000], VIEWS[0])
