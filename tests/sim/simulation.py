"""One run: a world from a seed, faults first and safety throughout, then healing, then liveness, then quiet."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from tests.sim import faults
from tests.sim.checkers.all import all_checkers
from tests.sim.checkers.liveness import HEALED, QUIET
from tests.sim.faults import Deed, Doer
from tests.sim.world import knobs as knobs_module
from tests.sim.world.agents import production_agent
from tests.sim.world.clients import Clients, Proxy, Vulture
from tests.sim.world.events import Event, Judged, Note
from tests.sim.world.knobs import Knobs
from tests.sim.world.server import Phase
from tests.sim.world.time import StuckError, simulated
from tests.sim.world.world import World

ROUND_S = 360.0
QUIET_S = 60.0
SETTLE_TTLS = 4.0


@dataclass(slots=True)
class Result:
    """What came of a run."""

    seed: int
    knobs: Knobs
    deeds: list[Deed]
    violations: list[str] = field(default_factory=list)
    rows: set[int] = field(default_factory=set)
    lines: list[str] = field(default_factory=list)
    hours: float = 0.0
    commits: int = 0
    crash_reports: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not self.violations

    @property
    def what(self) -> str:
        """The checker that spoke first; empty when none did."""
        return self.violations[0].partition(":")[0] if self.violations else ""


class ViolationError(Exception):
    """A checker spoke; the run is over."""


class Simulation:
    """Runs rounds of faults, healing and quiet in one world until the hours are over or a checker speaks."""

    def __init__(
        self,
        seed: int,
        hours: float = 0.0,
        *,
        knobs: Knobs | None = None,
        deeds: list[Deed] | None = None,
        say: Callable[[str], None] | None = None,
        keep_lines: bool = True,
        rest: bool = True,
    ) -> None:
        """``deeds``: these instead of those drawn; ``rest``: heal and demand liveness and quiet after the faults."""
        self.knobs = knobs or knobs_module.draw(seed)
        self.result = Result(seed, self.knobs, [] if deeds is None else deeds)
        self._given = deeds
        self._seconds = hours * 3600
        self._say = say
        self._keep_lines = keep_lines
        self._rest = rest
        self._bound_s = 300 + 8 * self.knobs.ttl
        self._checkers = all_checkers(bound_s=self._bound_s, failsafe_mode=self.knobs.failsafe_mode)
        self._over = asyncio.Event()

    def run(self) -> Result:
        """The whole run; it never raises for what the agents did."""
        logging.getLogger("haagent").setLevel(logging.CRITICAL + 1)
        random.seed(self.result.seed)
        with simulated(self.result.seed) as loop:
            world = World(loop, self.result.seed, self.knobs, production_agent)
            world.listeners.append(self._hear)
            try:
                loop.run_until_complete(self._rounds(world))
                for checker in self._checkers if self._rest else ():
                    self._note(checker.name, checker.finish())
            except ViolationError:
                pass
            except StuckError as error:
                self.result.violations.append(f"stuck: {error}")
            self.result.violations += [f"world: {text}" for text in loop.failures]
            self.result.hours = world.now / 3600
            self.result.rows = world.rows_taken
            self.result.crash_reports = list(world.crash_reports)
            world.listeners.clear()
        return self.result

    async def _rounds(self, world: World) -> None:
        doer, proxy = Doer(world), Proxy(world)
        clients = Clients(world, proxy)
        Vulture(world)
        for host in world.hosts.values():
            world.loop.later(host.random.uniform(0, self.knobs.first_starts), host.start_agent)
        while True:
            await self._round(world, doer)
            self.result.commits = clients.heard
            if self._given is not None or world.now >= self._seconds:
                return

    async def _round(self, world: World, doer: Doer) -> None:
        deeds = self._given
        if deeds is None:
            deeds = faults.draw(self.result.seed, self.knobs, world.now, ROUND_S)
            self.result.deeds = [*self.result.deeds, *deeds]
        world.network.weather = self.knobs.weather
        doer.schedule(deeds)
        last = max((deed.at + deed.seconds for deed in deeds), default=world.now)
        await self._sleep(min(ROUND_S, max(world.now + ROUND_S * 0.1, last + 1) - world.now))
        if not self._rest:
            return
        doer.heal()
        world.network.weather = replace(self.knobs.weather, loss=0.0)
        world.log(Note(world.now, "run", HEALED))
        await self._until_whole(world)
        await self._sleep(SETTLE_TTLS * self.knobs.ttl + 30)
        await self._until_whole(world)
        world.log(Note(world.now, "run", QUIET))
        await self._sleep(QUIET_S)

    async def _sleep(self, seconds: float) -> None:
        """Sleep, but wake when a checker speaks."""
        try:
            async with asyncio.timeout(seconds):
                await self._over.wait()
        except TimeoutError:
            return
        raise ViolationError

    async def _until_whole(self, world: World) -> None:
        until = world.now + self._bound_s + 10
        while world.now < until:
            judged = judge(world)
            world.log(judged)
            if len(judged.primaries) == 1 and len(judged.streaming) == len(judged.nodes) - 1:
                return
            await self._sleep(1.0)

    def _hear(self, event: Event) -> None:
        if self._keep_lines and not isinstance(event, Judged):
            line = event.line()
            self.result.lines.append(line)
            if self._say is not None:
                self._say(line)
        for checker in self._checkers:
            self._note(checker.name, checker.see(event))

    def _note(self, name: str, found: str | None) -> None:
        if found is not None:
            self.result.violations.append(f"{name}: {found}")
            self._over.set()


def judge(world: World) -> Judged:
    """Who is a primary in service, and which standbys stream from it and have what it has."""
    primaries = tuple(
        name
        for name, host in world.hosts.items()
        if host.server is not None and host.server.phase is Phase.PRIMARY and world.etcd.holder == name
    )
    streaming = []
    for name, host in world.hosts.items():
        stream = None if host.server is None else host.server.receiver
        if stream is None or not stream.open or stream.upstream.host.name not in primaries or not primaries:
            continue
        leader = world.hosts[primaries[0]]
        if host.data.timeline == leader.data.timeline and stream.stalled_at is None:
            streaming.append(name)
    return Judged(world.now, "run", primaries, tuple(streaming), tuple(world.hosts))


def shorten(result: Result, *, tries: int = 200) -> Result:
    """The same failure with as few deeds as can be found: halves, quarters and so on are left out in turn."""
    best = result
    size = max(1, len(best.deeds) // 2)
    while size >= 1 and tries > 0:
        start, shorter = 0, False
        while start < len(best.deeds) and tries > 0:
            tries -= 1
            deeds = best.deeds[:start] + best.deeds[start + size :]
            found = Simulation(best.seed, knobs=best.knobs, deeds=deeds).run()
            if found.what == result.what:
                best, shorter = found, True
            else:
                start += size
        if size == 1 and not shorter:
            break
        size = max(1, size // 2) if size > 1 or shorter else 0
    return replace(best, deeds=best.deeds)
