"""A primary elsewhere: a host with a PostgreSQL and no agent, of which no cluster here knows but by its address."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from haagent.core.facts import DataKind, ServerConfig, Upstream
from haagent.core.terms import Lsn
from tests.sim.world.hosts import Host
from tests.sim.world.server import Server
from tests.sim.world.time import Clock
from tests.sim.world.wal import START, Record, Switch

if TYPE_CHECKING:
    from tests.sim.world.world import World

FAR = "far"


class FarServer(Server):
    """Its being writable is nobody's concern here."""

    def _say_writable(self, fork: Lsn, *, promoted: bool, adopted: bool = False) -> None:
        return

    def _become_primary(self, *, promoted: bool) -> None:
        super()._become_primary(promoted=promoted)
        self.promotion = 0
        self.process.spawn(self._write_for_ever(), "far clients")

    async def _write_for_ever(self) -> None:
        while self.writable:
            await asyncio.sleep(self.random.expovariate(1 / self.world.knobs.commit_every))
            if self.writable:
                self.append()


class Far(Host):
    """The host elsewhere; it fails only by what a scenario does to it."""

    def __init__(self, world: World) -> None:
        super().__init__(world, FAR, Clock(world.loop, 77.0, 1.0))

    def begin(self) -> None:
        """Make a cluster of its own and lead it."""
        data = self.data
        data.system_id = self.world.next_system_id()
        data.timeline = data.newest_timeline = 1
        data.records = [Record(self.world.next_uid(), Lsn(START + 100), 1, "checkpoint")]
        data.kind, data.clean = DataKind.VALID, True
        self.run(primary=True)

    def follow(self, name: str) -> None:
        """Be a standby of a node here, from a copy of it."""
        theirs = self.world.hosts[name].data
        self.data.take_over(theirs, theirs.end)
        self.data.kind, self.data.clean = DataKind.VALID, True
        self.data.configured = ServerConfig(upstream=Upstream(name, name, 5432), application_name=FAR)
        self.run(primary=False)

    def run(self, *, primary: bool) -> None:
        """Start PostgreSQL."""
        self._pids += 1
        self.server = FarServer(self.world, self, self._pids, primary=primary)

    def promote(self) -> None:
        """Lead from now on."""
        assert self.server is not None
        self.server.process.soon(self.server.promote)

    def fail_over(self, lost: int) -> None:
        """Another far node leads from now on, one that lacked the last records."""
        assert self.server is not None
        self.server.end("its host is gone")
        data = self.data
        data.records = data.records[:-lost]
        data.switches = (*data.switches, Switch(data.timeline, data.end))
        data.timeline = data.newest_timeline = data.newest_timeline + 1
        data.clean = True
        self.run(primary=True)

    def holds(self, uid: int) -> bool:
        """Whether a record is in its history."""
        return self.data.holds(uid)
