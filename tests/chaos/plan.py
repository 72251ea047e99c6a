"""What will be done to the cluster and when: drawn from a seed beforehand, so that it can be done again."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

ROUND_S = 45.0
"""So long faults begin in each round; then all is healed and judged before the next."""

NODES = ("node1", "node2", "node3")
MEMBERS = ("etcd1", "etcd2", "etcd3")
PRIMARY, LEADER = "primary", "leader"
"""Targets that are looked up at the moment of the deed: who holds the leader key, and etcd's own leader."""

ON_TOP = 0.35
"""The part of deeds that come within a ttl of the one before, mostly on the same target."""
AROUND_TTL = 0.3
"""The part of lasting deeds that end about when leases and permits do."""
LONGEST_S = 20.0


class Kind(Protocol):
    """What drawing needs to know of a fault."""

    @property
    def weight(self) -> float:
        """How often it is drawn."""

    @property
    def aim(self) -> str:
        """``node``, or ``member`` of etcd."""

    @property
    def seconds(self) -> tuple[float, float]:
        """The shortest and the longest it goes on; (0, 0): it is over at once."""

    @property
    def others(self) -> tuple[str, ...]:
        """What its second word is drawn from."""

    @property
    def blinds(self) -> bool:
        """It takes agent or guard of a node away."""

    @property
    def needs_fence(self) -> bool:
        """Without the commit fence nothing is promised under it."""

    @property
    def may_lose(self) -> bool:
        """Whoever asks for it gives acknowledged rows up, in synchronous modes too."""


@dataclass(frozen=True, slots=True)
class Deed:
    """One fault, or one request of an operator, at an instant of its round."""

    number: int
    at_s: float
    fault: str
    target: str
    seconds: float = 0.0
    other: str = ""
    chance: float = 0.0
    """For what can only be chosen at the moment itself, from 0 to 1."""

    @property
    def ends_s(self) -> float:
        """When it is healed."""
        return self.at_s + self.seconds

    def __str__(self) -> str:
        other = f" ({self.other})" if self.other else ""
        lasting = f" for {self.seconds:.1f} s" if self.seconds else ""
        return f"#{self.number} {self.fault} {self.target}{other}{lasting}"


@dataclass(frozen=True, slots=True)
class Round:
    """Deeds between two moments at which the cluster is whole."""

    number: int
    seconds: float
    deeds: tuple[Deed, ...]


def draw(
    seed: int,
    number: int,
    kinds: Mapping[str, Kind],
    *,
    ttl: float,
    seconds: float = ROUND_S,
    fence: bool = True,
    lossless: bool = False,
) -> Round:
    """The round of that number under a seed.

    Without the commit fence nothing is drawn that takes away agent and guard of a node together; ``lossless`` leaves
    out what gives up acknowledged rows.
    """
    rng = random.Random(f"{seed}/{number}")
    allowed = [
        name for name, kind in kinds.items() if (fence or not kind.needs_fence) and not (lossless and kind.may_lose)
    ]
    names = rng.sample(sorted(allowed), rng.randint(min(4, len(allowed)), len(allowed)))
    every = rng.choice((3.0, 6.0, 12.0))
    deeds: list[Deed] = []
    at = rng.uniform(0.5, 3.0)
    while at < seconds:
        name = rng.choices(names, [kinds[name].weight for name in names])[0]
        if deeds and rng.random() < ON_TOP:
            before = deeds[-1]
            near = before.at_s + rng.uniform(0, ttl)
            deeds.append(_on_top(rng, before, _deed(rng, name, kinds[name], near, ttl), kinds))
            continue
        deeds.append(_deed(rng, name, kinds[name], at, ttl))
        at += 0.5 + rng.expovariate(1 / every)
    chosen = sorted((deed for deed in deeds if deed.at_s < seconds), key=lambda deed: deed.at_s)
    if not fence:
        chosen = one_blind_at_a_time(chosen, kinds, ttl)
    return Round(number, seconds, tuple(replace(deed, number=count) for count, deed in enumerate(chosen, 1)))


def _deed(rng: random.Random, name: str, kind: Kind, at: float, ttl: float) -> Deed:
    least, most = kind.seconds
    lasts = 0.0
    if most > 0:
        lasts = least * (most / least) ** rng.random()
        if rng.random() < AROUND_TTL:
            lasts = ttl * rng.uniform(0.8, 1.4)
    targets = (*MEMBERS, LEADER) if kind.aim == "member" else (*NODES, PRIMARY, PRIMARY, PRIMARY)
    target = rng.choice(targets)
    other = rng.choice(kind.others) if kind.others else ""
    return Deed(0, round(at, 2), name, target, round(min(lasts, LONGEST_S), 2), other, round(rng.random(), 3))


def _on_top(rng: random.Random, before: Deed, deed: Deed, kinds: Mapping[str, Kind]) -> Deed:
    alike = kinds[before.fault].aim == kinds[deed.fault].aim
    return replace(deed, target=before.target) if alike and rng.random() < 0.7 else deed


def one_blind_at_a_time(deeds: Sequence[Deed], kinds: Mapping[str, Kind], ttl: float) -> list[Deed]:
    """Leave out what takes away an agent or a guard while another may still be missing: nobody could enforce."""
    kept: list[Deed] = []
    blind_until = 0.0
    for deed in deeds:
        if kinds[deed.fault].blinds:
            if deed.at_s < blind_until:
                continue
            blind_until = deed.ends_s + 2 * ttl
        kept.append(deed)
    return kept
