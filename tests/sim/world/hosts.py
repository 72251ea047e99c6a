"""Machines: what dies with the power, what stays on the disk, and the processes on them."""

from __future__ import annotations

import random
import traceback
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from haagent.core.facts import DataKind
from haagent.core.terms import Instant
from haagent.guard.watch import Report
from tests.sim.world.disk import Disk
from tests.sim.world.events import STARTS, Crashed, DataGone, Note
from tests.sim.world.guard import GuardProcess
from tests.sim.world.server import CommitFailedError, Server
from tests.sim.world.time import Clock, Process
from tests.sim.world.wal import Data
from tests.sim.world.watchdog import Timer

if TYPE_CHECKING:
    from tests.sim.world.world import AgentLike, World


class SimStore:
    """The ``LocalStore`` port: a file on this host's disk."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def load(self) -> Mapping[str, Any]:
        return dict(self._host.stored)

    async def keep(self, **values: object) -> bool:
        kept = {**self._host.stored, **values}
        self._host.stored = {name: value for name, value in kept.items() if value is not None}
        return True


class Host:
    """One machine with its disk, its clock, and an agent, a guard and a PostgreSQL on it."""

    def __init__(self, world: World, name: str, clock: Clock) -> None:
        self.world = world
        self.name = name
        self.clock = clock
        self.random = random.Random(f"{world.seed}/{name}")
        self.up = True
        self.freezes = 0
        self.fence, self.fence_mode = world.knobs.fence_of(name)
        """``installed``, ``missing`` or ``off``; and what the agent is told of it."""
        self.hook = "agrees"
        """What pre_promote does: ``agrees``, ``vetoes`` or ``hangs``."""
        self.guard_fails = 0
        """No guard can be started while it is not 0."""
        self.device_fails = 0
        """There is no watchdog device while it is not 0."""
        self.copy_fails = 0
        """No initdb, base backup or rewind succeeds while it is not 0."""
        self.rewinds_fail = 0
        """pg_rewind refuses to work while it is not 0."""
        self.starts_fail = 0
        self.crash_loops = 0
        self.stops_hang = 0
        """1: a fast stop has no end; more: an immediate one waits for its SIGKILL too."""
        self.promotions_hang = 0
        self.paused = False
        """An agent of this node last knew the cluster to be paused."""
        # On the disk:
        self.disk = Disk(self)
        self.data = Data()
        self.aside: list[Data] = []
        self.stored: dict[str, Any] = {}
        self.guard_marker: Report | None = None
        # In memory:
        self.server: Server | None = None
        self.guard: GuardProcess | None = None
        self.agent: AgentLike | None = None
        self.agent_process: Process | None = None
        self.agent_wanted = True
        self.able_since = 0.0
        """Since when, in true time, an agent has had all the time it wanted."""
        self.permit: float | None = None
        """The end of the permit as last told to a guard of this host; None while none is armed."""
        self.proven_until = Instant(0.0)
        """The end of the permit by the last proven renewal, which the agent enforces while it has no guard."""
        self.page_until: Instant | None = None
        """The end of the permit as the commit fence reads it."""
        self.on_server_end: Callable[[str], None] | None = None
        self.on_sender_end: Callable[[str], None] | None = None
        self.device = Timer(world, self)
        self._pids = 1000

    # --- PostgreSQL ---

    def start_server(self, *, primary: bool) -> Server:
        self._pids += 1
        self.server = Server(self.world, self, self._pids, primary=primary)
        for _ in range(self.freezes):
            self.server.process.freeze()
        return self.server

    def kill_tree(self, delay: float, how: str) -> None:
        """SIGKILL reaches every process of the server after so long, frozen or not."""
        if self.server is not None:
            self.world.loop.later(delay, self.server.end, how)

    def server_ended(self, server: Server) -> None:
        if self.server is server:
            self.server = None
            self.postmaster_ended()

    def postmaster_ended(self) -> None:
        if self.on_server_end is not None:
            self.on_server_end("the postmaster ended")

    def sender_ended(self, name: str) -> None:
        """A walsender for which commits may wait is gone."""
        if self.on_sender_end is not None:
            self.on_sender_end(f"the walsender of {name} ended")

    def move_data_aside(self, why: str) -> None:
        self.log_data_gone(f"moved aside: {why}")
        self.aside.append(self.data)
        self.data = Data()

    def log_data_gone(self, how: str) -> None:
        copies = tuple(
            other.name
            for other in (*self.world.hosts.values(), self.world.far)
            if other is not self
            and (other.data.kind is DataKind.VALID or (other.server is not None and other.server.writable))
            and (self.data.system_id is None or other.data.system_id == self.data.system_id)
        )
        if self.data.kind not in (DataKind.ABSENT, DataKind.EMPTY):
            self.world.log(DataGone(self.world.now, self.name, f"{self.data.kind.value} {how}", copies))

    # --- the commit fence ---

    @property
    def fenced(self) -> bool:
        """The server that runs here has loaded the commit fence."""
        return self.server is not None and self.server.fenced

    def fence_check(self) -> None:
        """Inside a committing backend that has loaded the fence: past the permit the commit gets an ERROR."""
        if self.page_until is None or self.clock.now() >= self.page_until:
            raise CommitFailedError("the permit of this node has ended")

    def permit_until(self) -> float | None:
        """The end of the permit in true time, as enforced on this host."""
        if self.fenced:
            return None if self.page_until is None else self.clock.true(self.page_until)
        return None if self.permit is None else self.clock.true(max(Instant(self.permit), self.proven_until))

    def leads(self) -> bool:
        """Its permit runs, and the leader key names it."""
        until = self.permit_until()
        return until is not None and until > self.world.now and self.world.etcd.holder == self.name

    # --- where nothing is promised ---

    def believes(self, *, paused: bool) -> None:
        """What an agent of this node has just read of the cluster's pause; at its end it must end what strays."""
        was, self.paused = self.paused, paused
        if was and not paused and self.server is not None and self.server.writable:
            self.server.strays("left by the pause")

    def void(self) -> tuple[str, float]:
        """Why commits here are promised nothing, and how long the agent has had to end that; empty when they are."""
        server = self.server
        if self.paused:
            return "paused", 0.0
        if server is not None and server.data.tainted:
            return "made a primary without a new timeline", 0.0
        if server is None or not server.stray:
            return "", 0.0
        runs = self.agent_process is not None and self.agent_process.runs
        since = max(server.stray_since, self.able_since)
        return server.stray, max(0.0, self.world.now - since) if runs else 0.0

    def able_again(self) -> None:
        """An agent was started or thawed."""
        self.able_since = self.world.now

    # --- the guard ---

    def start_guard(self, term: int = 0, until: float | None = None) -> GuardProcess:
        self.guard = GuardProcess(self.world, self, term, until)
        for _ in range(self.freezes):
            self.guard.process.freeze()
        return self.guard

    def kill_guard(self) -> None:
        if self.guard is not None and self.guard.process.alive:
            self.guard.died()

    # --- the agent ---

    def start_agent(self) -> None:
        """systemd starts the agent, unless it runs or this host is off."""
        if not self.up or not self.agent_wanted or (self.agent_process is not None and self.agent_process.alive):
            return
        process = Process(self.world.loop, f"{self.name}/agent", self.clock)
        for _ in range(self.freezes):
            process.freeze()
        self.agent_process = process
        self.able_again()
        self.world.log(Note(self.world.now, self.name, STARTS))
        process.spawn(self._run_agent(process), "main")

    async def _run_agent(self, process: Process) -> None:
        try:
            self.agent = self.world.make_agent(self, process)
            code = await self.agent.run()
        except Exception as error:  # an assertion of the agent ends its process, and is a finding
            where = traceback.extract_tb(error.__traceback__)[-1]
            text = f"{error!r} in {where.filename.rpartition('/')[2]}:{where.lineno}"
            self.world.log(Crashed(self.world.now, self.name, text))
            self.world.crash_reports.append("".join(traceback.format_exception(error)))
            code = 1
        self.world.log(Note(self.world.now, self.name, f"agent exits {code}"))
        self.world.loop.later(self.world.knobs.restart_after, self.start_agent)
        self._end_agent(process)

    def _end_agent(self, process: Process) -> None:
        process.kill()
        if self.agent_process is process:
            self.agent = None
            self.on_server_end = self.on_sender_end = None

    def kill_agent(self, restart_after: float | None) -> None:
        """SIGKILL; systemd starts it again after so many seconds, if at all."""
        if self.agent_process is not None:
            self._end_agent(self.agent_process)
        if restart_after is not None:
            self.world.loop.later(restart_after, self.start_agent)

    def stop_agent(self) -> None:
        """SIGTERM; systemd starts it again after it has ended."""
        if self.agent is not None and self.agent_process is not None and self.agent_process.alive:
            self.agent_process.soon(self.agent.stop)

    def wake_agent(self, reason: str) -> None:
        """An event that the agent's own ports would tell its loop."""
        if self.agent is not None and self.agent_process is not None and self.agent_process.alive:
            self.agent_process.soon(self.agent.wake, reason)

    # --- the whole machine ---

    def processes(self) -> list[Process]:
        found = [self.agent_process]
        found.append(None if self.guard is None else self.guard.process)
        found.append(None if self.server is None else self.server.process)
        return [process for process in found if process is not None and process.alive]

    def power_off(self) -> None:
        """Everything on it dies at once; the disk stays."""
        if not self.up:
            return
        self.up = False
        if self.agent_process is not None:
            self._end_agent(self.agent_process)
        self.kill_guard()
        if self.server is not None:
            self.server.end("power off")
        self.guard = None
        self.page_until = None
        self.device.stop()
        self.world.network.unplug(self.name)

    def power_on(self) -> None:
        if self.up:
            return
        self.up = True
        self.world.network.plug(self.name)
        self.world.loop.later(self.random.uniform(0.5, 3), self.start_agent)

    def freeze(self) -> None:
        """The machine gets no time, and its clocks go on."""
        self.freezes += 1
        for process in self.processes():
            process.freeze()
        if self.server is not None:
            self.server.froze()

    def thaw(self) -> None:
        """Time again, in a random order of processes; without a commit fence the guard's verdict comes first."""
        assert self.freezes > 0, f"{self.name} is not frozen"
        self.freezes -= 1
        processes = self.processes()
        self.random.shuffle(processes)
        for process in processes:
            if self.server is None or process is not self.server.process:
                process.thaw()
        self.able_again()
        if self.server is not None:
            until = self.permit_until()
            late = until is not None and until <= self.world.now and not self.fenced
            wait = self.world.speed.kill + 0.01 if late else 0.0
            self.world.loop.later(wait, self._thaw_server, self.server)

    def _thaw_server(self, server: Server) -> None:
        if server.process.alive:
            server.process.thaw()
            server.thawed()
