"""The ``Peers`` port: other agents' answers, computed from their published views, over the simulated network."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from haagent.core.answers import Answer
from haagent.core.facts import Consent, Mandate, Member, PeerPoll, PeerReply, View
from haagent.core.failsafe import addressed
from haagent.core.status import status
from haagent.rest.client import read_status
from tests.sim.world.network import LostError

if TYPE_CHECKING:
    from tests.sim.world.hosts import Host
    from tests.sim.world.world import World


def reply_of(view: View) -> PeerReply:
    """What GET /patroni would tell, as the asking agent reads it."""
    return read_status(view.me.name, status(view))


class SimPeers:
    """REST between agents."""

    def __init__(self, world: World, host: Host) -> None:
        self.world = world
        self.host = host

    async def ask(self, members: Sequence[Member], timeout: float) -> PeerPoll:
        asked_at = self.host.clock.now()
        replies = await asyncio.gather(*(self._ask(member, timeout) for member in members))
        return PeerPoll(asked_at, tuple(replies))

    async def _ask(self, member: Member, timeout: float) -> PeerReply:
        world, target = self.world, member.name

        async def serve() -> PeerReply:
            agent = world.hosts[target].agent
            if agent is None:
                raise LostError("starting", sent=False)
            return reply_of(agent.current())

        try:
            async with asyncio.timeout(timeout):
                return await world.network.call(self.host.name, target, lambda: world.agent_process_at(target), serve)
        except LostError as error:
            return PeerReply(target, reached=False, why=str(error))
        except TimeoutError:
            return PeerReply(target, reached=False, why=f"no answer within {timeout:g} s")

    async def consent(self, mandate: Mandate, timeout: float) -> tuple[Consent, ...]:
        return tuple(await asyncio.gather(*(self._consent(name, mandate, timeout) for name in mandate.members)))

    async def _consent(self, target: str, mandate: Mandate, timeout: float) -> Consent:
        world = self.world

        async def serve() -> Answer:
            agent = world.hosts[target].agent
            if agent is None:
                raise LostError("starting", sent=False)
            return await agent.submit("failsafe", addressed(mandate.body, target))

        try:
            async with asyncio.timeout(timeout):
                answer = await world.network.call(self.host.name, target, lambda: world.agent_process_at(target), serve)
        except LostError as error:
            return Consent(target, accepted=False, why=str(error))
        except TimeoutError:
            return Consent(target, accepted=False, why=f"no answer within {timeout:g} s")
        return Consent(target, answer.status == 200, f"{answer.status}: {answer.body}")

    async def alive(self, member: Member, timeout: float) -> bool:
        return (await self._ask(member, timeout)).reached
