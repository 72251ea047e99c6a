"""The commit fence of a simulated node: the page that committing backends read, and the agent's hand on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from haagent.core.facts import FenceFacts
from haagent.core.terms import Instant, Term

if TYPE_CHECKING:
    from tests.sim.world.hosts import Host

REFUSED = Instant(0.0)


class SimFence:
    """The ``Fence`` port of one node: the keeper tells it of every permit, whether there is a fence to obey it or not.

    The page is in memory and outlives the agent, not the power.
    """

    def __init__(self, host: Host) -> None:
        self._host = host

    def facts(self) -> FenceFacts:
        installed = self._host.fence == "installed"
        return FenceFacts(self._host.fence_mode, installed, "/page", "" if installed else "it is not installed")

    def permit(self, term: Term, until: Instant) -> None:
        self._host.proven_until = Instant(0.0) if until == float("inf") else until
        if self._host.fence == "installed":
            self._host.page_until = until

    def refuse(self, term: Term) -> None:
        self._host.proven_until = REFUSED
        if self._host.fence == "installed":
            self._host.page_until = REFUSED

    def without_end(self) -> bool:
        return self._host.fence == "installed" and self._host.page_until == float("inf")
