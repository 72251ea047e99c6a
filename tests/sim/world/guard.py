"""The guard of a simulated node: the production deadline machine and client, with a process and a socket of the world.

Only ``GuardProcess``, which stands for ``guard/main.py``, and the socket between the two are made up.
"""

from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path
from typing import TYPE_CHECKING, cast

from haagent.core.lease import KILL_TIME_S
from haagent.core.terms import Instant, Term
from haagent.guard import wire
from haagent.guard.client import GuardClient
from haagent.guard.watch import END, FENCE, SWEEP, Watch
from tests.sim.world.events import Disarmed, Fenced, Permit
from tests.sim.world.time import Process

if TYPE_CHECKING:
    from tests.sim.world.hosts import Host
    from tests.sim.world.world import World

HOP_S = 0.0003
"""A message over a Unix socket takes about this long."""


class GuardProcess:
    """One guard: it hears all that waits, then judges, as ``guard/main.py`` does."""

    def __init__(self, world: World, host: Host, term: int = 0, until: float | None = None) -> None:
        self.world = world
        self.host = host
        self.process = Process(world.loop, f"{host.name}/guard", host.clock)
        self.watch = Watch(term, until, host.guard_marker)
        self.agents: list[Connection] = []
        self._inbox: list[tuple[Connection, bytes]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._killing = False
        self.process.soon(self._turn)

    def receive(self, agent: Connection, packet: bytes) -> None:
        """A request arrives in the socket's buffer."""
        if self.process.alive:
            self._inbox.append((agent, packet))
            self.process.soon(self._turn)

    def _turn(self) -> None:
        if self._killing:
            return
        answers, quitting = [], False
        for agent, packet in self._inbox:
            number, do, term, until, reason = wire.read_request(packet)
            quitting = quitting or do == "quit"
            answers.append((agent, number, self._hear(do, term, until, reason)))
        self._inbox.clear()
        self.agents = [agent for agent in self.agents if agent.open]
        do, wake_at, why = self.watch.judge(self.host.clock.now(), len(self.agents))
        if do == FENCE:
            self._fence(why)
        elif do == SWEEP:
            self.host.kill_tree(self.world.speed.kill, "swept by the guard")
        for agent, number, refused in answers:
            agent.answer(wire.answer(number, refused, self.watch))
        if quitting or do == END:
            self.died()
        elif do != FENCE:
            self._set_timer(wake_at)

    def _hear(self, do: str, term: int, until: float, reason: str) -> str:
        watch, host = self.watch, self.host
        refused = watch.hear(do, term, until, reason)
        if not refused and do in ("arm", "extend") and watch.until is not None:
            host.permit = max(host.permit or 0.0, watch.until) if do == "extend" else watch.until
            if do == "arm" and host.server is not None:
                host.server.taken_over()
            self.world.log(Permit(self.world.now, host.name, term, host.clock.true(Instant(watch.until))))
        elif not refused and do == "disarm":
            host.permit = None
            self.world.log(Disarmed(self.world.now, host.name, term))
        elif do == "clear":
            host.guard_marker = None
        return refused

    def _set_timer(self, at: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if at is not None:
            delay = self.host.clock.true(Instant(at)) - self.world.now
            self._timer = self.process.after(max(0.0, delay) + 0.0002, self._turn)

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
        report = wire.report(self.watch.term, processes, took_ms, why, f"{self.world.now:.3f}")
        self.watch.fenced(report, self.host.clock.now())
        self.host.guard_marker = report
        self.world.log(Fenced(self.world.now, self.host.name, self.watch.term, processes))
        for agent in self.agents:
            agent.answer(wire.answer(0, "", self.watch))
        self._turn()

    def died(self) -> None:
        """SIGKILL, or its host's power, or its own end: its agents' sockets close."""
        self.process.kill()
        for agent in self.agents:
            agent.guard_gone()


class Connection:
    """The agent's end of the guard's socket; it has as much of ``socket.socket`` as the client uses."""

    def __init__(self, client: SimGuard, guard: GuardProcess) -> None:
        self.client = client
        self.guard = guard
        self.closed = False
        guard.agents.append(self)

    @property
    def open(self) -> bool:
        return not self.closed and self.client.agent.alive

    def fileno(self) -> int:
        return 0

    def send(self, packet: bytes, flags: int = 0) -> int:
        if not self.guard.process.alive:
            raise BrokenPipeError("the guard is gone")
        self.client.world.loop.later(HOP_S, self.guard.receive, self, packet)
        return len(packet)

    def close(self) -> None:
        self.closed = True

    def answer(self, packet: bytes) -> None:
        """What the guard says arrives, and is read when the agent gets time."""
        client = self.client
        client.world.loop.later(HOP_S, client.agent.soon, self._heard, packet)

    def _heard(self, packet: bytes) -> None:
        if self.client.connection is self:
            self.client.take(packet)

    def guard_gone(self) -> None:
        self.client.agent.soon(self._lost)

    def _lost(self) -> None:
        if self.client.connection is self:
            self.client.lose("it ended")


class SimGuard(GuardClient):
    """The ``Guard`` port of one agent: the production client on a simulated socket."""

    def __init__(self, world: World, host: Host, agent: Process) -> None:
        super().__init__(Path("/sim") / host.name, Path("/sim"), KILL_TIME_S, host.clock)
        self.world = world
        self.host = host
        self.agent = agent
        self.on_change(host.wake_agent)

    @property
    def connection(self) -> Connection | None:
        return cast("Connection | None", self._connection)

    def take(self, packet: bytes) -> None:
        self._heard(json.loads(packet))

    def lose(self, why: str) -> None:
        self._lose(why, dead=True)

    def _connect(self) -> bool:
        guard = self.host.guard
        if guard is None or not guard.process.alive:
            return False
        self._connection, self.pid = cast("socket.socket", Connection(self, guard)), 1
        return True

    async def _start(self, timeout: float) -> str:
        await asyncio.sleep(self.host.random.uniform(0.02, 0.08))
        if self.host.guard_fails:
            return "out of processes"
        if self.host.guard is None or not self.host.guard.process.alive:
            term, until = (0, None) if self._permit is None else (int(self._permit[0]), float(self._permit[1]))
            self.host.start_guard(term, until)
        return ""

    def _kill_frozen(self) -> None:
        connection = self.connection
        if connection is not None:
            connection.guard.process.kill()
            self._lose("it did not answer and was killed", dead=True)

    def extend(self, term: Term, permit_until: Instant) -> None:
        if self.host.permit is not None:  # it counts from the telling, also while the guard is frozen
            self.host.permit = max(self.host.permit, float(permit_until))
        super().extend(term, permit_until)
