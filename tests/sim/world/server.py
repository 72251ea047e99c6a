"""A running PostgreSQL: recovery, commits, promotion, streaming to and from others, and its three ways to end."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from haagent.core.facts import DataKind
from haagent.core.terms import Lsn
from tests.sim.world.events import Corrupted, Readonly, Writable
from tests.sim.world.streams import Stream, Waiting, parse_sync
from tests.sim.world.time import Process
from tests.sim.world.wal import Record, Switch

if TYPE_CHECKING:
    from tests.sim.world.hosts import Host
    from tests.sim.world.world import World


LEAST_SLEEP_S = 0.001


@dataclass(slots=True)
class Speed:
    """How long PostgreSQL takes, in seconds; drawn for each run."""

    start: float = 0.3
    crash_recovery: float = 1.0
    promote: float = 0.2
    fast_stop: float = 0.2
    clone: float = 2.0
    rewind: float = 1.5
    initdb: float = 1.0
    replay: float = 0.005
    receiver_retry: float = 5.0
    receiver_timeout: float = 60.0
    kill: float = 0.05


class Phase(Enum):
    STARTING = "starting"
    INCONSISTENT = "inconsistent"
    """In recovery before its files are of one time: it streams, and lets nobody in."""
    RECOVERY = "recovery"
    PRIMARY = "primary"
    STOPPING = "stopping"


STREAMING_PHASES = (Phase.INCONSISTENT, Phase.RECOVERY)


class CommitFailedError(Exception):
    """The server said that the transaction was not committed, or said nothing any more."""


class Server:
    """One postmaster and its children. Its coroutines run in its own process context."""

    def __init__(self, world: World, host: Host, pid: int, *, primary: bool) -> None:
        self.world = world
        self.host = host
        self.data = host.data
        self.process = Process(world.loop, f"{host.name}/postgres", host.clock)
        self.pid = pid
        self.started_ticks = int(world.loop.true_time * 100) + pid
        self.started_at = world.loop.true_time
        self.phase = Phase.STARTING
        self.primary = primary
        self.promotion = 0
        self.promoting = False
        self.told_in_pause = False
        self.by_hand = False
        """Other hands than the agent's made it writable, or are about to."""
        self.stray = ""
        """Why nothing is promised of its commits."""
        self.stray_since = 0.0
        self.shut_down = False
        """Its last checkpoint is on disk; it waits for those who receive its WAL."""
        self.orphaned = False
        """The postmaster is dead, and some of its backends are not."""
        config = host.data.configured
        libraries = "" if config is None else config.parameters.get("shared_preload_libraries", "")
        self.fenced = host.fence == "installed" and "haagent_fence" in libraries
        self.replayed = self.data.end
        self.received: Lsn | None = None
        self.streams: list[Stream] = []
        self.receiver: Stream | None = None
        self.waiting: list[Waiting] = []
        self.short: dict[str, tuple[int, int]] = {}
        """What the primary has more of than this standby, so that replay has stopped: (it has, it needs)."""
        self.ended = False
        self.names = self._configured_names()
        """synchronous_standby_names in force."""
        self._wake = asyncio.Event()
        self.random = random.Random(f"{world.seed}/{host.name}/{pid}")
        self.reload_random = random.Random(f"{world.seed}/{host.name}/{pid}/reload")
        self.process.spawn(self._start(), "startup")

    # --- life ---

    async def _start(self) -> None:
        speed = self.world.speed
        self.data.standby_signal = not self.primary
        delay = speed.start if self.data.clean else speed.start + speed.crash_recovery
        await asyncio.sleep(delay * self.random.uniform(0.5, 1.5))
        if self.phase is not Phase.STARTING:
            return
        if self.host.starts_fail or not self.host.disk.takes_writes or self.data.kind is not DataKind.VALID:
            self.end("it could not start")
            return
        self.data.clean = False
        self.replayed = self.data.end
        if self.primary:
            self._become_primary(promoted=False)
            return
        self.phase = Phase.INCONSISTENT
        self.data.in_production = False
        self._let_in_once_consistent()
        await self._receive_for_ever()

    def _let_in_once_consistent(self) -> None:
        if self.phase is Phase.INCONSISTENT and self.data.end >= self.data.needs:
            self.phase = Phase.RECOVERY

    def _become_primary(self, *, promoted: bool) -> None:
        if not self.host.disk.takes_writes:
            self.end("PANIC: could not write to the write-ahead log")
            return
        self.phase = Phase.PRIMARY
        self.data.in_production = True
        self.data.standby_signal = False
        self.promotion = self.world.next_promotion()
        data = self.data
        fork = data.switches[-1].lsn if data.switches else Lsn(0)
        self.append("checkpoint")
        if self.by_hand and self.host.leads():
            self.by_hand = False
        elif self.by_hand and not self.host.paused:
            self.strays("made writable by hand")
        self._say_writable(fork, promoted=promoted and not self.by_hand)
        if self.host.crash_loops:
            self.process.after(self.random.uniform(0.05, 2), self.end, "it crashed again")

    def _say_writable(self, fork: Lsn, *, promoted: bool, adopted: bool = False) -> None:
        held = {record.uid for record in self.data.records}
        now, name, timeline = self.world.now, self.host.name, self.data.timeline
        how = (self.by_hand, adopted, promoted and self.told_in_pause)
        self.world.log(Writable(now, name, timeline, fork, self.promotion, promoted, held.__contains__, *how))

    def strays(self, why: str) -> None:
        """From now on nothing is promised of its commits, and its agent has to end that."""
        if not self.stray:
            self.stray, self.stray_since = why, self.world.now

    def taken_over(self) -> None:
        """Its guard was given a permit: promises hold again, also for what other hands had made writable."""
        self.stray = ""
        if self.by_hand and self.writable:
            self.by_hand = False
            self.promotion = self.world.next_promotion()
            self._say_writable(Lsn(0), promoted=False, adopted=True)

    @property
    def answers(self) -> bool:
        """Whether it would take a connection now."""
        up = self.process.runs and not self.orphaned
        return up and self.lets_in and not self.ended

    @property
    def lets_in(self) -> bool:
        """It has come so far that clients may connect, and is not on its way down."""
        return self.phase in (Phase.RECOVERY, Phase.PRIMARY)

    @property
    def starting(self) -> bool:
        """It lets nobody in yet."""
        return self.phase in (Phase.STARTING, Phase.INCONSISTENT)

    @property
    def writable(self) -> bool:
        return self.phase is Phase.PRIMARY and not self.ended

    def end(self, how: str, *, clean: bool = False) -> None:
        """The whole tree is gone."""
        if self.ended:
            return
        if self.promotion:
            self.world.log(Readonly(self.world.now, self.host.name, self.promotion, how))
        self.ended = True
        self.data.clean = clean or self.shut_down
        if clean:
            self.data.in_production = False
        self.process.kill()
        for stream in list(self.streams):
            self._hang_up(stream)
        if self.receiver is not None:
            self._leave(self.receiver)
        self.host.server_ended(self)

    def _leave(self, stream: Stream) -> None:
        """End this standby's connection; its walsender hears of it unless the network or this host is down."""
        stream.open = False
        upstream = stream.upstream
        if self.host.up and self.world.network.open(self.host.name, upstream.host.name):
            upstream.drop(stream)
        else:
            upstream.stall(stream)

    def stall(self, stream: Stream) -> None:
        """Nothing is heard of a standby any more: wal_sender_timeout runs."""
        if stream.stalled_at is None:
            stream.stalled_at = self.world.now
        self.process.after(self.world.speed.receiver_timeout, self._drop_if_stalled, stream, stream.stalled_at)

    def _drop_if_stalled(self, stream: Stream, since: float) -> None:
        if stream.stalled_at == since:
            stream.open = False
            self.drop(stream)

    def drop(self, stream: Stream) -> None:
        """A walsender ended."""
        if stream in self.streams:
            self.streams.remove(stream)
            if not self.ended:
                if self.sync_wanted() is not None and self.host.on_sender_end is not None:
                    self.host.on_sender_end(f"the walsender of {stream.name} ended")
                self.process.soon(self.recheck_waiting)

    def _hang_up(self, stream: Stream) -> None:
        """The standby hears of it if its network and this host still stand; else its receiver times out."""
        here, there = self.host.name, stream.standby.host.name
        if self.host.up and self.world.network.open(here, there):
            stream.open = False
            stream.standby.kick()
        else:
            stream.stalled_at = stream.stalled_at or self.world.now

    def _end_replication(self) -> None:
        """Senders and receiver are gone."""
        for stream in list(self.streams):
            self._hang_up(stream)
        self.streams.clear()
        if self.receiver is not None:
            self._leave(self.receiver)
            self.receiver = None

    def orphan(self, linger: float) -> None:
        """SIGKILL to the postmaster alone: its children see that and end, but a busy backend goes on for a while."""
        if self.starting or self.ended or self.orphaned:
            self.end("SIGKILL to the postmaster")
            return
        self.orphaned = True
        self._end_replication()
        self.world.loop.later(linger, self.end, "its last backend ended")
        self.host.postmaster_ended()

    def crash_backend(self) -> None:
        """A backend was killed: the postmaster ends all others, recovers, and is there again."""
        if not self.answers:
            return
        if self.data.configured is not None and not self.data.configured.restarts_after_crash:
            self.end("a backend crashed, and restart_after_crash is off")
            return
        if self.promotion:
            self.world.log(Readonly(self.world.now, self.host.name, self.promotion, "a backend crashed"))
        # In the midst of a promotion standby.signal is gone already, and the old timeline the one to recover.
        self.primary = self.phase is Phase.PRIMARY or self.promoting
        self.promotion, self.promoting = 0, False
        self.phase = Phase.STARTING
        self.data.clean = False
        for waiting in self.waiting:
            if not waiting.done.done():
                waiting.done.set_exception(CommitFailedError("terminating connection because of a crash"))
        self.waiting.clear()
        self._end_replication()
        self.kick()
        self.process.spawn(self._start(), "recovery")

    async def _stop_fast(self) -> None:
        """Smart order of a fast stop: backends end, a shutdown checkpoint, walsenders drain, then the end."""
        was_primary = self.phase is Phase.PRIMARY
        self.phase = Phase.STOPPING
        for waiting in self.waiting:
            if not waiting.done.done():
                waiting.done.set_exception(CommitFailedError("the server is shutting down"))
        await asyncio.sleep(self.world.speed.fast_stop * self.random.uniform(0.3, 1.5))
        while self.host.stops_hang:
            await asyncio.sleep(0.1)
        if was_primary and not self.host.disk.takes_writes:
            self.end("PANIC: could not write to the write-ahead log")
            return
        if was_primary:
            self.append("shutdown checkpoint")
            self.shut_down, self.data.in_production = True, False
            while any(stream.flushed < self.data.end for stream in self.streams):
                await asyncio.sleep(0.02)
        self.end("fast stop", clean=True)

    def stop(self, mode: str) -> None:
        """The signal; the end comes later."""
        if mode == "immediate":
            # A process that sleeps in the kernel hears no SIGQUIT; the postmaster sends SIGKILL after five seconds.
            delay = 5.0 if self.host.stops_hang > 1 else self.random.uniform(0.01, 0.1)
            self.process.after(delay, self.end, "immediate stop")
        elif self.phase is not Phase.STOPPING:
            self.process.spawn(self._stop_fast(), "shutdown")

    def promote(self, *, by_hand: bool = False) -> None:
        if not self.promoting:
            self.by_hand = by_hand
            self.told_in_pause = self.host.paused
            self.promoting = True
            self.process.spawn(self._promote(), "promotion")

    async def _promote(self) -> None:
        await asyncio.sleep(self.world.speed.promote * self.random.uniform(0.3, 1.5))
        while self.host.promotions_hang:
            await asyncio.sleep(0.1)
        if self.phase is not Phase.RECOVERY or self.orphaned:
            return
        if not self.host.disk.takes_writes:
            self.end("PANIC: could not write to the write-ahead log")
            return
        if self.receiver is not None:
            self._leave(self.receiver)
            self.kick()
        data = self.data
        data.switches = (*data.switches, Switch(data.timeline, data.end))
        data.timeline = data.newest_timeline = max(data.newest_timeline, data.timeline) + 1
        self.replayed = data.end
        data.tainted = False
        self._become_primary(promoted=True)

    # --- writing ---

    def append(self, what: str = "commit", size: int | None = None) -> Record:
        """Write and flush one WAL record, and send it on."""
        if not self.host.disk.takes_writes:
            self.process.soon(self.end, "PANIC: could not write to the write-ahead log")
            raise CommitFailedError("could not write to the write-ahead log")
        size = size or self.random.randint(40, 400)
        data = self.data
        loose = bool(self.stray) or self.by_hand or self.host.paused or data.tainted
        record = Record(self.world.next_uid(), Lsn(data.end + size), data.timeline, what, loose)
        data.records.append(record)
        for stream in self.streams:
            self._feed(stream)
        return record

    async def commit(self, number: int, *, direct: bool) -> bool:
        """A backend commits one transaction; whether synchronous standbys confirmed it; else CommitFailedError."""
        if not self.writable:
            raise CommitFailedError("cannot execute INSERT in a read-only transaction")
        self._fence_check()
        record = self.append()
        self.world.committed(self, number, record, direct=direct)
        sync = self.sync_wanted() is not None
        await self.wait_for_sync(record.end)
        self._fence_check()
        self.world.acked(self, number, record, sync=sync)
        return sync

    def _fence_check(self) -> None:
        if self.fenced:
            self.host.fence_check()

    def _configured_names(self) -> str:
        config = self.data.configured
        return "" if config is None else (config.synchronous_standby_names or "")

    def reload(self) -> None:
        """SIGHUP: what the files say is in force before long."""
        self.kick()
        if self._configured_names() != self.names:
            self.process.after(self.reload_random.uniform(0, 0.1), self._obey)

    def _obey(self) -> None:
        """Waiting commits are looked at when a standby answers; an idle one does so every 10 s."""
        self.names = self._configured_names()
        if self.names:
            self.process.after(self.reload_random.uniform(0, 10), self.recheck_waiting)
        else:
            self.recheck_waiting()

    def sync_wanted(self) -> tuple[bool, int, tuple[str, ...]] | None:
        """What synchronous_standby_names asks for; None when nothing."""
        wanted = parse_sync(self.names)
        return wanted if wanted[2] else None

    def confirmed(self, lsn: Lsn) -> bool:
        """Whether enough synchronous standbys have flushed that far."""
        wanted = self.sync_wanted()
        if wanted is None:
            return True
        any_will_do, number, names = wanted
        flushed = {stream.name: stream.flushed for stream in self.streams if stream.open}
        if "*" in names:
            names = tuple(flushed)
        if not any_will_do:
            names = tuple(name for name in names if name in flushed)[:number]
        return sum(flushed.get(name, Lsn(0)) >= lsn for name in names) >= number

    async def wait_for_sync(self, lsn: Lsn) -> None:
        """Return when the synchronous standbys confirmed; CommitFailedError when the server ends first."""
        if self.confirmed(lsn):
            return
        waiting = Waiting(lsn, self.world.loop.create_future())
        self.waiting.append(waiting)
        await waiting.done

    def recheck_waiting(self) -> None:
        """Let those commits go on that have been confirmed by now, or that need not be any more."""
        for waiting in [w for w in self.waiting if self.confirmed(w.lsn)]:
            self.waiting.remove(waiting)
            if not waiting.done.done():
                waiting.done.set_result(None)

    # --- streaming, upstream's side ---

    def accept(self, standby: Server, name: str) -> Stream | None:
        """A standby asks to stream from where it is; None when this history cannot serve it.

        PostgreSQL compares timelines and positions, not content; that a position holds another record is seen here
        only, and logged as damage.
        """
        theirs, ours = standby.data, self.data
        reach = ours.ended(theirs.timeline)
        if not self.answers or theirs.system_id != ours.system_id or reach is None or theirs.end > reach:
            return None
        if theirs.end < ours.kept_from:
            return None
        last = theirs.records[-1] if theirs.records else None
        if last is not None and ours.at(last.end) != last:
            by_hand = theirs.parts_by_hand(ours)
            self.world.log(Corrupted(self.world.now, standby.host.name, self.host.name, last.end, by_hand))
        stream = Stream(standby, self, name, theirs.end, theirs.end)
        self.streams.append(stream)
        return stream

    def _feed(self, stream: Stream) -> None:
        """Send what is there; one batch on its way at a time."""
        if stream.busy or not stream.open or stream.sent >= self.data.end or not self.process.runs:
            return
        here, there = self.host.name, stream.standby.host.name
        if not self.world.network.open(here, there):
            self.stall(stream)
            return
        first = self.data.index_after(stream.sent)
        batch = self.data.records[first:]
        stream.sent, stream.busy = self.data.end, True
        history = (self.data.switches, self.data.newest_timeline)
        self.world.loop.later(self.world.network.delay(here, there), self._arrive, stream, batch, history)

    def _arrive(self, stream: Stream, batch: list[Record], history: tuple[tuple[Switch, ...], int]) -> None:
        stream.busy = False
        here, there = self.host.name, stream.standby.host.name
        if not self.world.network.open(here, there):
            stream.sent = stream.flushed
            self.stall(stream)
            return
        if stream.standby.process.alive:
            stream.standby.process.soon(stream.standby.deliver, stream, batch, history)

    def acknowledge(self, stream: Stream, lsn: Lsn) -> None:
        """The standby's word that it has flushed that far."""
        if self.ended:
            stream.stalled_at = stream.stalled_at or self.world.now
            return
        stream.flushed = max(stream.flushed, lsn)
        stream.stalled_at = None
        self.process.soon(self.recheck_waiting)
        self.process.soon(self._feed, stream)

    # --- streaming, the standby's side ---

    def deliver(self, stream: Stream, batch: list[Record], history: tuple[tuple[Switch, ...], int]) -> None:
        """WAL arrives; PostgreSQL flushes it, switches timelines where the upstream did, and confirms."""
        if self.ended or self.receiver is not stream or not stream.open or self.phase not in STREAMING_PHASES:
            return
        if not self.host.disk.takes_writes:
            self.end("PANIC: could not write to the write-ahead log")
            return
        data = self.data
        new = [record for record in batch if record.end > data.end]
        data.records.extend(new)
        switches, newest = history
        if data.records:
            data.timeline = data.records[-1].timeline
            data.switches = tuple(s for s in switches if s.timeline < data.timeline)
        data.newest_timeline = max(data.newest_timeline, newest)
        self.received = data.end
        self._let_in_once_consistent()
        self.process.after(self.world.speed.replay * self.random.uniform(0.2, 3), self._replay, data.end)
        for below in self.streams:
            self._feed(below)
        here, there = self.host.name, stream.upstream.host.name
        network = self.world.network
        if network.open(here, there):
            self.world.loop.later(network.delay(here, there), stream.upstream.acknowledge, stream, data.end)

    def fall_short(self, name: str, has: int, needs: int) -> None:
        """The primary's WAL tells of a larger setting: replay stops until a start, which takes as much as is needed."""
        self.short[name] = (has, needs)

    def _replay(self, upto: Lsn) -> None:
        if self.short:
            return
        self.replayed = max(self.replayed, upto)

    def kick(self) -> None:
        """Something about the connection changed: look at once."""
        if not self.ended:
            self._wake.set()

    async def _receive_for_ever(self) -> None:
        """The walreceiver: connect, stream while the connection lives, try again."""
        while self.phase in STREAMING_PHASES and not self.orphaned:
            self._wake.clear()
            config = self.data.configured
            if config is not None and config.upstream is not None:
                await self._receive(config.upstream.host, config.application_name or self.host.name)
            if self._wake.is_set():
                continue
            await self._sleep(self.world.speed.receiver_retry)

    async def _sleep(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            return

    async def _receive(self, upstream_host: str, name: str) -> None:
        upstream = self.world.server_at(upstream_host)
        network, here = self.world.network, self.host.name
        if upstream is None or not upstream.answers or upstream is self:
            return
        if not (network.open(here, upstream_host) and network.open(upstream_host, here)):
            return
        await asyncio.sleep(3 * network.delay(here, upstream_host))
        follows = self.phase in STREAMING_PHASES and not self.orphaned
        stream = upstream.accept(self, name) if follows else None
        if stream is None:
            return
        self.receiver = stream
        upstream.process.soon(upstream._feed, stream)
        patience = self.world.speed.receiver_timeout
        while stream.open and self._still_follows(upstream_host):
            since = self.world.now if stream.stalled_at is None else stream.stalled_at
            left = since + patience - self.world.now
            if left <= 0:
                break
            await self._sleep(max(left, LEAST_SLEEP_S))
            self._wake.clear()
        self._leave(stream)
        self.receiver = None
        if not self._still_follows(upstream_host):
            self._wake.set()

    def _still_follows(self, upstream_host: str) -> bool:
        config = self.data.configured
        return config is not None and config.upstream is not None and config.upstream.host == upstream_host

    def network_changed(self) -> None:
        """A link was cut or healed: what stalled goes on, what lost its link stalls."""
        for stream in self.streams:
            here, there = self.host.name, stream.standby.host.name
            both = self.world.network.open(here, there) and self.world.network.open(there, here)
            if not both:
                self.stall(stream)
            elif stream.stalled_at is not None and stream.open:
                self.resume(stream)

    def resume(self, stream: Stream) -> None:
        """The link works again: send on from what was confirmed."""
        stream.stalled_at = None
        if not stream.busy:
            stream.sent = stream.flushed
        self._feed(stream)

    def froze(self) -> None:
        """This server gets no time: its standbys hear nothing."""
        for stream in self.streams:
            self.stall(stream)

    def thawed(self) -> None:
        for stream in self.streams:
            if stream.open:
                self.resume(stream)
