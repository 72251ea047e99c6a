"""What every fault is: a name, how it is drawn, whether it can be done now, the doing, and the healing."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from tests.chaos.plan import Deed
from tests.chaos.trial import Trial

NODE, MEMBER = "node", "member"
AT_ONCE = (0.0, 0.0)


@dataclass(frozen=True)
class Fault(ABC):
    """One kind of fault; what is done by it at a moment is told by a ``Deed`` with its target looked up.

    Whatever goes on is kept in the trial's hands under the deed's number, so that overlapping ones end each by itself.
    """

    name: str
    weight: float = 1.0
    aim: str = NODE
    seconds: tuple[float, float] = AT_ONCE
    others: tuple[str, ...] = ()
    blinds: bool = False
    needs_fence: bool = False
    may_lose: bool = False
    silences: bool = False
    """From its beginning to its healing the node can renew no permit."""
    outlasts_agent: bool = False
    """That holds for an agent started meanwhile too."""

    def available(self, trial: Trial, deed: Deed) -> str:
        """Why it can't be done now; empty when it can."""
        return ""

    @abstractmethod
    def inject(self, trial: Trial, deed: Deed) -> None:
        """Do it; short, for others are waiting."""

    def heal(self, trial: Trial, deed: Deed) -> None:  # noqa: B027
        """End it; what has no end of its own needs nothing."""
