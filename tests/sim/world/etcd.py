"""etcd in memory: revisions, leases, transactions and watches in virtual time, with the faults that etcd can have.

``Etcd`` is the cluster: one history, whose methods are synchronous and carried out at once. ``Link`` is how one client
fares with one member: latency, cuts, lost answers. ``FakeKv`` is a client over one or several links; it runs the
production code's way of asking several endpoints. A simulated network gives its own ``Link``.
"""

from __future__ import annotations

import asyncio
import contextvars
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

from haagent.dcs.kv import (
    Batch,
    Compacted,
    Compare,
    Delete,
    Denied,
    Grant,
    KeyEvent,
    KeyValue,
    Put,
    RangeReply,
    Target,
    TxnReply,
    Write,
)
from haagent.dcs.race import PACE, Try, Won, race
from haagent.ports import Refused, Unknown, Unreachable

T = TypeVar("T")

Message = Batch | Compacted
"""What a watch hears; Compacted ends it."""

MIN_TTL_S = 2
"""The smallest lease of an etcd with its default election timeout."""


class Timer(Protocol):
    def cancel(self) -> None: ...


Later = Callable[[float, Callable[[], None]], Timer]
"""Call a function after so many seconds of etcd's time."""


def on_this_loop(seconds: float, call: Callable[[], None]) -> Timer:
    """The running loop's own timers."""
    return asyncio.get_running_loop().call_later(seconds, call)


@dataclass(slots=True)
class Lease:
    granted: float
    expires_at: float
    timer: Timer | None = None


@dataclass(frozen=True, slots=True)
class Backup:
    """A snapshot: its revision, its keys, and what was granted to its leases."""

    revision: int
    keys: dict[str, KeyValue]
    leases: dict[int, float]


@dataclass(slots=True, eq=False)
class Watcher:
    prefix: str
    deliver: Callable[[Message], bool]
    """False when the watch is broken: etcd then forgets it."""


class Etcd:
    """The cluster's one history. ``now`` is its time in seconds, ``later`` its timers.

    Switchable behaviour: ``lying_keepalive`` answers OK for leases that are gone; ``no_space`` turns puts away;
    ``expiry_lag_s`` is how long after its deadline a lease is really revoked.
    """

    def __init__(self, now: Callable[[], float], later: Later = on_this_loop) -> None:
        self._now = now
        self._later = later
        self.revision = 1
        self.raft_term = 2
        self.keys: dict[str, KeyValue] = {}
        self.leases: dict[int, Lease] = {}
        self.lying_keepalive = False
        self.no_space = False
        self.expiry_lag_s = 0.0
        self.has_quorum = True
        self.listeners: list[Callable[[KeyEvent, str], None]] = []
        """Told of each change and its cause: ``txn``, ``expiry``, ``revoke``, ``wipe``, ``by hand`` or ``restore``."""
        self._history: list[KeyEvent] = []
        self._compacted = 0
        self._watchers: list[Watcher] = []
        self._lease_count = 0

    # --- what clients ask ---

    def range(self, key: str, prefix: bool = False) -> RangeReply:
        found = [kv for name, kv in sorted(self.keys.items()) if name == key or (prefix and name.startswith(key))]
        return RangeReply(self.revision, self.raft_term, tuple(found))

    def txn(self, when: Sequence[Compare], then: Sequence[Write], read_back: Sequence[str]) -> TxnReply:
        if not all(self._holds(condition) for condition in when):
            found = tuple(self.keys[name] for name in read_back if name in self.keys)
            return TxnReply(False, self.revision, self.raft_term, found)
        puts = [write for write in then if isinstance(write, Put)]
        if puts and self.no_space:
            raise Denied("etcdserver: mvcc: database space exceeded (alarm NOSPACE)")
        for put in puts:
            if put.lease and put.lease not in self.leases:
                raise Refused(f"etcdserver: requested lease not found: {put.lease:x}")
        self._apply(then, "txn")
        return TxnReply(True, self.revision, self.raft_term)

    def grant(self, ttl: int) -> Grant:
        self._lease_count += 1
        number = 0x7000 + self._lease_count
        granted = max(ttl, MIN_TTL_S)
        self.leases[number] = Lease(granted, 0.0)
        self._refresh(number)
        return Grant(number, granted)

    def keepalive(self, lease: int) -> float:
        if lease not in self.leases:
            if self.lying_keepalive:
                return 10.0
            raise Refused(f"etcd says that lease {lease:x} is dead")
        self._refresh(lease)
        return self.leases[lease].granted

    def granted_ttl(self, lease: int) -> float:
        if lease not in self.leases:
            raise Refused(f"etcd says that lease {lease:x} is dead")
        return self.leases[lease].granted

    def revoke(self, lease: int, cause: str = "revoke") -> None:
        if lease not in self.leases:
            raise Refused(f"etcd says that lease {lease:x} is dead")
        ended = self.leases.pop(lease)
        if ended.timer is not None:
            ended.timer.cancel()
        self._apply([Delete(name) for name, kv in sorted(self.keys.items()) if kv.lease == lease], cause)

    def watch(self, prefix: str, start: int, deliver: Callable[[Message], bool]) -> Callable[[], None]:
        """Tell of the changes since revision ``start``; returns what ends it."""
        if start <= self._compacted:
            deliver(Compacted(f"required revision {start} has been compacted, etcd keeps {self._compacted + 1} on"))
            return lambda: None
        watcher = Watcher(prefix, deliver)
        self._watchers.append(watcher)
        first = bisect_left(self._history, start, key=lambda event: event.kv.mod_revision)
        self._tell(watcher, self._history[first:])
        return lambda: self._forget(watcher)

    def _forget(self, watcher: Watcher) -> None:
        if watcher in self._watchers:
            self._watchers.remove(watcher)

    # --- what happens to the cluster ---

    def change_leader(self) -> None:
        """Another member leads: every lease starts afresh with its full time."""
        self.raft_term += 1
        for number in self.leases:
            self._refresh(number)

    def lose_quorum(self) -> None:
        """Nobody answers and no lease ends until ``regain_quorum``."""
        self.has_quorum = False
        for lease in self.leases.values():
            if lease.timer is not None:
                lease.timer.cancel()

    def regain_quorum(self) -> None:
        self.has_quorum = True
        self.change_leader()

    def compact(self) -> None:
        """Forget all history up to now."""
        self._compacted = self.revision
        self._history.clear()

    def wipe(self) -> None:
        """Every key is deleted; leases stay."""
        self._apply([Delete(name) for name in sorted(self.keys)], "wipe")

    def delete(self, key: str) -> None:
        """Somebody deletes a key by hand."""
        self._apply([Delete(key)], "by hand")

    def put(self, key: str, value: bytes) -> None:
        """Somebody writes a key by hand."""
        self._apply([Put(key, value, 0)], "by hand")

    def save(self) -> Backup:
        """What a snapshot of now would hold."""
        return Backup(self.revision, dict(self.keys), {number: one.granted for number, one in self.leases.items()})

    def restore(self, backup: Backup) -> None:
        """All members are started anew from a snapshot: revisions go back, watches are lost, leases run afresh."""
        for lease in self.leases.values():
            if lease.timer is not None:
                lease.timer.cancel()
        before, self.keys = self.keys, dict(backup.keys)
        self.revision = self._compacted = backup.revision
        self._history.clear()
        self._watchers.clear()
        self.leases = {number: Lease(granted, 0.0) for number, granted in backup.leases.items()}
        self.change_leader()
        for name in sorted(before.keys() | self.keys.keys()):
            if before.get(name) != self.keys.get(name):
                gone = KeyEvent(KeyValue(name, b"", 0, self.revision), deleted=True)
                for listener in self.listeners:
                    listener(KeyEvent(self.keys[name]) if name in self.keys else gone, "restore")

    # --- inside ---

    def _holds(self, condition: Compare) -> bool:
        kv = self.keys.get(condition.key)
        if kv is None:
            return condition.number == 0
        actual = {
            Target.CREATE: kv.create_revision,
            Target.MOD: kv.mod_revision,
            Target.LEASE: kv.lease,
        }[condition.target]
        return actual == condition.number

    def _apply(self, writes: Sequence[Write], cause: str) -> None:
        revision = self.revision + 1
        events: list[KeyEvent] = []
        for write in writes:
            old = self.keys.get(write.key)
            if isinstance(write, Put):
                created = old.create_revision if old else revision
                kv = KeyValue(write.key, write.value, created, revision, write.lease)
                self.keys[write.key] = kv
                events.append(KeyEvent(kv))
            elif old is not None:
                del self.keys[write.key]
                events.append(KeyEvent(KeyValue(write.key, b"", 0, revision), deleted=True))
        if not events:
            return
        self.revision = revision
        self._history.extend(events)
        for event in events:
            for listener in self.listeners:
                listener(event, cause)
        for watcher in list(self._watchers):
            self._tell(watcher, events)

    def _tell(self, watcher: Watcher, events: Sequence[KeyEvent]) -> None:
        wanted = tuple(event for event in events if event.kv.key.startswith(watcher.prefix))
        if wanted and not watcher.deliver(Batch(wanted[-1].kv.mod_revision, wanted)):
            self._forget(watcher)

    def _refresh(self, number: int) -> None:
        lease = self.leases[number]
        lease.expires_at = self._now() + lease.granted
        if lease.timer is not None:
            lease.timer.cancel()
        lease.timer = self._later(lease.granted + self.expiry_lag_s, lambda: self._expire(number))

    def _expire(self, number: int) -> None:
        if number in self.leases and self.has_quorum:
            self.revoke(number, "expiry")


@dataclass(slots=True, eq=False)
class Link:
    """How one client fares with one member of the cluster; every field may be changed at any time.

    ``latency_s`` is one way. ``refused``: nobody listens there. ``cut``: what is sent is never heard of again.
    ``lose_answers``: so many of the next requests are carried out and their answers lost.
    """

    etcd: Etcd
    name: str = "etcd"
    latency_s: float = 0.0
    refused: bool = False
    cut: bool = False
    lose_answers: int = 0

    async def call(self, serve: Callable[[], T], sent: Callable[[], None]) -> T:
        """Have etcd carry something out and wait for its answer, for ever if it is lost; ``sent`` before it leaves."""
        if self.refused:
            raise Unreachable(f"{self.name}: connection refused")
        if self.cut:
            await _for_ever()
        sent()
        await asyncio.sleep(self.latency_s)
        if self.cut or not self.etcd.has_quorum:
            await _for_ever()
        answer = serve()
        if self.lose_answers > 0:
            self.lose_answers -= 1
            await _for_ever()
        await asyncio.sleep(self.latency_s)
        if self.cut:
            await _for_ever()
        return answer

    def carry(self, message: Message, deliver: Callable[[Message], None], context: contextvars.Context) -> bool:
        """Bring a message of a watch to the client; False when it is lost, and with it all that follow."""
        if self.cut or self.refused:
            return False
        asyncio.get_running_loop().call_later(self.latency_s, deliver, message, context=context)
        return True


class Carrier(Protocol):
    """What ``FakeKv`` needs of a link; a simulated network may bring its own."""

    @property
    def name(self) -> str: ...

    async def call(self, serve: Callable[[], T], sent: Callable[[], None]) -> T: ...

    def carry(self, message: Message, deliver: Callable[[Message], None], context: contextvars.Context) -> bool: ...


class _Feed:
    """One watch's messages in their order, heard in the context of whoever watches: none after one that was lost."""

    def __init__(self, link: Carrier, on_batch: Callable[[Batch], None]) -> None:
        self.link = link
        self.heard_at = 0.0
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._on_batch = on_batch
        self._context = contextvars.copy_context()
        self._broken = False

    def push(self, message: Message) -> bool:
        """Whether it is on its way."""
        self._broken = self._broken or not self.link.carry(message, self._hear, self._context)
        return not self._broken

    def _hear(self, message: Message) -> None:
        if self.ended.done():
            return
        self.heard_at = asyncio.get_running_loop().time()
        try:
            if isinstance(message, Compacted):
                raise message
            self._on_batch(message)
        except Exception as error:  # it belongs to whoever watches, if anybody does any more
            self.ended.set_exception(error)
            self.ended.exception()


async def _for_ever() -> None:
    await asyncio.get_running_loop().create_future()


class FakeKv:
    """A client of an ``Etcd`` over one link for each member, as the production code's ``Kv``."""

    def __init__(self, etcd: Etcd, links: Sequence[Carrier]) -> None:
        self.etcd = etcd
        self.links = tuple(links)
        self._current = 0
        self._watched = 0

    async def range(self, key: str, timeout: float, *, prefix: bool = False) -> RangeReply:
        try:
            return (await self._ask(lambda: self.etcd.range(key, prefix), timeout, f"reading {key}")).answer
        except Unknown as error:
            raise Unreachable(str(error)) from error

    async def txn(
        self, when: Sequence[Compare], then: Sequence[Write], read_back: Sequence[str], timeout: float
    ) -> TxnReply:
        won = await self._ask(lambda: self.etcd.txn(when, then, read_back), timeout, "a transaction")
        return replace(won.answer, repeated=won.repeated)

    async def grant(self, ttl: int, timeout: float) -> Grant:
        return (await self._ask(lambda: self.etcd.grant(ttl), timeout, "a grant")).answer

    async def keepalive(self, lease: int, timeout: float) -> float:
        return (await self._ask(lambda: self.etcd.keepalive(lease), timeout, f"keeping {lease:x} alive")).answer

    async def granted_ttl(self, lease: int, timeout: float) -> float:
        return (await self._ask(lambda: self.etcd.granted_ttl(lease), timeout, f"asking for {lease:x}")).answer

    async def revoke(self, lease: int, timeout: float) -> None:
        await self._ask(lambda: self.etcd.revoke(lease), timeout, f"revoking {lease:x}")

    async def watch(
        self, prefix: str, start: int, silence: Callable[[], float], on_batch: Callable[[Batch], None]
    ) -> None:
        link = self.links[self._watched % len(self.links)]
        self._watched += 1
        feed, loop = _Feed(link, on_batch), asyncio.get_running_loop()
        end: Callable[[], None] | None = None
        try:
            async with asyncio.timeout(silence()):
                end = await link.call(lambda: self.etcd.watch(prefix, start, feed.push), lambda: None)
            feed.heard_at = max(feed.heard_at, loop.time())
            while (left := feed.heard_at + silence() - loop.time()) > 0:
                if (await asyncio.wait([feed.ended], timeout=left))[0]:
                    return feed.ended.result()
            raise TimeoutError
        except TimeoutError:
            raise Unreachable(f"{link.name}: the watch was silent for {silence():g} s") from None
        finally:
            if end is not None:
                end()

    def distrust(self) -> None:
        self._current += 1

    async def close(self) -> None:
        """There is nothing to close."""

    async def _ask(self, serve: Callable[[], T], timeout: float, what: str) -> Won[T]:
        first = self._current

        async def ask(one: Try) -> T:
            link = self.links[(first + one.number) % len(self.links)]
            one.place = link.name
            return await link.call(serve, lambda: setattr(one, "sent", True))

        won = await race(ask, len(self.links), timeout / PACE, timeout, what)
        self._current = (first + won.number) % len(self.links)
        return won
