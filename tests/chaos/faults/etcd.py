"""A member of etcd dies, stands still, or is cut off; ``leader`` is whichever leads at that moment."""

from __future__ import annotations

from dataclasses import dataclass

from tests.chaos.cuts import Cut
from tests.chaos.faults.base import MEMBER, Fault
from tests.chaos.plan import Deed
from tests.chaos.trial import Trial


@dataclass(frozen=True)
class KillMember(Fault):
    """SIGKILL; started again with what it had stored when the deed ends."""

    def available(self, trial: Trial, deed: Deed) -> str:
        return "" if trial.member(deed.target).process.running else "it is down"

    def inject(self, trial: Trial, deed: Deed) -> None:
        with trial.services.turn:
            trial.services.hold(deed.target, deed.number)
            trial.member(deed.target).process.kill()

    def heal(self, trial: Trial, deed: Deed) -> None:
        trial.services.release(deed.target, deed.number)


@dataclass(frozen=True)
class FreezeMember(Fault):
    """SIGSTOP: it accepts connections and answers nothing."""

    def available(self, trial: Trial, deed: Deed) -> str:
        return "" if trial.member(deed.target).process.running else "it is down"

    def inject(self, trial: Trial, deed: Deed) -> None:
        trial.stops.stop(deed.number, [trial.member(deed.target).process.pid])

    def heal(self, trial: Trial, deed: Deed) -> None:
        trial.stops.go_on(deed.number)


@dataclass(frozen=True)
class IsolateMember(Fault):
    """Nobody reaches it, and it reaches nobody."""

    def inject(self, trial: Trial, deed: Deed) -> None:
        trial.cuts.make(trial.host(deed.target), deed.number, Cut(None, None))

    def heal(self, trial: Trial, deed: Deed) -> None:
        trial.cuts.heal(trial.host(deed.target), deed.number)


LASTING = (0.5, 15.0)
FAULTS: tuple[Fault, ...] = (
    KillMember("kill etcd", 3, MEMBER, LASTING),
    FreezeMember("freeze etcd", 3, MEMBER, LASTING),
    IsolateMember("isolate etcd", 2, MEMBER, LASTING),
)
