"""The vocabulary of the scenarios: a world of three calm nodes, deeds done to it, and what is expected then."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from haagent.core.states import State
from tests.sim.checkers.all import all_checkers
from tests.sim.faults import KINDS, Deed, Doer
from tests.sim.rows import IN_SCENES
from tests.sim.simulation import judge
from tests.sim.world.agents import production_agent
from tests.sim.world.clients import Clients, Proxy, Vulture
from tests.sim.world.events import Acked, Event, Judged, LeaderKeyChanged, Note, StateChanged, Writable
from tests.sim.world.hosts import Host
from tests.sim.world.knobs import Knobs
from tests.sim.world.time import simulated
from tests.sim.world.world import World

E = TypeVar("E", bound=Event)


class Scene:
    """One world under the hands of a scenario; every checker listens all the time."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.doer = Doer(world)
        self.events: list[Event] = []
        self.violations: list[str] = []
        self._awaited: list[tuple[Callable[[Event], bool], Deed]] = []
        self._checkers = all_checkers(bound_s=1e9, failsafe_mode=world.knobs.failsafe_mode)
        world.listeners.append(self._hear)
        self.clients = Clients(world, Proxy(world))
        Vulture(world)

    def _hear(self, event: Event) -> None:
        self.events.append(event)
        for checker in self._checkers:
            found = checker.see(event)
            if found is not None:
                self.violations.append(f"{event.at:.3f} {checker.name}: {found}")
        due = [one for one in self._awaited if one[0](event)]
        self._awaited = [one for one in self._awaited if one not in due]
        for _, deed in due:
            self.doer.begin(deed)

    # --- what is there ---

    @property
    def now(self) -> float:
        return self.world.now

    @property
    def leader(self) -> str:
        """Who holds the leader key; empty when nobody does."""
        return self.world.etcd.holder or ""

    @property
    def standbys(self) -> list[str]:
        return [name for name in self.world.hosts if name != self.leader]

    def host(self, name: str) -> Host:
        return self.world.hosts[name]

    def pid(self, name: str) -> int | None:
        """The postmaster's, to tell whether it is still the same."""
        server = self.host(name).server
        return None if server is None else server.pid

    def writes(self, name: str) -> bool:
        """Whether its PostgreSQL accepts writes, or is about to end having done so."""
        server = self.host(name).server
        return server is not None and server.promotion != 0

    def since(self, at: float, kind: type[E]) -> list[E]:
        """What happened after an instant."""
        return [event for event in self.events if isinstance(event, kind) and event.at > at]

    def leaders_since(self, at: float) -> list[str]:
        return [e.name for e in self.since(at, LeaderKeyChanged) if e.cause == "campaign" and e.name]

    def promotions_since(self, at: float) -> list[str]:
        return [event.where for event in self.since(at, Writable) if event.promoted]

    def acked_since(self, at: float) -> list[str]:
        """Which nodes acknowledged commits."""
        return sorted({event.where for event in self.since(at, Acked)})

    def state(self, name: str) -> State | None:
        """What the agent is about; None while there is none."""
        agent = self.host(name).agent
        return None if agent is None else agent.current().state

    def states_since(self, at: float, name: str) -> list[str]:
        return [event.new for event in self.since(at, StateChanged) if event.where == name]

    def judged(self) -> Judged:
        return judge(self.world)

    def whole(self) -> bool:
        """One primary, and all others stream from it."""
        judged = self.judged()
        return len(judged.primaries) == 1 and len(judged.streaming) == len(judged.nodes) - 1

    # --- what is done ---

    def do(self, kind: str, target: str, seconds: float = 0.0, other: str = "") -> None:
        """A deed as in ``tests/sim/faults.py``, now."""
        assert kind in KINDS, kind
        self.doer.schedule([Deed(self.now, kind, target, seconds, other)])

    def when(
        self, happens: Callable[[Event], bool], kind: str, target: str, seconds: float = 0.0, other: str = ""
    ) -> None:
        """A deed at the very instant of the first such event."""
        assert kind in KINDS, kind
        self._awaited.append((happens, Deed(self.now, kind, target, seconds, other)))

    async def wait(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def until(self, holds: Callable[[], bool], within: float, what: str = "") -> float:
        """Wait until something holds; how long that took."""
        began = self.now
        while not holds():
            assert self.now - began < within, f"not within {within:g} s: {what or holds}"
            await asyncio.sleep(0.05)
        return self.now - began

    async def until_whole(self, within: float = 60.0) -> float:
        return await self.until(self.whole, within, "one primary, all others streaming")

    def answers_to_operators(self) -> list[str]:
        return [event.text for event in self.events if isinstance(event, Note) and ": 2" in event.text]


def becomes(name: str, state: str) -> Callable[[Event], bool]:
    """A node enters a state."""
    return lambda event: isinstance(event, StateChanged) and (event.where, event.new) == (name, state)


def renews(name: str) -> Callable[[Event], bool]:
    """A node's renewal succeeds in etcd, of which it has not heard yet."""
    return lambda event: isinstance(event, LeaderKeyChanged) and (event.name, event.cause) == (name, "renewal")


def resigns() -> Callable[[Event], bool]:
    """The leader key is given up in good order."""
    return lambda event: isinstance(event, LeaderKeyChanged) and event.cause == "resign"


def wins(name: str) -> Callable[[Event], bool]:
    """A node's campaign succeeds in etcd, of which it has not heard yet."""
    return lambda event: isinstance(event, LeaderKeyChanged) and (event.name, event.cause) == (name, "campaign")


def play(
    script: Callable[[Scene], Coroutine[Any, Any, None]],
    knobs: Knobs | None = None,
    *,
    seed: int = 1,
    from_nothing: bool = False,
) -> Scene:
    """Bootstrap a cluster, run the script in it, and let no checker have anything to say.

    ``from_nothing``: no agent has been started yet when the script begins.
    """
    logging.getLogger("haagent").setLevel(logging.CRITICAL + 1)
    with simulated(seed) as loop:
        world = World(loop, seed, knobs or Knobs(), production_agent)
        scene = Scene(world)

        async def run() -> None:
            if not from_nothing:
                for host in world.hosts.values():
                    host.start_agent()
                await scene.until_whole()
                await scene.wait(2 * world.knobs.ttl)
            await script(scene)

        try:
            loop.run_until_complete(run())
        finally:
            world.listeners.clear()
            IN_SCENES.update(world.rows_taken)
        assert loop.failures == []
    assert scene.violations == []
    return scene
