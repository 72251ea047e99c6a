"""Operators: switchovers, failovers, restarts, pauses at bad moments, through any node's REST API."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from haagent.core import conditions, failsafe, synchrony
from haagent.core.answers import Answer
from haagent.core.facts import DataKind, Document, Snapshot, View
from haagent.core.states import State
from tests.sim.world.events import Note
from tests.sim.world.network import LostError
from tests.sim.world.time import Process
from tests.sim.world.wal import Data

if TYPE_CHECKING:
    from tests.sim.world.hosts import Host
    from tests.sim.world.world import World

OPERATOR = "operator"
PATIENCE_S = 120.0


class Operators:
    """People with a terminal."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.process = Process(world.loop, OPERATOR)
        self.random = random.Random(f"{world.seed}/operators")
        self.tidying = False

    def act(self, kind: str, node: str, other: str) -> None:
        """Ask ``node``'s agent for something; ``other`` is the candidate where there is one."""
        body: Document = {}
        if kind == "switchover":
            body = {"leader": self.world.etcd.holder or node} | ({"candidate": other} if other else {})
        elif kind == "failover":
            body = {"candidate": other or node}
        elif kind in ("pause", "resume"):
            kind, body = "patch_config", {"pause": True if kind == "pause" else None}
        elif kind == "schedule switchover":
            kind, body = "switchover", {"leader": self.world.etcd.holder or node, "scheduled_at": self._soon(node)}
            body |= {"candidate": other} if other and other != body["leader"] else {}
        elif kind == "schedule restart":
            kind, body = "restart", {"schedule": self._soon(node)}
        self.process.spawn(self._ask(kind, node, body), kind)

    def patch(self, node: str, body: Document) -> None:
        """Change the dynamic configuration through ``node``'s agent."""
        self.process.spawn(self._ask("patch_config", node, body), "patch")

    def _soon(self, node: str) -> str:
        """A little later by the wall clock of a node, as an operator types it."""
        moment = self.world.hosts[node].clock.wall() + self.random.uniform(2, 30)
        return datetime.fromtimestamp(moment, UTC).isoformat()

    async def tidy(self) -> None:
        """What operators do after trouble: end what they began, and see to the nodes that ask for an operator."""
        while self.tidying:
            await asyncio.sleep(5.0)
            self._clear_strangers()
            for name, host in self.world.hosts.items():
                if host.agent is not None and host.agent_process is not None and host.agent_process.alive:
                    await self._see_to(name, host.agent.current())

    async def _see_to(self, name: str, view: View) -> None:
        snapshot = view.snapshot
        if snapshot is None:
            return
        stored = snapshot.config.document if snapshot.config else {}
        wanted = self.world.knobs.document()
        patch = {key: wanted.get(key) for key in {*stored, *wanted} if stored.get(key) != wanted.get(key)}
        if snapshot.config is None and view.settings.pause:
            await self._ask("put_config", name, wanted)
        elif snapshot.config is not None and patch:
            await self._ask("patch_config", name, patch)
        elif view.memory.scheduled_restart is not None:
            await self._ask("delete_restart", name, {})
        elif snapshot.failover is not None and snapshot.failover.scheduled_at is not None:
            await self._ask("delete_switchover", name, {})
        elif view.state is State.FAILED and self._must_clear(name, snapshot):
            self.world.hosts[name].move_data_aside("by hand")
        elif view.state is State.FAILED and snapshot.leader is not None:
            await self._ask("reinitialize", name, {})
        elif view.state is State.FAILED:
            self.world.hosts[name].stop_agent()
        elif self._waits_in_vain(view):
            await self._ask("failover", name, {"candidate": name})

    def _must_clear(self, name: str, snapshot: Snapshot) -> bool:
        """An agent can't move a mount point's content aside: what is no copy, or is replaced by the leader's, goes."""
        host = self.world.hosts[name]
        dispensable = snapshot.leader is not None or host.data.kind is not DataKind.VALID
        return self.world.knobs.mount_points and host.server is None and dispensable

    def _clear_strangers(self) -> None:
        """A copy of a cluster that came of another bootstrap is put away, as its node asks for in its log."""
        for host in self.world.hosts.values():
            known, own = self.world.etcd.identity(), host.data.system_id
            if known and own is not None and str(own) != known and (host.server is None or not host.server.writable):
                if host.server is not None:
                    host.server.end("stopped by an operator")
                host.aside.append(host.data)
                host.data = Data()

    def _waits_in_vain(self, view: View) -> bool:
        """Nobody may lead by itself since a copy was destroyed, or operators promoted all that are left to lead."""
        barred = view.state is State.STANDBY and conditions.barred(view)
        outvoted = view.state is State.CANDIDATE and synchrony.votes_missing(view) is not None
        lost = view.leader is None and (barred or outvoted)
        others = [host for host in self.world.hosts.values() if host.name != view.me.name]
        mine = self.world.hosts[view.me.name].data
        return (
            lost
            and (self.world.copies_destroyed or all(map(_may_not_lead, others)))
            and all(host.up and (host.data.kind is not DataKind.VALID or host.data.end <= mine.end) for host in others)
        )

    async def _ask(self, kind: str, node: str, body: Document) -> None:
        world = self.world

        async def serve() -> Answer:
            agent = world.hosts[node].agent
            if agent is None:
                raise LostError("starting", sent=False)
            return await agent.submit(kind, body, OPERATOR)

        try:
            async with asyncio.timeout(PATIENCE_S):
                answer = await world.network.call(OPERATOR, node, lambda: world.agent_process_at(node), serve)
        except (LostError, TimeoutError) as error:
            text = f"{kind} got no answer: {error}"
        else:
            text = f"{kind} {dict(body)}: {answer.status} {answer.body}"
        world.log(Note(world.now, node, text))


def _may_not_lead(host: Host) -> bool:
    """It is a stray or holds nothing, or a leader in failsafe mode would not ask it."""
    left_out = host.agent is not None and failsafe.left_out(host.agent.current()) is not None
    return left_out or _stray_or_none(host)


def _stray_or_none(host: Host) -> bool:
    """This host has a copy that was promoted by hand, or none that PostgreSQL could start from."""
    stray = host.agent is not None and host.agent.current().memory.standing.stray is not None
    return stray or host.data.kind is not DataKind.VALID
