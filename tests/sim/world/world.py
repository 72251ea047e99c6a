"""The world: one loop, one network, one etcd, the hosts, and the history of everything that happened."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from itertools import count
from typing import TYPE_CHECKING, Protocol

from haagent.core.answers import Answer
from haagent.core.facts import Document, Me, Tags, View
from haagent.core.terms import SystemId
from tests.sim.world.calm import Calm
from tests.sim.world.dcs import EtcdCluster
from tests.sim.world.elsewhere import FAR, Far
from tests.sim.world.events import Acked, Committed, Event
from tests.sim.world.hosts import Host
from tests.sim.world.knobs import Knobs
from tests.sim.world.network import Network
from tests.sim.world.operators import Operators
from tests.sim.world.time import Clock, Process, VirtualLoop
from tests.sim.world.wal import Data, Record

if TYPE_CHECKING:
    from tests.sim.world.server import Server


class AgentLike(Protocol):
    """What the world needs of an agent; ``haagent.agent.loop.Agent`` is one."""

    async def run(self) -> int: ...

    def current(self) -> View: ...

    async def submit(self, kind: str, body: Document, origin: str = "") -> Answer: ...

    def wake(self, reason: str) -> None: ...

    def stop(self) -> None: ...


MakeAgent = Callable[["World", Host, Process], AgentLike]


class World:
    """Everything there is; whoever listens hears each event as it happens."""

    def __init__(self, loop: VirtualLoop, seed: int, knobs: Knobs, make_agent: MakeAgent) -> None:
        self.loop = loop
        self.seed = seed
        self.knobs = knobs
        self.speed = knobs.speed
        self.random = random.Random(f"{seed}/world")
        self.network = Network(loop, seed)
        self.network.weather = knobs.weather
        self.crash_reports: list[str] = []
        self.rows_taken: Counter[int] = Counter()
        self.copies_destroyed = False
        """Somebody deleted a data directory for good."""
        self.backup: Data | None = None
        """What somebody copied of a node to a safe place."""
        self.listeners: list[Callable[[Event], None]] = []
        self._make_agent = make_agent
        self._uids = count(1)
        self._promotions = count(1)
        self._systems = count(1)
        self.hosts = {
            name: Host(self, name, Clock(loop, knobs.offsets[number], knobs.rates[number]))
            for number, name in enumerate(knobs.nodes)
        }
        self.far = Far(self)
        if knobs.elsewhere:
            self.far.begin()
        self.network.on_change(self._network_changed)
        self.etcd = EtcdCluster(self)
        self.operators = Operators(self)
        self.calm = Calm(self)

    @property
    def now(self) -> float:
        return self.loop.true_time

    def log(self, event: Event) -> None:
        for listener in self.listeners:
            listener(event)

    # --- what is counted over the whole world ---

    def next_uid(self) -> int:
        return next(self._uids)

    def next_promotion(self) -> int:
        return next(self._promotions)

    def next_system_id(self) -> SystemId:
        return SystemId(str(7_000_000_000_000_000_000 + next(self._systems)))

    def make_backup(self, name: str) -> None:
        """Copy what a node has by now to a safe place."""
        self.backup = Data()
        self.backup.take_over(self.hosts[name].data, self.hosts[name].data.end)

    # --- who is where ---

    def server_at(self, host: str) -> Server | None:
        if host == FAR:
            return self.far.server
        return self.hosts[host].server if host in self.hosts else None

    def server_process_at(self, host: str) -> Process | None:
        server = self.server_at(host)
        return None if server is None else server.process

    def agent_process_at(self, host: str) -> Process | None:
        found = self.hosts[host].agent_process
        return found if found is not None and found.alive else None

    def make_agent(self, host: Host, process: Process) -> AgentLike:
        return self._make_agent(self, host, process)

    def me(self, host: Host) -> Me:
        """A node as its own file would describe it; its address is its name."""
        return Me(
            name=host.name,
            scope="sim",
            host=host.name,
            port=5432,
            conn_url=f"postgres://{host.name}:5432/postgres",
            api_url=f"http://{host.name}:8008/patroni",
            tags=Tags(),
        )

    def _network_changed(self) -> None:
        for host in (*self.hosts.values(), self.far):
            if host.server is not None:
                host.server.network_changed()

    # --- commits ---

    def committed(self, server: Server, number: int, record: Record, *, direct: bool) -> None:
        host = server.host
        self.log(
            Committed(
                self.now, host.name, number, record.uid, record.timeline, record.end, server.promotion, direct,
                host.permit_until(), server.fenced, *host.void(),
            )
        )  # fmt: skip

    def acked(self, server: Server, number: int, record: Record, *, sync: bool) -> None:
        host = server.host
        facts = (host.permit_until(), server.fenced, *host.void())
        told = (record.timeline, server.names)
        self.log(Acked(self.now, host.name, number, record.uid, server.promotion, sync, *facts, *told))
