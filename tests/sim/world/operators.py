"""Operators: switchovers, failovers, restarts, pauses at bad moments, through any node's REST API."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from haagent.core.answers import Answer
from haagent.core.facts import Document
from tests.sim.world.events import Note
from tests.sim.world.network import LostError
from tests.sim.world.time import Process

if TYPE_CHECKING:
    from tests.sim.world.world import World

OPERATOR = "operator"
PATIENCE_S = 120.0


class Operators:
    """People with a terminal."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.process = Process(world.loop, OPERATOR)

    def act(self, kind: str, node: str, other: str) -> None:
        """Ask ``node``'s agent for something; ``other`` is the candidate where there is one."""
        body: Document = {}
        if kind == "switchover":
            body = {"leader": self.world.etcd.holder or node} | ({"candidate": other} if other else {})
        elif kind == "failover":
            body = {"candidate": other or node}
        elif kind in ("pause", "resume"):
            kind, body = "patch_config", {"pause": True if kind == "pause" else None}
        self.process.spawn(self._ask(kind, node, body), kind)

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
