"""The guard of a simulated node: the production deadline machine in a process of its own, and the agent's end of it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from haagent.core.facts import FenceReport, GuardFacts
from haagent.core.terms import Instant, Term
from haagent.guard.watch import END, FENCE, SWEEP, Report, Watch
from haagent.ports import Refused, Unknown, Unreachable
from tests.sim.world.events import Disarmed, Fenced, Permit
from tests.sim.world.time import Process

if TYPE_CHECKING:
    from tests.sim.world.hosts import Host
    from tests.sim.world.world import World

HOP_S = 0.0003
"""A message over a Unix socket takes about this long."""
POLL_S = 0.5
"""How often an agent asks its guard for a sign of life."""


class GuardProcess:
    """One guard: it hears all that waits, then judges, as ``guard/main.py`` does."""

    def __init__(self, world: World, host: Host) -> None:
        self.world = world
        self.host = host
        self.process = Process(world.loop, f"{host.name}/guard", host.clock)
        self.watch = Watch(fired=host.guard_marker)
        self.agents: list[SimGuard] = []
        self._inbox: list[tuple[SimGuard, asyncio.Future[str] | None, str, int, float]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._killing = False
        self.process.soon(self._turn)

    def tell(
        self, agent: SimGuard, done: asyncio.Future[str] | None, do: str, term: int = 0, until: float = 0.0
    ) -> None:
        """A request arrives in the socket's buffer."""
        if self.process.alive:
            self._inbox.append((agent, done, do, term, until))
            self.process.soon(self._turn)

    def _turn(self) -> None:
        if self._killing:
            return
        answers = [(agent, done, self._apply(do, term, until)) for agent, done, do, term, until in self._inbox]
        quitting = any(do == "quit" for _, _, do, _, _ in self._inbox)
        self._inbox.clear()
        do, wake_at, why = self.watch.judge(self.host.clock.now(), sum(agent.connected for agent in self.agents))
        if do == FENCE:
            self._fence(why)
        elif do == SWEEP:
            self.host.kill_tree(self.world.speed.kill, "swept by the guard")
        for agent, done, refused in answers:
            self.world.loop.later(HOP_S, agent.heard, self, done, refused)
        if quitting or do == END:
            self.died()
        elif do != FENCE:
            self._set_timer(wake_at)

    def _set_timer(self, at: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if at is not None:
            delay = self.host.clock.true(Instant(at)) - self.world.now
            self._timer = self.process.after(max(0.0, delay) + 0.0002, self._turn)

    def _apply(self, do: str, term: int, until: float) -> str:
        watch, host = self.watch, self.host
        refused = watch.hear(do, term, until)
        if not refused and do in ("arm", "extend"):
            assert watch.until is not None
            self.world.log(Permit(self.world.now, host.name, term, host.clock.true(Instant(watch.until))))
        elif not refused and do == "disarm":
            self.world.log(Disarmed(self.world.now, host.name, term))
        elif do == "clear":
            host.guard_marker = None
        return refused

    def _fence(self, why: str) -> None:
        """The tree is killed within the kill time; till then this process does nothing else."""
        self._killing = True
        began, processes = self.world.now, 0 if self.host.server is None else 8
        delay = self.world.speed.kill if processes else 0.002
        self.host.kill_tree(delay, "fenced by the guard")
        self.process.after(delay + 0.001, self._fenced, why, began, processes)

    def _fenced(self, why: str, began: float, processes: int) -> None:
        self._killing = False
        took_ms = (self.world.now - began) * 1000
        report: Report = {
            "term": self.watch.term,
            "processes": processes,
            "took_ms": took_ms,
            "reason": why,
            "at": f"{self.world.now:.3f}",
        }
        self.watch.fenced(report, self.host.clock.now())
        self.host.guard_marker = report
        self.world.log(Fenced(self.world.now, self.host.name, self.watch.term, processes))
        for agent in self.agents:
            self.world.loop.later(HOP_S, agent.heard, self, None, "")
        self._turn()

    def died(self) -> None:
        """SIGKILL, or its host's power: its agents' sockets close."""
        self.process.kill()
        for agent in self.agents:
            agent.lost(self)


class SimGuard:
    """The ``Guard`` port of one agent."""

    def __init__(self, world: World, host: Host, agent: Process) -> None:
        self.world = world
        self.host = host
        self.agent = agent
        self._guard: GuardProcess | None = None
        self._facts = GuardFacts()

    @property
    def connected(self) -> bool:
        return self.agent.alive

    def facts(self) -> GuardFacts:
        return self._facts

    async def ensure(self, timeout: float) -> None:
        guard = self.host.guard
        if guard is None or not guard.process.alive:
            await asyncio.sleep(self.host.random.uniform(0.02, 0.08))
            guard = self.host.start_guard()
        elif guard is self._guard and guard.process.frozen:
            guard.died()
            guard = self.host.start_guard()
        if guard is not self._guard:
            self._guard = guard
            guard.agents.append(self)
            self.agent.spawn(self._ask_for_life(guard), "guard client")
        await self._request("hello", 0, 0.0, timeout)

    async def _ask_for_life(self, guard: GuardProcess) -> None:
        while self._guard is guard:
            guard.tell(self, None, "status")
            await asyncio.sleep(POLL_S)

    async def _request(self, do: str, term: int, until: float, timeout: float) -> None:
        guard = self._guard
        if guard is None or not guard.process.alive:
            raise Unreachable("the guard does not run")
        done: asyncio.Future[str] = self.world.loop.create_future()
        self.world.loop.later(HOP_S, guard.tell, self, done, do, term, until)
        try:
            async with asyncio.timeout(timeout):
                refused = await done
        except TimeoutError:
            raise Unknown(f"the guard did not answer within {timeout:g} s") from None
        if refused:
            raise Refused(refused)

    def heard(self, guard: GuardProcess, done: asyncio.Future[str] | None, refused: str) -> None:
        """An answer of the guard arrives: what it knows, and what it makes of the request."""
        if guard is self._guard and self.agent.alive and not self.agent.frozen:
            self._take_facts(guard)
        if done is not None and not done.done():
            done.set_result(refused)

    def _take_facts(self, guard: GuardProcess) -> None:
        watch, fired = guard.watch, guard.watch.fired
        report = None
        if fired is not None:
            term, processes, took_ms = int(fired["term"]), int(fired["processes"]), float(fired["took_ms"])
            report = FenceReport(Term(term), processes, took_ms, str(fired["reason"]), str(fired["at"]))
        self._facts = GuardFacts(
            alive=True,
            armed=watch.until is not None,
            term=Term(watch.term) if watch.term else None,
            permit_until=None if watch.until is None else Instant(watch.until),
            fired=report,
            heard_at=self.host.clock.now(),
        )

    def lost(self, guard: GuardProcess) -> None:
        """The guard's socket closed."""
        if guard is self._guard:
            self._guard = None
            self._facts = GuardFacts(alive=False, fired=self._facts.fired, heard_at=self._facts.heard_at)
            self.host.wake_agent("the guard died")

    async def arm(self, term: Term, permit_until: Instant, timeout: float) -> None:
        self.host.open_page(permit_until)
        await self._request("arm", term, permit_until, timeout)

    def extend(self, term: Term, permit_until: Instant) -> None:
        self.host.open_page(permit_until)
        if self._guard is not None:
            self.world.loop.later(HOP_S, self._guard.tell, self, None, "extend", int(term), float(permit_until))

    async def disarm(self, term: Term, timeout: float) -> None:
        self.host.close_page()
        await self._request("disarm", term, 0.0, timeout)

    async def clear(self, timeout: float) -> None:
        await self._request("clear", 0, 0.0, timeout)

    async def quit(self, timeout: float) -> None:
        self.host.close_page()
        await self._request("quit", 0, 0.0, timeout)
        self._guard = None
