"""What a deed is: one thing that somebody does to the world, as data, and how a kind of them is drawn and done."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.sim.world.world import World


@dataclass(frozen=True, slots=True)
class Deed:
    """One thing that somebody does to the world, from ``at`` on for so many seconds."""

    at: float
    kind: str
    target: str
    seconds: float = 0.0
    other: str = ""
    strength: float = 0.5
    """How bad it is where that can differ, from 0 to 1."""

    def __str__(self) -> str:
        other = f" {self.other}" if self.other else ""
        return f"{self.at:.2f} {self.kind} {self.target}{other} for {self.seconds:.2f} s"


End = Callable[[], None]
Begin = Callable[["World", Deed], End]


def nothing() -> None:
    """Some deeds have no end of their own."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of deed: how often it is drawn, at what it is aimed, for how long, and how it is done."""

    weight: float
    """0: only in outages of failsafe mode, or where a scenario does it."""
    aim: str
    """``node``, ``pair`` of nodes, ``member`` of etcd, or ``etcd``."""
    seconds: tuple[float, float]
    begin: Begin
    blinds: bool = False
    """It takes away the agent or the guard of a node; without the commit fence both must not be missing at once."""
    needs_fence: bool = False
    """It takes both away: only the commit fence can enforce the permit then."""
    others: tuple[str, ...] = ()
    """What ``other`` may be, besides ``NODES``; empty: nothing."""


NODES = "nodes"
"""Among ``others``: the name of any node, or nothing."""
ONCE = (0.0, 0.0)


def during(thing: object, count: str, number: int = 1) -> End:
    """Something is the case until the end; such counts nest."""
    setattr(thing, count, getattr(thing, count) + number)
    return lambda: setattr(thing, count, getattr(thing, count) - number)
