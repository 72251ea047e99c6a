"""The real HAProxy with the project's configuration, between clients and nodes that only pretend."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from haagent.host.listening import stop_listening
from tests.contract.ports import free_ports
from tests.real.processes import Process
from tests.real.programs import program
from tests.real.proxy import READS, SAMPLE, WRITES, render
from tests.real.settings import NodePlace
from tests.real.waiting import now

STATS = 7000
SLACK_S = 3.0
"""For a machine that is busy with other tests."""


Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def closed(writer: asyncio.StreamWriter) -> None:
    """Close a connection, whatever became of it."""
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


@dataclass
class FakeNode:
    """PostgreSQL that greets with its name and then listens; an agent that answers as told."""

    place: NodePlace
    checks: dict[str, int] = field(default_factory=dict)
    frozen: bool = False
    servers: list[asyncio.Server] = field(default_factory=list)
    talks: set[asyncio.Task[None]] = field(default_factory=set)

    async def start(self) -> None:
        where = self.place
        self.servers = [
            await asyncio.start_server(self._served(self._agent), where.address, where.rest_port),
            await asyncio.start_server(self._served(self._postgres), where.address, where.postgres_port),
        ]

    async def stop(self) -> None:
        await stop_listening(self.servers)
        await asyncio.sleep(0.02)  # a talk that is cancelled before it began would not close its connection
        for talk in self.talks:
            talk.cancel()
        await asyncio.gather(*self.talks, return_exceptions=True)

    def _served(self, talk: Talk) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], None]:
        """The talk as a task that is ended with the node, its connection closed."""

        async def held(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await talk(reader, writer)
            except ConnectionError:
                pass
            finally:
                await closed(writer)

        def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.create_task(held(reader, writer))
            self.talks.add(task)
            task.add_done_callback(self.talks.discard)

        return begin

    async def _agent(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = (await reader.readline()).decode().split()
        while await reader.readline() not in (b"\r\n", b""):
            pass
        if self.frozen or not request:
            await asyncio.sleep(3600)
        assert request[0] == "OPTIONS", request
        status = self.checks.get(request[1], 503)
        writer.write(f"HTTP/1.0 {status} Whatever\r\nContent-Length: 0\r\n\r\n".encode())
        await writer.drain()

    async def _postgres(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(self.place.name.encode() + b"\n")
        await reader.read()

    def leads(self) -> None:
        self.checks = {"/primary": 200}

    def follows(self) -> None:
        self.checks = {"/replica": 200}


@dataclass
class Trial:
    """Three nodes and the proxy; ``a`` leads."""

    nodes: dict[str, FakeNode]
    ports: dict[int, int]

    async def connect(self, port: int) -> tuple[str, asyncio.StreamReader, asyncio.StreamWriter]:
        """A new session and whose it is; an empty name when it was closed at once."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.ports[port])
        try:
            return (await reader.readline()).decode().strip(), reader, writer
        except ConnectionError:
            return "", reader, writer

    async def whose(self, port: int) -> str:
        name, _, writer = await self.connect(port)
        await closed(writer)
        return name

    async def until_served_by(self, port: int, name: str, within_s: float) -> float:
        """How many seconds it took until a new session leads there."""
        began = now()
        while await self.whose(port) != name:
            assert now() < began + within_s, f"no session to {name} within {within_s} s"
            await asyncio.sleep(0.02)
        return now() - began

    async def until_all_are_checked(self) -> None:
        """At its start HAProxy takes every server for healthy until its first check."""
        async with asyncio.timeout(20):
            while {await self.whose(WRITES) for _ in range(6)} != {"a"}:
                await asyncio.sleep(0.1)
            while {await self.whose(READS) for _ in range(6)} != {"b", "c"}:
                await asyncio.sleep(0.1)


@pytest.fixture
async def trial(tmp_path: Path) -> AsyncIterator[Trial]:
    numbers = free_ports(9)
    places = [NodePlace(name, "127.0.0.1", numbers.pop(), numbers.pop(), tmp_path, tmp_path) for name in "abc"]
    nodes = {place.name: FakeNode(place) for place in places}
    for node in nodes.values():
        node.follows()
        await node.start()
    nodes["a"].leads()
    ports = {WRITES: numbers.pop(), READS: numbers.pop(), STATS: numbers.pop()}
    file = tmp_path / "haproxy.cfg"
    file.write_text(render(SAMPLE.read_text(), places, ports, tmp_path))
    try:
        with running(file):
            one = Trial(nodes, ports)
            for _ in range(100):
                with contextlib.suppress(OSError):
                    await one.until_served_by(WRITES, "a", 5)
                    break
                await asyncio.sleep(0.05)
            await one.until_all_are_checked()
            yield one
    finally:
        for node in nodes.values():
            await node.stop()


@contextmanager
def running(file: Path) -> Iterator[None]:
    process = Process([program("haproxy"), "-db", "-f", str(file)], file.parent / "haproxy.log")
    process.start()
    try:
        yield
    finally:
        process.kill()


@asynccontextmanager
async def a_session(trial: Trial, port: int, name: str) -> AsyncIterator[asyncio.StreamReader]:
    found, reader, writer = await trial.connect(port)
    assert found == name
    try:
        yield reader
    finally:
        await closed(writer)


async def ends_within(reader: asyncio.StreamReader, seconds: float) -> None:
    try:
        assert await asyncio.wait_for(reader.read(), seconds) == b""
    except ConnectionError:
        return


def test_haproxy_finds_no_fault_in_it() -> None:
    found = subprocess.run([program("haproxy"), "-c", "-f", str(SAMPLE)], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    assert "WARNING" not in found.stderr, found.stderr


async def test_writes_lead_to_the_leader_only(trial: Trial) -> None:
    assert {await trial.whose(WRITES) for _ in range(20)} == {"a"}


async def test_reads_spread_over_the_standbys_only(trial: Trial) -> None:
    assert {await trial.whose(READS) for _ in range(20)} == {"b", "c"}


async def test_a_demoted_primary_loses_its_sessions_and_the_new_one_is_found(trial: Trial) -> None:
    async with a_session(trial, WRITES, "a") as session:
        trial.nodes["a"].checks = {}
        await ends_within(session, 0.6 + SLACK_S)
    assert await trial.whose(WRITES) == "", "without a primary a connection is closed at once"
    trial.nodes["b"].leads()
    await trial.until_served_by(WRITES, "b", 0.2 + SLACK_S)


async def test_a_frozen_node_loses_its_sessions(trial: Trial) -> None:
    async with a_session(trial, WRITES, "a") as session:
        trial.nodes["a"].frozen = True
        await ends_within(session, 2.6 + SLACK_S)


async def test_a_promoted_standby_loses_its_read_sessions(trial: Trial) -> None:
    names = [await trial.connect(READS) for _ in range(2)]
    reader = next(reader for name, reader, _ in names if name == "b")
    trial.nodes["b"].leads()
    await ends_within(reader, 0.6 + SLACK_S)
    assert {await trial.whose(READS) for _ in range(10)} == {"c"}
    for _, _, writer in names:
        await closed(writer)


async def test_one_bad_answer_costs_no_session(trial: Trial) -> None:
    async with a_session(trial, WRITES, "a") as session:
        node = trial.nodes["a"]

        class Once(dict[str, int]):
            def get(self, key: str, default: int | None = None) -> int | None:  # type: ignore[override]
                if key == "/primary" and not getattr(self, "told", False):
                    self.told = True
                    return 503
                return super().get(key, default)

        node.checks = Once(node.checks)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(session.read(), 2.0)
        assert getattr(node.checks, "told", False), "it was checked meanwhile"
