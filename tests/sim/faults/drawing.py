"""Deeds drawn from a seed, and which of them may come together."""

from __future__ import annotations

import random
from dataclasses import replace

from tests.sim.faults import clocks, database, machines, network, requests, storage, store, stories
from tests.sim.faults.deed import NODES, Deed, Kind
from tests.sim.world.dcs import MEMBERS
from tests.sim.world.knobs import Knobs

KINDS: dict[str, Kind] = {
    **network.KINDS, **machines.KINDS, **database.KINDS, **storage.KINDS,
    **clocks.KINDS, **store.KINDS, **requests.KINDS,
}  # fmt: skip

MOST_KINDS = 30
"""So many kinds at most are drawn from in one round, so that a few of them often come together."""

COMPOUND = 0.3
"""The part of deeds that come within a ttl of the one before, on the same node."""

BLOWS = ("freeze agent", "freeze host", "kill agent", "kill postmaster", "power off")
"""What half of these second deeds are."""
WITHIN_OUTAGES = (
    *("cut", "cut", "cut one way", "isolate", "slow peers", "slow peers"),
    *("freeze agent", "freeze agent", "freeze host", "kill agent", "kill agent", "power off"),
)
"""What befalls nodes while failsafe mode is at work."""
AWAY = ("cut", "cut from etcd", "cut one way", "etcd down", "etcd member freezes", "etcd member stops", "isolate")
"""What may leave a primary without etcd."""
LOSSES = ("etcd restored", "etcd wiped")
EARLY = 0.2
"""The part of clusters whose bootstrap has troubles."""
AROUND_TTL = 0.25
"""The part of lasting deeds that end about when leases and permits do."""


def draw(seed: int, knobs: Knobs, begins: float, length: float) -> list[Deed]:
    """The deeds of a seed in ``[begins, begins + length)``: long quiet stretches, storms, and stories."""
    rng = random.Random(f"{seed}/{begins}/deeds")
    every = rng.choice((5.0, 20.0, 60.0))
    names = rng.sample(sorted(name for name, kind in KINDS.items() if kind.weight), rng.randint(3, MOST_KINDS))
    weights = [KINDS[name].weight for name in names]
    in_stories = rng.choice((0.0, 0.2, 0.6))
    deeds: list[Deed] = []
    at = begins + (rng.uniform(0, 5) if rng.random() < 0.2 else 30.0)
    if begins == 0 and rng.random() < EARLY:
        deeds += _story(rng, stories.BOOTSTRAP, 0.0, knobs)
    while at < begins + length:
        if rng.random() < in_stories:
            deeds += _story(rng, stories.chosen(rng, hook=knobs.pre_promote), at, knobs)
            at += 20 + rng.expovariate(1 / every)
            continue
        kind = rng.choices(names, weights)[0]
        if deeds and rng.random() < COMPOUND:
            blows = [name for name in names if name in BLOWS]
            kind = rng.choice(blows) if blows and rng.random() < 0.5 else kind
            deeds.append(_on_top(deeds[-1], _aimed(rng, kind, deeds[-1].at + rng.uniform(0, knobs.ttl), knobs)))
            continue
        at += rng.expovariate(1 / every)
        deeds.append(_aimed(rng, kind, at, knobs))
    if knobs.failsafe_mode:
        deeds += _outages(seed, knobs, begins, length)
    deeds.sort(key=lambda deed: deed.at)
    return [deed for deed in legal(deeds, knobs) if deed.at < begins + length]


def _story(rng: random.Random, name: str, at: float, knobs: Knobs) -> list[Deed]:
    return [
        Deed(at + after, step.kind, target, _length(rng, step.seconds, knobs), other, rng.random())
        for after, step, target, other in stories.told(rng, knobs.nodes, name)
    ]


def _outages(seed: int, knobs: Knobs, begins: float, length: float) -> list[Deed]:
    """What failsafe mode is for, and what it must survive: etcd gone, for all or for the leader, and a blow within."""
    rng = random.Random(f"{seed}/{begins}/outages")
    deeds: list[Deed] = []
    at = begins + 30.0
    while (at := at + rng.expovariate(1 / 60)) < begins + length:
        outage = replace(_aimed(rng, rng.choice(("etcd down", "cut from etcd")), at, knobs), seconds=rng.uniform(5, 90))
        deeds.append(outage)
        led = rng.choice(knobs.nodes)
        for _ in range(rng.choice((0, 0, 1, 2, 3))):
            within = at + rng.uniform(0, outage.seconds)
            blow = _aimed(rng, rng.choice(WITHIN_OUTAGES), within, knobs)
            # The key may have gone by then, and its holder with it: one node is hit again and again instead.
            other = rng.choice(knobs.nodes) if KINDS[blow.kind].aim == "pair" else blow.other
            deeds.append(replace(blow, target=led if rng.random() < 0.6 else rng.choice(knobs.nodes), other=other))
        if outage.kind == "cut from etcd":
            deeds = [replace(deed, target=led) if deed is outage else deed for deed in deeds]
        at += outage.seconds
    return deeds


def _on_top(before: Deed, deed: Deed) -> Deed:
    """A second blow for whoever had the first, where both are aimed at a node."""
    both = KINDS[before.kind].aim == "node" == KINDS[deed.kind].aim
    return replace(deed, target=before.target) if both else deed


def _length(rng: random.Random, seconds: tuple[float, float], knobs: Knobs) -> float:
    least, most = seconds
    if most > 0 and rng.random() < AROUND_TTL:
        return knobs.ttl * rng.uniform(0.8, 1.3)
    return 0.0 if most == 0 else float(least * (most / least) ** rng.random())


def _aimed(rng: random.Random, name: str, at: float, knobs: Knobs) -> Deed:
    kind = KINDS[name]
    seconds, strength = _length(rng, kind.seconds, knobs), rng.random()
    others = (*knobs.nodes, "") if NODES in kind.others else kind.others
    other = rng.choice(others) if others else ""
    if kind.aim == "etcd":
        return Deed(at, name, "etcd", seconds, other, strength)
    if kind.aim == "member":
        return Deed(at, name, rng.choice(MEMBERS), seconds)
    if kind.aim == "pair":
        target, other = rng.sample([*knobs.nodes, rng.choice(MEMBERS)], 2)
        return Deed(at, name, target, seconds, other)
    return Deed(at, name, rng.choice((*knobs.nodes, "leader", "leader")), seconds, other, strength)


def legal(deeds: list[Deed], knobs: Knobs) -> list[Deed]:
    """Without the commit fence, never agent and guard of the cluster's nodes blind at once: nobody could enforce.

    In failsafe mode, etcd loses no data while somebody may go on without it: who was asked to wait is written there.
    """
    if knobs.failsafe_mode:
        deeds = _remembering(deeds, knobs)
    if knobs.fenced:
        return deeds
    kept: list[Deed] = []
    blind_until = 0.0
    for deed in deeds:
        kind = KINDS[deed.kind]
        if kind.needs_fence:
            continue
        if kind.blinds or deed.kind == "freeze host":
            if deed.at < blind_until:
                continue
            blind_until = deed.at + deed.seconds + knobs.restart_after + 2 * knobs.ttl
        kept.append(deed)
    return kept


def _remembering(deeds: list[Deed], knobs: Knobs) -> list[Deed]:
    kept: list[Deed] = []
    away_until = 0.0
    for deed in deeds:
        if deed.kind in LOSSES and deed.at < away_until:
            continue
        if deed.kind in AWAY:
            away_until = max(away_until, deed.at + deed.seconds + 2 * knobs.ttl)
        kept.append(deed)
    return kept
