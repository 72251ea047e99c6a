"""Clients that mean no good get an answer or an end, whatever they send, and keep nobody else waiting."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import resource
import socket
import ssl
import time
from collections.abc import AsyncIterator, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from haagent.core.answers import Answer
from haagent.core.facts import Document
from haagent.rest.settings import ClientSettings, client_context
from tests.unit.rest.conftest import Certificates, Node, Serve, listening
from tests.unit.rest.served import Served

IDLE = 10_000
HEAD = b"HEAD /primary HTTP/1.1\r\nHost: x\r\n\r\n"
CLOSING = HEAD.replace(b"x\r\n", b"x\r\nConnection: close\r\n")
QUICK_S = 0.05
"""On a machine that others use too; alone it is a millisecond or two."""


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    limits = listening(username="admin", password="secret", body_timeout_s=0.5, idle_timeout_s=2.0)
    one = Served(Node(settings=limits, answer=Answer(200, "done")))
    try:
        yield one
    finally:
        one.close()


def codes(told: bytes) -> list[int]:
    """The status of every answer."""
    return [int(line.split()[1]) for line in told.split(b"\r\n") if line.startswith(b"HTTP/1.1 ")]


METHODS = st.sampled_from(b"GET HEAD OPTIONS POST PATCH PUT DELETE TRACE BREW".split())
PATHS = st.sampled_from(b"/primary /replica?lag= /replica?tag_ /readiness?mode= /config /switchover /restart".split())
NAMES = st.sampled_from(b"Authorization Content-Length Host Transfer-Encoding Expect Upgrade Connection".split())
BYTES = st.binary(max_size=200)
LINE = BYTES.map(lambda raw: raw.replace(b"\r", b"").replace(b"\n", b""))
LOGIN = b"Authorization: Basic YWRtaW46c2VjcmV0\r\n"


def _with_path(method: bytes, path: bytes, more: bytes) -> bytes:
    return b"%s %s%s HTTP/1.1\r\nHost: x\r\n\r\n" % (method, path, more.replace(b" ", b""))


def _with_header(method: bytes, path: bytes, name: bytes, value: bytes) -> bytes:
    return b"%s %s HTTP/1.1\r\nHost: x\r\n%s: %s\r\n\r\n" % (method, path, name, value)


def _with_body(method: bytes, path: bytes, body: bytes) -> bytes:
    head = b"%s %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n%sContent-Length: %d\r\n\r\n"
    return head % (method, path, LOGIN, len(body)) + body


REQUESTS = st.one_of(
    BYTES,
    st.builds(_with_path, METHODS, PATHS, LINE),
    st.builds(_with_header, METHODS, PATHS, LINE | NAMES, LINE),
    st.builds(_with_body, METHODS, PATHS, BYTES),
    st.builds(lambda garbage: HEAD + garbage, BYTES),
)


@settings(max_examples=150, deadline=None)
@given(sent=REQUESTS)
def test_no_bytes_lead_to_an_error_of_the_agent_or_a_hang(served: Served, sent: bytes) -> None:
    """Any path, header, body, or what follows a good request: an answer or the connection's end, and no 500."""
    told = served.told(sent, half_close=True)
    assert 500 not in codes(told), told
    assert b"Traceback" not in told
    assert b".py" not in told


def test_it_still_answers_after_all_that(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    assert codes(served.told(CLOSING)) == [200]
    assert codes(served.told(_with_body(b"POST", b"/switchover", b"\xff{"))) == [400]
    assert not caplog.records


# --- many at once ---


async def took(port: int, context: ssl.SSLContext | None = None) -> float:
    """How long HEAD /primary takes over a new connection; seconds."""
    began = time.monotonic()
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    writer.write(CLOSING)
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
    writer.close()
    assert head.startswith(b"HTTP/1.1 200")
    return time.monotonic() - began


@contextlib.asynccontextmanager
async def held(port: int, count: int, beginning: bytes) -> AsyncIterator[None]:
    """So many connections that began to say something and say no more."""
    kept: list[socket.socket] = []
    try:
        for number in range(count):
            kept.append(socket.create_connection(("127.0.0.1", port), timeout=5))
            kept[-1].sendall(beginning)
            if number % 64 == 0:
                await asyncio.sleep(0)
        yield
    finally:
        for one in kept:
            one.close()


@pytest.fixture
def connections() -> Iterator[int]:
    """How many connections the limits let this process hold, beside those that the server holds."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    raised = max(soft, min(hard, IDLE + 2000))
    resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))
    yield min(IDLE, raised - 1500)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_ten_thousand_idle_connections_keep_nobody_out(serve: Serve, connections: int) -> None:
    """Fault 96: a check is answered from memory in milliseconds; the connection silent longest makes room for it."""
    node = await serve(Node())
    async with held(node.port, connections, b""):
        times = sorted([await took(node.port) for _ in range(21)])
    assert times[10] < QUICK_S, times


async def test_requests_that_never_end_keep_nobody_out(serve: Serve) -> None:
    """Slow loris: more of them than the server keeps connections, each in the middle of a header."""
    node = await serve(Node())
    async with held(node.port, 1500, b"GET /primary HTTP/1.1\r\nX-Long: "):
        times = sorted([await took(node.port) for _ in range(11)])
    assert times[5] < QUICK_S, times


async def test_handshakes_that_never_end_keep_nobody_out(serve: Serve, certificates: Certificates) -> None:
    settings = listening(certfile=certificates.cert, keyfile=certificates.key)
    node = await serve(Node(settings=settings))
    context = client_context(ClientSettings(cacert=certificates.ca))
    async with held(node.port, 700, b"\x16\x03\x01"):
        times = sorted([await took(node.port, context) for _ in range(11)])
    assert times[5] < QUICK_S, times


async def test_a_connection_that_says_nothing_is_closed(serve: Serve) -> None:
    node = await serve(Node(settings=listening(idle_timeout_s=0.2)))
    for beginning in (b"", b"GET /primary HT"):
        reader, writer = await asyncio.open_connection("127.0.0.1", node.port)
        writer.write(beginning)
        assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()


async def test_beyond_the_limit_the_connection_that_was_silent_longest_is_closed(serve: Serve) -> None:
    node = await serve(Node(settings=listening(max_connections=3)))
    held = [await asyncio.open_connection("127.0.0.1", node.port) for _ in range(3)]
    for asker in (0, 1):
        await _ask(*held[asker])
    held.append(await asyncio.open_connection("127.0.0.1", node.port))
    assert await asyncio.wait_for(held[2][0].read(), 5) == b""
    for reader, writer in (held[0], held[1], held[3]):
        await _ask(reader, writer)
    for _, writer in held:
        writer.close()


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HEAD /primary HTTP/1.1\r\nHost: x\r\n\r\n")
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
    assert head.startswith(b"HTTP/1.1 200")


async def test_an_answer_under_way_is_not_ended_for_a_newcomer(serve: Serve) -> None:
    node = Node(settings=listening(max_connections=1))
    asked, told = asyncio.Event(), asyncio.Event()

    async def slow(kind: str, body: Document, origin: str) -> Answer:
        asked.set()
        await told.wait()
        return Answer(202, "reload scheduled")

    node.submit = slow  # type: ignore[method-assign]
    await serve(node)
    reader, writer = await asyncio.open_connection("127.0.0.1", node.port)
    writer.write(b"POST /reload HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
    await asyncio.wait_for(asked.wait(), 5)
    other, closing = await asyncio.open_connection("127.0.0.1", node.port)
    assert await asyncio.wait_for(other.read(), 5) == b""
    told.set()
    assert (await asyncio.wait_for(reader.readline(), 5)).startswith(b"HTTP/1.1 202")
    writer.close()
    closing.close()
