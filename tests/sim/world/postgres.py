"""The ``Postgres`` port of a simulated node: one data directory, and the server on it if there is one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from haagent.core.facts import (
    IMMOVABLE,
    DataFacts,
    DataKind,
    Divergence,
    HistoryLine,
    PostgresFacts,
    Progress,
    Receiver,
    ServerConfig,
    ServerFacts,
    SlotFacts,
    Upstream,
    WalSender,
)
from haagent.core.facts import Process as Postmaster
from haagent.core.methods import ReplicaMethod
from haagent.core.terms import Instant, Lsn, SystemId, Timeline
from haagent.ports import Refused, Report, StopMode, Unknown, Unreachable, allowed
from tests.sim.world.network import LostError
from tests.sim.world.server import Phase, Server
from tests.sim.world.streams import Stream
from tests.sim.world.wal import START, Data, Record, fork_of

if TYPE_CHECKING:
    from tests.sim.world.hosts import Host
    from tests.sim.world.time import Process
    from tests.sim.world.world import World

PORT = 5432
LOOK_S = 0.002
"""What a look at files and processes takes."""
LATE_RECORDS = 4
"""pg_rewind reads the WAL before it asks how far that must reach: so many records may have come in between."""


class SimPostgres:
    """PostgreSQL as one agent sees and moves it."""

    def __init__(self, world: World, host: Host, agent: Process) -> None:
        self.world = world
        self.host = host
        self.agent = agent
        self._last: ServerFacts | None = None
        self._silent_since: Instant | None = None

    # --- looking ---

    async def probe(self, timeout: float) -> PostgresFacts:
        return replace(await self._probe(timeout), disk=self.host.disk.facts(self.host.clock.now()))

    async def _probe(self, timeout: float) -> PostgresFacts:
        hung = self.host.disk.hung
        await asyncio.sleep(timeout if hung else LOOK_S)
        server, data = self.host.server, self.host.data
        if server is None or server.orphaned:
            self._last = self._silent_since = None
            orphans = 0 if server is None else 3
            return PostgresFacts(self._data_facts(), configured=data.configured, orphans=orphans)
        postmaster = Postmaster(server.pid, server.started_ticks)
        if server.process.frozen:
            await asyncio.sleep(timeout)
            server = self.host.server
        if server is None or hung or server.process.frozen or not server.lets_in:
            starting = server is not None and server.starting
            return self._silent(postmaster if server is not None else None, starting)
        self._silent_since = None
        self._last = self._server_facts(server)
        return PostgresFacts(self._data_facts(), postmaster, self._last, configured=data.configured)

    def _silent(self, postmaster: Postmaster | None, starting: bool) -> PostgresFacts:
        if postmaster is None or starting:
            self._silent_since = None
            return PostgresFacts(
                self._data_facts(), postmaster, starting=starting, configured=self.host.data.configured
            )
        if self._silent_since is None:
            self._silent_since = self.host.clock.now()
        return PostgresFacts(
            self._data_facts(),
            postmaster,
            self._last,
            unreachable_since=self._silent_since,
            unreachable_why="no answer within the time",
            configured=self.host.data.configured,
        )

    def _data_facts(self) -> DataFacts:
        data = self.host.data
        if self.host.disk.hung and self.host.server is None:
            return DataFacts(DataKind.UNKNOWN)
        if data.kind is not DataKind.VALID:
            return DataFacts(data.kind, marker=data.marker)
        if data.in_production:
            state = "in production"
        elif data.standby_signal:
            state = "shut down in recovery" if data.clean else "in archive recovery"
        else:
            state = "shut down"
        heard = data.newest_timeline if data.standby_signal or self.host.server is None else 0
        return DataFacts(
            data.kind, data.system_id, Timeline(data.timeline), state, data.checkpoint, data.standby_signal,
            Timeline(heard), Timeline(0), data.marker,
            self.world.knobs.mount_points,
        )  # fmt: skip

    def _server_facts(self, server: Server) -> ServerFacts:
        recovery = server.phase is Phase.RECOVERY
        data = server.data
        assert data.system_id is not None
        return ServerFacts(
            seen_at=self.host.clock.now(),
            in_recovery=recovery,
            timeline=Timeline(data.timeline),
            version=150014,
            started_at=f"{server.started_at:.3f}",
            system_id=data.system_id,
            write_lsn=None if recovery else data.end,
            received_lsn=server.received if recovery else None,
            replayed_lsn=server.replayed if recovery else None,
            receiver=self._receiver(server),
            senders=self._senders(server),
            synchronous_standby_names=server.names,
            replay_paused=recovery and bool(server.short),
            short_of=dict(server.short) if recovery else {},
            replayed_all=not (recovery and server.short),
            fenced=server.fenced,
        )

    def _receiver(self, server: Server) -> Receiver | None:
        stream = server.receiver
        if stream is None or not stream.open or server.phase is not Phase.RECOVERY:
            return None
        return Receiver("streaming", stream.upstream.host.name, PORT, None, Timeline(server.data.timeline))

    def _senders(self, server: Server) -> tuple[WalSender, ...]:
        wanted = server.sync_wanted()
        return tuple(self._sender(number, s, wanted) for number, s in enumerate(server.streams) if s.open)

    def _sender(self, number: int, s: Stream, wanted: tuple[bool, int, tuple[str, ...]] | None) -> WalSender:
        state, priority = "async", 0
        if wanted is not None:
            any_will_do, count, names = wanted
            if s.name in names or "*" in names:
                place = 0 if "*" in names else names.index(s.name)
                state = "quorum" if any_will_do else ("sync" if place < count else "potential")
                priority = 1 if any_will_do else place + 1
        return WalSender(
            5000 + number, "replicator", s.name, s.standby.host.name, "streaming", state, priority,
            s.sent, s.flushed, s.flushed, s.flushed,
        )  # fmt: skip

    def on_end(self, wake: Callable[[str], None]) -> None:
        agent = self.agent

        def tell(reason: str) -> None:
            if agent.alive:
                agent.soon(wake, reason)

        self.host.on_server_end = tell

    def on_sender_end(self, wake: Callable[[str], None]) -> None:
        agent = self.agent

        def tell(reason: str) -> None:
            if agent.alive:
                agent.soon(wake, reason)

        self.host.on_sender_end = tell

    def on_disk_change(self, wake: Callable[[str], None]) -> None:
        """Disks of the simulated world neither fill nor fail."""

    # --- moving ---

    def _running(self) -> Server:
        if self.host.server is None:
            raise Refused("there is no postmaster")
        return self.host.server

    async def configure(self, config: ServerConfig) -> None:
        await asyncio.sleep(LOOK_S)
        self.host.data.configured = config
        server = self.host.server
        if server is not None:
            server.process.soon(server.reload)

    async def reload(self) -> None:
        server = self._running()
        server.process.soon(server.reload)

    async def start(self, config: ServerConfig, *, primary: bool, permitted: Callable[[], None] = allowed) -> None:
        await self._touch()
        data = self.host.data
        if self.host.server is not None and self.host.server.orphaned:
            await self.kill_tree()
        if self.host.server is not None:
            raise Refused(f"a postmaster runs already, pid {self.host.server.pid}")
        if data.kind is not DataKind.VALID:
            raise Refused(f"the data directory is {data.kind.value}")
        data.configured = config
        permitted()
        self.host.start_server(primary=primary)

    async def stop(self, mode: StopMode) -> None:
        server = self._running()
        server.process.soon(server.stop, mode)

    async def kill_tree(self) -> int:
        if self.host.server is None:
            return 0
        delay = self.world.speed.kill * self.host.random.uniform(0.2, 1)
        self.host.kill_tree(delay, "killed by the agent")
        await asyncio.sleep(delay * 1.1)
        return 8

    async def promote(self, present: Timeline, claimed: Timeline) -> None:
        await asyncio.sleep(LOOK_S)
        server = self._running()
        if server.phase is Phase.PRIMARY:
            raise Refused("the server is not in recovery")
        server.data.newest_timeline = max(server.data.newest_timeline, claimed - 1)
        server.process.soon(server.promote)

    async def checkpoint(self, timeout: float) -> None:
        server = self._running()
        if not server.answers:
            raise Unknown(f"no answer within {timeout:g} s")
        await asyncio.sleep(self.host.random.uniform(0.01, 0.3))

    async def stir(self, timeout: float) -> None:
        server = self._running()
        if not server.answers:
            raise Unknown(f"no answer within {timeout:g} s")
        if server.writable and self.host.disk.takes_writes:
            server.append("message")

    async def sync_slots(
        self,
        create: Sequence[SlotFacts],
        drop: Sequence[str],
        advance: Mapping[str, Lsn],
        timeout: float,
        *,
        protect: Sequence[str] = (),
    ) -> None:
        await asyncio.sleep(LOOK_S)
        self._running()

    async def copy_slots(self, source: Upstream, own_slot: str, fetch: Collection[str], prove: Collection[str]) -> None:
        raise Refused("this world has no logical slots")

    async def history(self) -> Sequence[HistoryLine]:
        await asyncio.sleep(LOOK_S)
        return [
            HistoryLine(Timeline(s.timeline), s.lsn, "no recovery target specified") for s in self.host.data.switches
        ]

    # --- long jobs ---

    async def initialize(self, config: ServerConfig, report: Report) -> SystemId:
        await self._touch()
        data = self.host.data
        if data.kind not in (DataKind.ABSENT, DataKind.EMPTY):
            raise Refused(f"the data directory is {data.kind.value}")
        data.kind, data.marker = DataKind.UNFINISHED, "initializing"
        await asyncio.sleep(self.world.speed.initdb * self.host.random.uniform(0.5, 1.5))
        self._fail_copy("initdb")
        data.system_id = self.world.next_system_id()
        data.timeline = data.newest_timeline = 1
        data.records = [Record(self.world.next_uid(), Lsn(START + 100), 1, "checkpoint")]
        data.clean, data.in_production, data.standby_signal = True, False, False
        data.configured = config
        data.kind, data.marker = DataKind.VALID, None
        return data.system_id

    async def _ask_other(self, source: Upstream, timeout: float) -> Data:
        """Ask another server about its history; Unreachable or Unknown when it does not answer."""

        async def look() -> Data:
            server = self.world.server_at(source.host)
            if server is None or not server.answers:
                raise LostError("the database system is starting up", sent=False)
            return server.data

        world = self.world
        try:
            async with asyncio.timeout(timeout):
                return await world.network.call(
                    self.host.name, source.host, lambda: world.server_process_at(source.host), look
                )
        except LostError as error:
            raise Unreachable(f"{source.name}: {error}") from None
        except TimeoutError:
            raise Unknown(f"{source.name}: no answer within {timeout:g} s") from None

    async def _copy(self, source: Upstream, seconds: float, report: Report) -> Data:
        """Read from another server for that long, in steps; Unknown when it ends or its network is cut meanwhile."""
        await self._ask_other(source, 3.0)
        server, network = self.world.server_at(source.host), self.world.network
        steps = 8
        for step in range(steps):
            await asyncio.sleep(seconds * self.host.random.uniform(0.5, 1.5) / steps)
            self._fail_copy("the copy")
            report(Progress("copying", step, steps))
            waited = 0.0
            while not (network.open(source.host, self.host.name) and server is not None and server.process.runs):
                if server is None or server.ended or waited > self.world.speed.receiver_timeout:
                    raise Unknown(f"{source.name} ended, or its network did, after {step} of {steps} steps")
                await asyncio.sleep(0.5)
                waited += 0.5
        assert server is not None
        return server.data

    async def _restore(self) -> Data:
        """What the operator's program makes of the last backup."""
        await asyncio.sleep(self.world.speed.clone)
        self._fail_copy("the restore")
        assert self.world.backup is not None
        return self.world.backup

    async def clone(
        self, source: Upstream | None, slot: str | None, report: Report, methods: Sequence[ReplicaMethod] = ()
    ) -> None:
        await self._touch()
        data = self.host.data
        if source is None and self.world.backup is None:
            raise Refused("there is neither anybody to copy from nor a backup")
        if data.kind in (DataKind.VALID, DataKind.UNREADABLE, DataKind.UNMOUNTED):
            raise Refused(f"the data directory is {data.kind.value}")
        if self.host.server is not None:
            raise Refused("a postmaster runs on this data directory")
        data.kind, data.marker = DataKind.UNFINISHED, "cloning"
        theirs = await (self._restore() if source is None else self._copy(source, self.world.speed.clone, report))
        data.newest_timeline = 0
        data.take_over(theirs, theirs.end)
        data.clean, data.in_production, data.standby_signal = False, False, True
        data.kind, data.marker = DataKind.VALID, None

    async def rewind(self, source: Upstream, report: Report) -> None:
        data = self.host.data
        if self.host.server is not None:
            raise Refused("a postmaster runs on this data directory")
        await self._touch()
        if data.kind is not DataKind.VALID:
            raise Refused(f"the data directory is {data.kind.value}")
        if self.host.rewinds_fail:
            raise Refused("pg_rewind ended with exit code 1, nothing was changed: could not find previous WAL record")
        if self.host.copy_fails and self.host.random.random() < 0.8:
            raise Refused("pg_rewind: no space is left for what it would copy")
        theirs = await self._ask_other(source, 3.0)
        if theirs.system_id != data.system_id:
            raise Refused("source and target are from different systems")
        data.kind, data.marker = DataKind.UNFINISHED, "rewinding"
        theirs = await self._copy(source, self.world.speed.rewind, report)
        data.newest_timeline = 0
        data.take_over(theirs, theirs.before_end(self.host.random.randint(0, LATE_RECORDS)))
        data.needs = theirs.end
        data.clean, data.in_production, data.standby_signal = False, False, True
        data.kind, data.marker = DataKind.VALID, None

    async def compare(self, source: Upstream) -> Divergence:
        theirs = await self._ask_other(source, 3.0)
        own = self.host.data
        fork = fork_of(own, theirs)
        lost = 0 if fork is None else int(own.end) - int(fork)
        commits = None if fork is None else len(own.records) - own.index_after(fork)
        gone = f"{source.name} keeps no WAL from before {theirs.kept_from}" if own.end < theirs.kept_from else ""
        if own.needs > own.end and fork is not None:
            gone = f"it needs the WAL up to {own.needs}, has it up to {own.end}, and {source.name} left that history"
        return Divergence(
            source.name, Timeline(theirs.timeline), Timeline(own.timeline), own.end, fork, lost, commits,
            "" if fork is None else f"histories part at {fork}", gone,
        )  # fmt: skip

    async def _touch(self) -> None:
        """Something is to be written: Refused by a disk that takes no writes, Unreachable by one that hangs."""
        await asyncio.sleep(LOOK_S)
        if self.host.disk.hung:
            await asyncio.sleep(3.0)
            raise Unreachable("the disk did not answer within 10 s")
        if self.host.disk.read_only:
            raise Refused("the file system is read-only")

    def _fail_copy(self, what: str) -> None:
        if self.host.copy_fails or not self.host.disk.takes_writes:
            raise Refused(f"{what} failed: no space is left on the device")

    async def move_aside(self, why: str) -> str:
        await self._touch()
        if self.host.server is not None:
            raise Refused("a postmaster runs on this data directory")
        if self.world.knobs.mount_points and self.host.data.marker != "cloning":
            refusal = Refused("the data directory is a mount point")
            refusal.reason = IMMOVABLE
            raise refusal
        self.host.move_data_aside(why)
        return f"/data.{len(self.host.aside)}"

    async def run_hook(self, command: str, arguments: Sequence[str], timeout: float) -> int:
        await asyncio.sleep(0.05)
        if self.host.hook == "hangs":
            await asyncio.sleep(timeout)
            raise Unknown(f"{command} did not end within {timeout:g} s")
        return 1 if self.host.hook == "vetoes" else 0
