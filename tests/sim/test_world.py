"""The simulated PostgreSQL, guard and hosts behave as the real ones do, where the agent can tell."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import pytest

from haagent.core.answers import Answer
from haagent.core.facts import DataKind, Document, ServerConfig, Upstream, View
from haagent.core.terms import Term, Timeline, later
from haagent.ports import Refused, Unknown, Unreachable
from tests.sim.world.events import Committed, Corrupted, Event, Fenced, Writable
from tests.sim.world.fence import SimFence
from tests.sim.world.guard import SimGuard
from tests.sim.world.hosts import Host
from tests.sim.world.knobs import Knobs
from tests.sim.world.postgres import PORT, SimPostgres
from tests.sim.world.server import CommitFailedError
from tests.sim.world.streams import parse_sync
from tests.sim.world.time import Process, simulated
from tests.sim.world.world import World

PLAIN = ServerConfig()
FENCED = ServerConfig(parameters={"shared_preload_libraries": "haagent_fence"})


class NoAgent:
    """Stands where an agent would; the tests move PostgreSQL themselves."""

    async def run(self) -> int:
        await asyncio.sleep(1e9)
        return 0

    def current(self) -> View:
        raise AssertionError("nobody asks")

    async def submit(self, kind: str, body: Document, origin: str = "") -> Answer:
        return Answer(503, "")

    def wake(self, reason: str) -> None:
        """Nobody sleeps."""

    def stop(self) -> None:
        """Nobody runs."""


@dataclass
class Stage:
    """A world without agents, its ports in the tests' hands."""

    world: World
    events: list[Event]
    pg: dict[str, SimPostgres]
    guard: dict[str, SimGuard]

    def of(self, kind: type[Event]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    async def begin(self, *names: str, config: ServerConfig = PLAIN) -> None:
        """A primary on ``a``, standbys on the others."""
        await self.pg["a"].initialize(config, lambda _: None)
        await self.pg["a"].start(config, primary=True)
        await asyncio.sleep(3)
        for name in names:
            await self.pg[name].clone(self.source("a"), None, lambda _: None)
            await self.pg[name].start(self.follow(name, "a"), primary=False)
        await asyncio.sleep(10)

    def source(self, name: str) -> Upstream:
        return Upstream(name, name, PORT)

    def follow(self, name: str, upstream: str) -> ServerConfig:
        return ServerConfig(self.source(upstream), application_name=name)

    async def write(self, name: str, number: int = 1) -> bool:
        server = self.world.hosts[name].server
        assert server is not None
        return await server.process.spawn(server.commit(number, direct=True))

    def host(self, name: str) -> Host:
        return self.world.hosts[name]


def stage(script: Callable[[Stage], Coroutine[Any, Any, None]], knobs: Knobs | None = None) -> Stage:
    """Run a script on a stage."""
    with simulated(7) as loop:
        world = World(loop, 7, knobs or Knobs(), lambda world, host, process: NoAgent())
        events: list[Event] = []
        world.listeners.append(events.append)
        agents = {name: Process(loop, f"{name}/agent", host.clock) for name, host in world.hosts.items()}
        found = Stage(
            world,
            events,
            {name: SimPostgres(world, host, agents[name]) for name, host in world.hosts.items()},
            {name: SimGuard(world, host, agents[name]) for name, host in world.hosts.items()},
        )
        loop.run_until_complete(script(found))
        assert loop.failures == []
        return found


def test_standbys_stream_what_the_primary_commits() -> None:
    async def script(s: Stage) -> None:
        await s.begin("b", "c")
        await s.write("a")
        await asyncio.sleep(1)
        assert s.host("b").data.end == s.host("c").data.end == s.host("a").data.end
        facts = await s.pg["a"].probe(1)
        assert facts.server is not None
        assert [sender.application_name for sender in facts.server.senders] == ["b", "c"]
        standby = await s.pg["b"].probe(1)
        assert standby.server is not None
        assert standby.server.receiver is not None
        assert standby.server.lsn == facts.server.lsn
        with pytest.raises(CommitFailedError):
            await s.write("b")

    stage(script)


def test_a_diverged_primary_cannot_follow_until_it_is_rewound() -> None:
    async def script(s: Stage) -> None:
        await s.begin("b", "c")
        s.world.network.cut("a", "b")
        s.world.network.cut("a", "c")
        await s.write("a")
        server = s.host("a").server
        assert server is not None
        server.end("power off")
        await s.pg["b"].promote(Timeline(1), Timeline(2))
        await asyncio.sleep(2)
        s.world.network.heal("a", "b")
        s.world.network.heal("a", "c")
        await s.pg["c"].configure(s.follow("c", "b"))
        await s.pg["a"].start(s.follow("a", "b"), primary=False)
        await asyncio.sleep(10)
        assert s.host("c").data.timeline == s.host("b").data.timeline == 2
        assert s.host("a").data.timeline == 1
        found = await s.pg["a"].compare(s.source("b"))
        assert found.diverged
        assert found.lost_commits == 1
        await s.pg["a"].stop("fast")
        await asyncio.sleep(3)
        await s.pg["a"].rewind(s.source("b"), lambda _: None)
        await s.pg["a"].start(s.follow("a", "b"), primary=False)
        await asyncio.sleep(10)
        await s.write("b", 2)
        await asyncio.sleep(1)
        assert s.host("a").data.records == s.host("b").data.records
        assert not (await s.pg["a"].compare(s.source("b"))).diverged

    found = stage(script)
    assert found.of(Corrupted) == []
    assert [event.timeline for event in found.of(Writable)] == [1, 2]


def test_a_fast_stop_gives_its_last_record_to_the_standbys_and_is_clean() -> None:
    async def script(s: Stage) -> None:
        await s.begin("b")
        await s.write("a")
        await s.pg["a"].stop("fast")
        await asyncio.sleep(3)
        assert s.host("a").server is None
        assert s.host("a").data.clean
        assert s.host("b").data.end == s.host("a").data.end

    stage(script)


def test_a_clone_whose_source_dies_leaves_its_marker() -> None:
    async def script(s: Stage) -> None:
        await s.begin()
        clone = asyncio.create_task(s.pg["b"].clone(s.source("a"), None, lambda _: None))
        await asyncio.sleep(0.5)
        s.host("a").power_off()
        with pytest.raises(Unknown):
            await clone
        data = s.host("b").data
        assert (data.kind, data.marker) == (DataKind.UNFINISHED, "cloning")
        with pytest.raises(Refused):
            await s.pg["b"].start(s.follow("b", "a"), primary=False)
        with pytest.raises((Unreachable, Unknown)):
            await s.pg["b"].compare(s.source("a"))

    stage(script)


def test_a_commit_waits_for_its_synchronous_standby() -> None:
    async def script(s: Stage) -> None:
        await s.begin("b", "c")
        await s.pg["a"].configure(ServerConfig(synchronous_standby_names='"b"'))
        await asyncio.sleep(0.2)
        assert await s.write("a")
        s.world.network.cut("a", "b")
        commit = asyncio.create_task(s.write("a", 2))
        await asyncio.sleep(5)
        assert not commit.done()
        s.world.network.heal("a", "b")
        assert await commit

    stage(script)
    assert parse_sync('ANY 2 ("b","c")') == (True, 2, ("b", "c"))
    assert parse_sync('2 ("b","c")') == (False, 2, ("b", "c"))
    assert parse_sync('"b"') == (False, 1, ("b",))


def test_the_guard_kills_the_tree_when_the_permit_ends_with_the_agent_dead_or_frozen() -> None:
    async def script(s: Stage) -> None:
        await s.begin()
        guard, host = s.guard["a"], s.host("a")
        await guard.ensure(1)
        await guard.arm(Term(5), later(host.clock.now(), 4), 1)
        await asyncio.sleep(2)
        guard.extend(Term(5), later(host.clock.now(), 4))
        guard.agent.kill()
        await asyncio.sleep(3.9)
        assert await s.write("a") is False
        await asyncio.sleep(0.3)
        assert host.server is None
        assert host.guard_marker is not None

    found = stage(script)
    assert [(event.where, event.term) for event in found.of(Fenced)] == [("a", 5)]


def test_with_the_fence_no_commit_passes_the_permit_even_after_a_thaw() -> None:
    async def script(s: Stage) -> None:
        await s.begin(config=FENCED)
        host = s.host("a")
        await s.guard["a"].ensure(1)
        SimFence(host).permit(Term(5), later(host.clock.now(), 4))
        await s.write("a")
        host.freeze()
        await asyncio.sleep(10)
        late = asyncio.create_task(s.write("a", 2))
        host.thaw()
        with pytest.raises(CommitFailedError):
            await late

    found = stage(script, Knobs(fence=True))
    assert [event.commit for event in found.of(Committed)] == [1]


def test_a_host_without_power_answers_nothing_and_keeps_its_disk() -> None:
    async def script(s: Stage) -> None:
        await s.begin("b")
        s.host("a").power_off()
        await asyncio.sleep(70)
        standby = await s.pg["b"].probe(1)
        assert standby.server is not None
        assert standby.server.receiver is None
        s.host("a").power_on()
        assert s.host("a").data.kind is DataKind.VALID
        assert not s.host("a").data.clean

    stage(script)


def test_a_word_that_reaches_a_dead_upstream_keeps_no_connection_alive() -> None:
    async def script(s: Stage) -> None:
        await s.begin("b")
        primary, standby = s.host("a").server, s.host("b").server
        assert primary is not None
        assert standby is not None
        stream = standby.receiver
        assert stream is not None
        s.host("a").power_off()
        primary.acknowledge(stream, standby.data.end)
        await asyncio.sleep(70)
        assert standby.receiver is None

    stage(script)


def test_a_promotion_that_its_disk_refuses_begins_no_timeline() -> None:
    async def script(s: Stage) -> None:
        await s.begin("b")
        server = s.host("b").server
        assert server is not None
        s.host("b").disk.read_only += 1
        server.promote(by_hand=True)
        await asyncio.sleep(5)
        assert s.host("b").server is None
        assert s.host("b").data.timeline == 1

    stage(script)
