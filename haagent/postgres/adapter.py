"""The Postgres port: one facade over the modules of this folder, which hold the work."""

from __future__ import annotations

import asyncio
import shlex
import signal
import time
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

import psycopg

from haagent.core.facts import Divergence, HistoryLine, PostgresFacts, ServerConfig, ServerFacts, SlotFacts, Upstream
from haagent.core.methods import ReplicaMethod
from haagent.core.terms import Instant, Lsn, SystemId, Timeline
from haagent.ports import Refused, Report, StopMode, Unknown, Unreachable, allowed
from haagent.postgres import clone, compare, initialize, render, rewind, server, slots, unfinished
from haagent.postgres.aside import begun_only, discard, move_aside
from haagent.postgres.control import ControlData, read_control
from haagent.postgres.copies import SlotCopies, discard_logical
from haagent.postgres.disk import on_disk
from haagent.postgres.files import read_marker
from haagent.postgres.logical import LogicalSlots
from haagent.postgres.postmaster import Postmaster
from haagent.postgres.probe import Probe
from haagent.postgres.programs import run_hook
from haagent.postgres.senders import SenderWatches
from haagent.postgres.settings import PostgresSettings
from haagent.postgres.sql import Address, Client, Connection, connect, conninfo_of, told
from haagent.postgres.wal import newest_history

MESSAGE = "SELECT pg_logical_emit_message(true, 'haagent', 'synchronous_standby_names changed')"


def boottime() -> Instant:
    """CLOCK_BOOTTIME in seconds."""
    return Instant(time.clock_gettime(time.CLOCK_BOOTTIME))


class PostgresAdapter:
    """Implements ``haagent.ports.Postgres`` on a real data directory.

    ``kill_tree`` ends every process of the data directory, and tells how many there were. ``settings`` may be replaced
    at any time; the new ones count from the next call on.
    """

    def __init__(
        self,
        settings: PostgresSettings,
        kill_tree: Callable[[], Awaitable[int]],
        now: Callable[[], Instant] = boottime,
    ) -> None:
        self.settings = settings
        self._kill_tree = kill_tree
        self._postmaster = Postmaster()
        self._senders = SenderWatches()
        self._logical = LogicalSlots()
        self._copies = SlotCopies(now)
        self._client = Client()
        self._probe = Probe(settings, self._postmaster, self._client, now)
        self._configured: ServerConfig | None = None
        self._at_work = False
        self._to_be_reloaded = False
        """It was started with more than its files say, and tells so (``pending_restart``) only after a reload."""

    # --- observe

    async def probe(self, timeout: float) -> PostgresFacts:
        facts = await self._probe.probe(self.settings, self._configured, timeout, at_work=self._at_work)
        if facts.server is not None and self._to_be_reloaded and facts.unreachable_since is None:
            self._to_be_reloaded = False
            await self.reload()
        if facts.server is not None:
            facts = replace(facts, server=self._copies.mark(facts.server), slots_staged_at=self._copies.staged_at)
        self._senders.see(facts.server.senders if facts.server and not facts.server.in_recovery else ())
        return facts

    def on_end(self, wake: Callable[[str], None]) -> None:
        self._postmaster.on_end(wake)

    def on_sender_end(self, wake: Callable[[str], None]) -> None:
        self._senders.on_end(wake)

    def on_disk_change(self, wake: Callable[[str], None]) -> None:
        self._probe.volumes.on_change(wake)

    async def history(self) -> Sequence[HistoryLine]:
        try:
            return await on_disk(lambda: newest_history(self.settings))
        except (OSError, ValueError) as error:
            raise Refused(f"the timeline history in {self.settings.data_dir}/pg_wal cannot be read: {error}") from error

    # --- rule

    async def configure(self, config: ServerConfig) -> None:
        self._configured = None  # until it is written: half of it may already be there
        changed = await on_disk(lambda: server.write_files(self.settings, config))
        self._configured = config
        if changed and self._postmaster.process is not None:
            self._postmaster.signal(signal.SIGHUP)

    async def reload(self) -> None:
        self._postmaster.signal(signal.SIGHUP)

    async def start(self, config: ServerConfig, *, primary: bool, permitted: Callable[[], None] = allowed) -> None:
        control = await self._stopped_control()
        role = server.Role(primary, permitted)
        self._copies.forget()
        await server.start(self.settings, config, self._postmaster, self._kill_tree, control, role)
        self._to_be_reloaded = not primary and bool(render.raised(config, control.least))
        self._configured = config

    async def stop(self, mode: StopMode) -> None:
        server.stop(self._postmaster, mode)

    async def kill_tree(self) -> int:
        return await self._kill_tree()

    async def promote(self, present: Timeline, claimed: Timeline) -> None:
        await server.promote(self.settings, self._postmaster, present, claimed)

    async def checkpoint(self, timeout: float) -> None:
        words = conninfo_of(self.settings, self._address()) | {"options": ""}
        try:
            connection = await connect(words, timeout)
        except (psycopg.Error, TimeoutError) as error:
            raise Unreachable(f"no connection for a checkpoint: {told(error)}") from error
        await _checkpoint(connection, timeout)

    async def stir(self, timeout: float) -> None:
        try:
            await self._client.fetch(self.settings, self._address(), MESSAGE, timeout=timeout)
        except (psycopg.Error, TimeoutError) as error:
            raise Unknown(f"no message in the WAL: {told(error)}") from error

    async def sync_slots(
        self,
        create: Sequence[SlotFacts],
        drop: Sequence[str],
        advance: Mapping[str, Lsn],
        timeout: float,
        *,
        protect: Sequence[str] = (),
    ) -> None:
        address = self._address()
        made = [slot for slot in create if slot.kind == "logical"]
        if made or protect or advance:
            self._logical.begin(self.settings, address, made, protect, advance)
        kept = [slot for slot in create if slot.kind == "physical"]
        orders = slots.Orders(kept, drop, advance)
        await slots.sync_slots(self.settings, self._client, address, orders, timeout)

    async def copy_slots(self, source: Upstream, own_slot: str, fetch: Collection[str], prove: Collection[str]) -> None:
        self._copies.begin(self.settings, self._address(), source, own_slot, fetch, prove)

    # --- long jobs

    async def initialize(self, config: ServerConfig, report: Report) -> SystemId:
        await self._present()
        with self._building():
            return await initialize.initialize(self.settings, config, report)

    async def clone(
        self, source: Upstream | None, slot: str | None, report: Report, methods: Sequence[ReplicaMethod] = ()
    ) -> None:
        await self._present()
        with self._building():
            await clone.clone(self.settings, source, slot, report, methods)

    async def compare(self, source: Upstream) -> Divergence:
        facts = await self._facts(starting=True)
        control = await read_control(self.settings)
        local = await compare.local_end(self.settings, control, facts)
        return await compare.compare(self.settings, source, local)

    async def rewind(self, source: Upstream, report: Report) -> None:
        control = await self._stopped_control()
        rewind.check_preconditions(self.settings, control)
        await server.clear_orphans(self.settings, self._kill_tree)
        if await on_disk(lambda: read_marker(self.settings)) is not None:
            raise Refused(
                f"{self.settings.data_dir} is unfinished: an interrupted pg_rewind has overwritten WAL that it would "
                f"need again; clone this node anew"
            )
        divergence = await self.compare(source)
        rewind.judge(divergence)
        with self._building():
            await rewind.rewind(self.settings, source, control, divergence.diverged, report)
            await on_disk(lambda: discard_logical(self.settings))

    async def move_aside(self, why: str) -> str:
        await on_disk(lambda: unfinished.end_leftover(self.settings))
        await server.clear_orphans(self.settings, self._kill_tree)
        self._configured = None
        marker = await on_disk(lambda: read_marker(self.settings))
        if marker is not None and marker.doing == "cloning" and await on_disk(lambda: begun_only(self.settings)):
            return await on_disk(lambda: discard(self.settings))
        return await on_disk(lambda: move_aside(self.settings, why))

    async def run_hook(self, command: str, arguments: Sequence[str], timeout: float) -> int:
        try:
            words = shlex.split(command)
        except ValueError as error:
            raise Refused(f"what is configured is no command line: {error}") from error
        return await run_hook([*words, *arguments], timeout)

    async def close(self) -> None:
        """Give up the connection and the watch; PostgreSQL runs on."""
        await self._logical.close()
        await self._copies.close()
        await self._client.close()
        self._probe.volumes.close()
        self._senders.close()
        self._postmaster.close()

    # --- helpers

    async def _present(self) -> None:
        """Refused when the file system on which data lay before is not mounted."""
        why = await on_disk(lambda: self._probe.place.missing(self.settings))
        if why:
            raise Refused(why)

    @contextmanager
    def _building(self) -> Iterator[None]:
        """The data directory is being built: what runs there is not PostgreSQL at service, and its files change."""
        self._configured = None
        self._at_work = True
        try:
            yield
        finally:
            self._at_work = False

    def _running(self) -> bool:
        return self._postmaster.process is not None

    def _address(self) -> Address:
        address = self._probe.address
        if address is None:
            raise Unreachable("PostgreSQL does not run")
        return address

    async def _stopped_control(self) -> ControlData:
        if self._running():
            raise Refused("PostgreSQL still runs")
        return await read_control(self.settings)

    async def _facts(self, *, starting: bool = False) -> ServerFacts | None:
        """What a running server says of itself now; None when it does not run, or with ``starting`` not answer yet."""
        facts = await self.probe(5.0)
        if facts.postmaster is None or (starting and facts.server is None and facts.unreachable_since is None):
            return None
        if facts.server is None or facts.unreachable_since is not None:
            raise Unreachable(f"PostgreSQL runs but does not answer: {facts.unreachable_why or 'it is starting'}")
        return facts.server


async def _checkpoint(connection: Connection, timeout: float) -> None:
    try:
        async with asyncio.timeout(timeout):
            await connection.execute("CHECKPOINT")
    except TimeoutError:
        raise Unknown(f"the checkpoint did not end within {timeout:g} s; it goes on") from None
    except psycopg.Error as error:
        raise Refused(f"no checkpoint: {told(error)}") from error
    finally:
        await connection.close()
