"""Whoever carries deeds out."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tests.sim.faults.deed import Deed, End
from tests.sim.faults.drawing import KINDS
from tests.sim.world.events import Fault

if TYPE_CHECKING:
    from tests.sim.world.hosts import Host
    from tests.sim.world.world import World


class Doer:
    """Carries deeds out, ends them in time, and can end all at once."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._open: dict[int, tuple[Deed, End]] = {}
        self._count = 0

    def schedule(self, deeds: list[Deed]) -> None:
        self.world.operators.tidying = False
        for deed in deeds:
            self.world.loop.later(deed.at - self.world.now, self.begin, deed)

    def begin(self, deed: Deed) -> None:
        """Do it at this very instant."""
        deed = self._resolved(deed)
        self.world.log(Fault(self.world.now, deed.target, f"{deed.kind} {deed.other}".strip()))
        end = KINDS[deed.kind].begin(self.world, deed)
        self._count += 1
        self._open[self._count] = (deed, end)
        self.world.loop.later(deed.seconds, self._end, self._count)

    def _resolved(self, deed: Deed) -> Deed:
        """``leader`` means whoever holds the leader key at that moment, ``standby`` another node."""
        names = list(self.world.hosts)
        leader = self.world.etcd.holder or names[0]
        others = [name for name in names if name != leader]
        roles = {"leader": leader, "standby": others[int(deed.strength * len(others)) % len(others)]}
        return replace(deed, target=roles.get(deed.target, deed.target), other=roles.get(deed.other, deed.other))

    def _end(self, number: int) -> None:
        found = self._open.pop(number, None)
        if found is not None:
            deed, end = found
            end()
            self.world.log(Fault(self.world.now, deed.target, f"{deed.kind} {deed.other}".strip(), over=True))

    def heal(self) -> None:
        """End everything that goes on, give every machine power and an agent, and have operators tidy up."""
        for number in list(self._open):
            self._end(number)
        for host in self.world.hosts.values():
            _revive(host)
        operators = self.world.operators
        operators.tidying = True
        operators.process.spawn(operators.tidy(), "tidy")


def _revive(host: Host) -> None:
    host.power_on()
    host.start_agent()
