"""A whole node goes, or stands still."""

from __future__ import annotations

import signal
from dataclasses import dataclass

from tests.chaos.faults.base import Fault
from tests.chaos.plan import Deed
from tests.chaos.trial import Trial
from tests.real.processes import kill_all, signal_all


@dataclass(frozen=True)
class PowerOff(Fault):
    """The cable first, then every process at one stroke; the agent is started as at boot when the deed ends."""

    def available(self, trial: Trial, deed: Deed) -> str:
        return "" if trial.node(deed.target).pids() else "nothing runs there"

    def inject(self, trial: Trial, deed: Deed) -> None:
        node = trial.node(deed.target)
        with trial.services.turn:
            trial.services.hold(node.name, deed.number)
            node.host.unplug()
            if trial.freezer.frozen(node.name):
                signal_all(node.pids(), signal.SIGKILL)
                trial.freezer.thaw(node.name)
            kill_all(node.pids())
            node.reap()

    def heal(self, trial: Trial, deed: Deed) -> None:
        trial.node(deed.target).host.plug()
        trial.services.release(deed.target, deed.number)


@dataclass(frozen=True)
class FreezeNode(Fault):
    """All processes of the node stand still at one stroke; its kernel still answers on the network."""

    def available(self, trial: Trial, deed: Deed) -> str:
        if not trial.freezer.works:
            return "this machine has no freezer of control groups version 1"
        if trial.freezer.frozen(deed.target):
            return "it is frozen"
        return "" if trial.node(deed.target).pids() else "nothing runs there"

    def inject(self, trial: Trial, deed: Deed) -> None:
        trial.freezer.freeze(deed.target, trial.node(deed.target).pids)

    def heal(self, trial: Trial, deed: Deed) -> None:
        trial.freezer.thaw(deed.target)


FAULTS: tuple[Fault, ...] = (
    PowerOff("power off", 5, seconds=(0.5, 20), silences=True),
    FreezeNode("freeze node", 4, seconds=(0.3, 20), blinds=True, needs_fence=True, silences=True),
)
