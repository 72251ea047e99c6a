"""What befalls a cluster in one run, drawn beforehand from its seed: bursts of faults, and between them calm."""

from __future__ import annotations

import random
from collections.abc import Collection
from dataclasses import dataclass, replace
from itertools import count

from tests.sim import faults
from tests.sim.faults import Deed
from tests.sim.world.knobs import Knobs

BURST_S = 360.0
CALM_S = 60.0
BURSTS_S = (120.0, 240.0, BURST_S)
CALM_TTLS = 120.0
FAULTS_AN_HOUR = 50.0
"""Calm makes storms rare enough for so many; a burst of few faults is followed by the next within minutes."""
SETTLE_TTLS, SETTLE_S = 4.0, 30.0
"""After a burst, once the cluster is whole again: so long it may still busy itself with what has changed."""


@dataclass(frozen=True, slots=True)
class Burst:
    """Faults that overlap; after ``seconds`` whatever still goes on is healed; then, once all is well, calm."""

    deeds: tuple[Deed, ...]
    """Their times count from the burst's beginning."""
    seconds: float = BURST_S
    calm_s: float = CALM_S


Plan = tuple[Burst, ...]


def draw(seed: int, knobs: Knobs, seconds: float) -> Plan:
    """The plan of a seed for about so many seconds; for none it is one burst."""
    if not seconds:
        return (Burst(tuple(faults.draw(seed, knobs, 0.0, BURST_S))),)
    rng = random.Random(f"{seed}/plan")
    plan: Plan = ()
    planned = 0.0
    for number in count(1):
        length = rng.choice(BURSTS_S)
        busy_s = length + SETTLE_TTLS * knobs.ttl + SETTLE_S
        deeds = faults.draw(seed * 1000 + number, knobs, 0.0, length)
        calm_s = rng.uniform(0.3, 1.7) * (3600 * len(deeds) / FAULTS_AN_HOUR - busy_s)
        calm_s = max(CALM_S, min(CALM_TTLS * knobs.ttl, calm_s))
        plan += (Burst(tuple(deeds), length, calm_s),)
        planned += busy_s + calm_s
        if planned >= seconds:
            break
    return plan


def deeds_of(plan: Plan) -> list[Deed]:
    """All deeds in their order: a deed's number is its place here."""
    return [deed for burst in plan for deed in burst.deeds]


def only(plan: Plan, numbers: Collection[int]) -> Plan:
    """The same with these deeds alone; bursts without any are left out."""
    numbered = count()
    bursts = [replace(burst, deeds=tuple(deed for deed in burst.deeds if next(numbered) in numbers)) for burst in plan]
    return tuple(burst for burst in bursts if burst.deeds) or tuple(bursts[:1])


def hours_for(knobs: Knobs) -> float:
    """How long a seed runs in a soak: as many loops for each, so that each costs about as much real time."""
    return knobs.loop_wait / 5
