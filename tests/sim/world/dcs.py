"""The road from an agent to etcd: three members over the simulated network, and what etcd really did, as events."""

from __future__ import annotations

import asyncio
import contextvars
import random
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from haagent.dcs import keys
from haagent.dcs.kv import Compare, Delete, KeyEvent, Put, Target, TxnReply, Write
from haagent.ports import PortError, Unreachable
from tests.sim.world.etcd import Backup, Etcd, FakeKv, Message
from tests.sim.world.events import GivesUp, KeyWritten, LeaderKeyChanged, Told
from tests.sim.world.time import Process

if TYPE_CHECKING:
    from tests.sim.world.hosts import Host
    from tests.sim.world.world import World

T = TypeVar("T")

PREFIX = "/service/sim/"
LEADER = PREFIX + "leader"
CLAIMED = PREFIX + keys.CLAIMED
MEMBERS = ("etcd1", "etcd2", "etcd3")


class EtcdCluster:
    """The one fake etcd in this world's time, its members' health, and its truth told to the checkers."""

    def __init__(self, world: World) -> None:
        self.world = world
        rate = world.knobs.etcd_rate
        loop = world.loop
        self.etcd = Etcd(lambda: loop.true_time * rate, lambda seconds, call: loop.later(seconds / rate, call))
        self.etcd.listeners.append(self._changed)
        self.acting: str | None = None
        """On whose request etcd is acting right now."""
        self.down: set[str] = set()
        self.frozen: set[str] = set()
        self.backup: Backup | None = None
        """The last snapshot that somebody took."""
        self.answers_lost = 0.0
        """The part of answers that get lost after the request was carried out."""
        self.random = random.Random(f"{world.seed}/etcd")
        self._held: dict[str, list[Callable[[], None]]] = {name: [] for name in MEMBERS}
        self._holder: str | None = None
        self._term = 0
        self._ttl = 0.0

    def identity(self) -> str:
        """The system identifier in the ``initialize`` key; empty when there is none."""
        found = self.etcd.keys.get(PREFIX + "initialize")
        return "" if found is None else found.value.decode()

    # --- faults ---

    def refresh_quorum(self) -> None:
        """Two members make a quorum."""
        able = [name for name in MEMBERS if name not in self.down and name not in self.frozen]
        if self.etcd.has_quorum and len(able) < 2:
            self.etcd.lose_quorum()
        elif not self.etcd.has_quorum and len(able) >= 2:
            self.etcd.regain_quorum()
            self._release(*able)

    def freeze_member(self, name: str) -> None:
        self.frozen.add(name)
        self.refresh_quorum()

    def thaw_member(self, name: str) -> None:
        self.frozen.discard(name)
        self.refresh_quorum()
        self._release(name)

    def stop_member(self, name: str) -> None:
        self.down.add(name)
        self._held[name].clear()
        self.refresh_quorum()

    def start_member(self, name: str) -> None:
        self.down.discard(name)
        self.refresh_quorum()

    def takes(self, member: str) -> bool:
        return self.etcd.has_quorum and member not in self.frozen and member not in self.down

    def hold(self, member: str, arrive: Callable[[], None]) -> None:
        """A request that came while the member could not serve it: carried out when it can, though nobody waits."""
        self._held[member].append(arrive)

    def _release(self, *members: str) -> None:
        for member in members:
            held, self._held[member] = self._held[member], []
            for arrive in held:
                arrive()

    # --- the truth ---

    def _changed(self, event: KeyEvent, cause: str) -> None:
        kv = event.kv
        key = kv.key.removeprefix(PREFIX)
        by = self.acting or cause
        value = "" if event.deleted else kv.value.decode(errors="replace")
        if cause in ("restore", "wipe", "by hand"):
            by = cause
        if kv.key != LEADER:
            self.world.log(KeyWritten(self.world.now, "etcd", key, by, "(deleted)" if event.deleted else value))
            return
        if event.deleted:
            if cause == "txn":
                cause = "foreign" if self.acting is None else "resign" if self.acting == self._holder else "depose"
            self._holder = None
        else:
            if cause == "txn":
                cause = "campaign" if kv.create_revision == kv.mod_revision else "renewal"
            lease = self.etcd.leases.get(kv.lease)
            self._holder, self._term = value, kv.create_revision
            self._ttl = 0.0 if lease is None else lease.granted
        self.world.log(
            LeaderKeyChanged(self.world.now, "etcd", self._holder, self._term, kv.mod_revision, cause, self._ttl)
        )

    @property
    def holder(self) -> str | None:
        return self._holder


class SimLink:
    """One agent's connection to one member of etcd; what is on its way goes on when the agent freezes or dies."""

    def __init__(self, cluster: EtcdCluster, host: Host, agent: Process, member: str) -> None:
        self.cluster = cluster
        self.host = host
        self.agent = agent
        self.name = member
        self._last_at = 0.0

    async def call(self, serve: Callable[[], T], sent: Callable[[], None]) -> T:
        network, loop, here = self.cluster.world.network, self.cluster.world.loop, self.host.name
        answer: asyncio.Future[T] = loop.create_future()

        def arrive() -> None:
            if self.name in self.cluster.down or not network.open(here, self.name):
                return
            if not self.cluster.takes(self.name):
                self.cluster.hold(self.name, arrive)
                return
            self.cluster.acting = here
            try:
                result = serve()
            except PortError as error:
                back(None, error)
            else:
                back(result, None)
            finally:
                self.cluster.acting = None

        def back(result: T | None, error: PortError | None) -> None:
            lost = self.cluster.random.random() < self.cluster.answers_lost
            if not lost and network.open(self.name, here):
                loop.later(network.delay(self.name, here), settle, result, error)

        def settle(result: T, error: PortError | None) -> None:
            if answer.done():
                return
            if error is None:
                answer.set_result(result)
            else:
                answer.set_exception(error)

        def refuse() -> None:
            if not answer.done():
                answer.set_exception(Unreachable(f"{self.name}: connection refused"))

        if network.open(here, self.name):
            if self.name in self.cluster.down:
                loop.later(network.delay(here, self.name), refuse)
            else:
                sent()
                loop.later(network.delay(here, self.name), arrive)
        return await answer

    def carry(self, message: Message, deliver: Callable[[Message], None], context: contextvars.Context) -> bool:
        network, loop, here = self.cluster.world.network, self.cluster.world.loop, self.host.name
        if not self.agent.alive or not network.open(self.name, here) or not self.cluster.takes(self.name):
            return False
        self._last_at = max(self._last_at + 1e-6, loop.true_time + network.delay(self.name, here))
        loop.call_true(self._last_at, deliver, message, context=context)
        return True


class HeardKv(FakeKv):
    """An agent's client of etcd; the checkers hear what it is told about the leader key and the timelines it claims."""

    def __init__(self, cluster: EtcdCluster, host: Host, links: Sequence[SimLink]) -> None:
        super().__init__(cluster.etcd, links)
        self._host = host
        self._world = cluster.world
        self._told: dict[tuple[str, int], bool] = {}

    async def txn(
        self, when: Sequence[Compare], then: Sequence[Write], read_back: Sequence[str], timeout: float
    ) -> TxnReply:
        if any(isinstance(write, Delete) and write.key == LEADER for write in then):
            self._world.log(GivesUp(self._world.now, self._host.name))
        reply = await super().txn(when, then, read_back, timeout)
        for write in then:
            if isinstance(write, Put) and write.key == LEADER:
                self._hear("leader", *_term_told(reply, when, write))
            elif isinstance(write, Put) and write.key == CLAIMED:
                self._hear("claimed", int(write.value), _done(reply, write))
        return reply

    def _hear(self, key: str, number: int, done: bool) -> None:
        if self._told.get((key, number)) is not done:
            self._told[key, number] = done
            self._world.log(Told(self._world.now, self._host.name, key, number, done))


def _term_told(reply: TxnReply, when: Sequence[Compare], asked: Put) -> tuple[int, bool]:
    """The term that was won or renewed, or was not."""
    held = next((one.number for one in when if one.key == LEADER and one.target is Target.CREATE), 0)
    if held:
        return held, _done(reply, asked)
    if reply.succeeded:
        return reply.revision, True
    there = reply.key(LEADER)
    return (there.create_revision, True) if there is not None and _done(reply, asked) else (0, False)


def _done(reply: TxnReply, asked: Put) -> bool:
    """What was asked for is so: by this answer, or by that of an earlier try which got lost."""
    there = reply.key(asked.key)
    same = there is not None and (there.value, there.lease) == (asked.value, asked.lease)
    return reply.succeeded or (same and (asked.lease != 0 or reply.repeated))
