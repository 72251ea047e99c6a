"""A node is cut off: from all or from some, both ways or one."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from tests.chaos.cuts import Cut
from tests.chaos.faults.base import Fault
from tests.chaos.plan import Deed
from tests.chaos.trial import Trial
from tests.real.network import NamespacedHost

ALL, ETCD, PEERS, CLIENTS = "all", "etcd", "peers", "clients"
BOTH, IN, OUT = "both", "in", "out"


@dataclass(frozen=True)
class CutOff(Fault):
    """Packets between the node and whom it is cut off from are dropped; ``way`` is seen from the node."""

    whom: str = ALL
    way: str = BOTH

    def inject(self, trial: Trial, deed: Deed) -> None:
        others = _hosts(trial, self.whom, deed.target)
        nobody: Collection[NamespacedHost] = ()
        cut = Cut(nobody if self.way == OUT else others, nobody if self.way == IN else others)
        trial.cuts.make(trial.host(deed.target), deed.number, cut)

    def heal(self, trial: Trial, deed: Deed) -> None:
        trial.cuts.heal(trial.host(deed.target), deed.number)


def _hosts(trial: Trial, whom: str, target: str) -> list[NamespacedHost] | None:
    if whom == ALL:
        return None
    if whom == CLIENTS:
        return [trial.host("client")]
    prefix = "etcd" if whom == ETCD else "node"
    assert trial.cluster.network is not None
    return [host for name, host in trial.cluster.network.hosts.items() if name.startswith(prefix) and name != target]


LASTING = (0.5, 20.0)
FAULTS: tuple[Fault, ...] = (
    CutOff("isolate", 5, seconds=LASTING, silences=True, outlasts_agent=True),
    CutOff("hear nobody", 2, seconds=LASTING, silences=True, outlasts_agent=True, way=IN),
    CutOff("reach nobody", 2, seconds=LASTING, silences=True, outlasts_agent=True, way=OUT),
    CutOff("cut from etcd", 4, seconds=LASTING, silences=True, outlasts_agent=True, whom=ETCD),
    CutOff("lose etcd's answers", 4, seconds=LASTING, silences=True, outlasts_agent=True, whom=ETCD, way=IN),
    CutOff("cut from peers", 3, seconds=LASTING, whom=PEERS),
    CutOff("cut from clients", 1, seconds=LASTING, whom=CLIENTS),
)
