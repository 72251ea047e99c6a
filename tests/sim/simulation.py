"""One run: a world from a seed, bursts of faults and safety throughout; after each, healing, liveness and quiet."""

from __future__ import annotations

import asyncio
import gc
import logging
import random
import time
from collections import Counter
from collections.abc import Callable, Collection, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from tests.sim import plan as plans
from tests.sim.checkers.all import all_checkers
from tests.sim.checkers.liveness import HEALED, QUIET
from tests.sim.faults import Deed, Doer
from tests.sim.plan import SETTLE_S, SETTLE_TTLS, Burst, Plan
from tests.sim.world import knobs as knobs_module
from tests.sim.world.agents import production_agent
from tests.sim.world.clients import Clients, Proxy, Vulture
from tests.sim.world.elsewhere import FAR
from tests.sim.world.events import Acked, Event, Judged, LeaderKeyChanged, Note
from tests.sim.world.knobs import Knobs
from tests.sim.world.server import Phase, Server
from tests.sim.world.time import StuckError, simulated
from tests.sim.world.world import World


@dataclass(slots=True)
class Result:
    """What came of a run."""

    seed: int
    knobs: Knobs
    plan: Plan
    """All that was drawn or given."""
    only: tuple[int, ...] | None = None
    """The numbers of those deeds of the plan that were done; None for all."""
    violations: list[str] = field(default_factory=list)
    rows: Counter[int] = field(default_factory=Counter)
    """How often each row of the table was taken."""
    lines: list[str] = field(default_factory=list)
    hours: float = 0.0
    bursts: int = 0
    """How many bursts began."""
    commits: int = 0
    """Acknowledged ones."""
    leaders: int = 0
    """How often the leader key was won."""
    crash_reports: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not self.violations

    @property
    def what(self) -> str:
        """The checker that spoke first; empty when none did."""
        return self.violations[0].partition(":")[0] if self.violations else ""

    @property
    def begun(self) -> Plan:
        """The bursts that were gone through, with the deeds that were done."""
        chosen = self.plan if self.only is None else plans.only(self.plan, self.only)
        return chosen[: self.bursts]

    @property
    def deeds(self) -> list[Deed]:
        return plans.deeds_of(self.begun)


class ViolationError(Exception):
    """A checker spoke; the run is over."""


@contextmanager
def _rare_collections() -> Generator[None, None, None]:
    """A run makes millions of small objects, hardly ever in cycles: looking for those cost a sixth of its time."""
    before = gc.get_threshold()
    gc.set_threshold(100_000, 50, 50)
    try:
        yield
    finally:
        gc.set_threshold(*before)


class Simulation:
    """Goes through a plan in one world until it is over or a checker speaks."""

    def __init__(
        self,
        seed: int,
        hours: float = 0.0,
        *,
        knobs: Knobs | None = None,
        plan: Plan | None = None,
        deeds: Collection[Deed] | None = None,
        only: Collection[int] | None = None,
        say: Callable[[str], None] | None = None,
        keep_lines: bool = True,
        rest: bool = True,
    ) -> None:
        """``plan`` or one burst of ``deeds`` instead of what is drawn for so many ``hours``, and of it ``only`` these.

        ``rest``: heal and demand liveness and quiet after the faults.
        """
        self.knobs = knobs or knobs_module.draw(seed)
        if deeds is not None:
            plan = (Burst(tuple(deeds)),)
        elif plan is None:
            plan = plans.draw(seed, self.knobs, hours * 3600)
        self.result = Result(seed, self.knobs, plan, None if only is None else tuple(sorted(only)))
        self._say = say
        self._keep_lines = keep_lines
        self._rest = rest
        self._bound_s = 300 + 8 * self.knobs.ttl
        # A look at a silent etcd, what is then to be told it, and the sleep until the next look.
        stray_s = max(20.0, self.knobs.loop_wait + 2 * self.knobs.retry_timeout + 1)
        self._checkers = all_checkers(bound_s=self._bound_s, stray_s=stray_s, failsafe_mode=self.knobs.failsafe_mode)
        self._over = asyncio.Event()

    def run(self) -> Result:
        """The whole run; it never raises for what the agents did."""
        logging.getLogger("haagent").setLevel(logging.CRITICAL + 1)
        random.seed(self.result.seed)
        with _rare_collections(), simulated(self.result.seed) as loop:
            world = World(loop, self.result.seed, self.knobs, production_agent)
            world.listeners.append(self._hear)
            try:
                loop.run_until_complete(self._bursts(world))
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

    async def _bursts(self, world: World) -> None:
        doer, proxy = Doer(world), Proxy(world)
        Clients(world, proxy)
        Vulture(world)
        for host in world.hosts.values():
            world.loop.later(host.random.uniform(0, self.knobs.first_starts), host.start_agent)
        chosen = self.result.plan if self.result.only is None else plans.only(self.result.plan, self.result.only)
        for burst in chosen:
            self.result.bursts += 1
            await self._burst(world, doer, burst)

    async def _burst(self, world: World, doer: Doer, burst: Burst) -> None:
        world.network.weather = self.knobs.weather
        doer.schedule([replace(deed, at=world.now + deed.at) for deed in burst.deeds])
        last = max((deed.at + deed.seconds for deed in burst.deeds), default=0.0)
        await self._sleep(min(burst.seconds, max(burst.seconds * 0.1, last + 1)))
        if not self._rest:
            return
        doer.heal()
        world.network.weather = replace(self.knobs.weather, loss=0.0)
        world.log(Note(world.now, "run", HEALED))
        await self._until_whole(world)
        await self._sleep(SETTLE_TTLS * self.knobs.ttl + SETTLE_S)
        await self._until_whole(world)
        world.log(Note(world.now, "run", QUIET))
        await self._sleep(burst.calm_s)

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
        if isinstance(event, Acked):
            self.result.commits += 1
        elif isinstance(event, LeaderKeyChanged) and event.cause == "campaign":
            self.result.leaders += 1
        for checker in self._checkers:
            found = checker.see(event)
            if found is not None:
                self._note(checker.name, found)

    def _note(self, name: str, found: str | None) -> None:
        if found is not None:
            self.result.violations.append(f"{name}: {found}")
            self._over.set()


def judge(world: World) -> Judged:
    """Who is a primary in service, and which standbys stream from it and have what it has."""
    primaries = tuple(
        name
        for name, host in world.hosts.items()
        if host.server is not None and world.etcd.holder == name and _leads(host.server)
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


def _leads(server: Server) -> bool:
    """It is a primary, or the standby that follows a primary elsewhere."""
    stream = server.receiver
    from_far = stream is not None and stream.open and stream.upstream.host.name == FAR
    return server.phase is Phase.PRIMARY or (server.phase is Phase.RECOVERY and from_far)


def shorten(result: Result, *, tries: int = 200, seconds: float = 60.0) -> Result:
    """The same failure with as few deeds as can be found in that time: halves, quarters and so on are left out in turn.

    ``seconds`` are real ones; a try that has begun when they are over is finished.
    """
    until = time.monotonic() + seconds
    all_begun = range(len(plans.deeds_of(result.plan[: result.bursts])))
    best, kept = result, list(all_begun if result.only is None else result.only)
    size = max(1, len(kept) // 2)
    while True:
        start, shorter = 0, False
        while start < len(kept):
            if tries <= 0 or time.monotonic() > until:
                return best
            tries -= 1
            fewer = kept[:start] + kept[start + size :]
            found = Simulation(best.seed, knobs=best.knobs, plan=best.plan, only=fewer, keep_lines=False).run()
            if found.what == result.what:
                best, kept, shorter = found, fewer, True
            else:
                start += size
        if size == 1 and not shorter:
            return best
        size = max(1, size // 2)
