"""Deeds that belong together: what happens to one cluster in one bad quarter of an hour."""

from __future__ import annotations

import random
from dataclasses import dataclass

from tests.sim.faults.deed import ONCE

Span = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Step:
    """One deed of a story: so many seconds after the one before it, at whom, for how long."""

    kind: str
    target: str = "same"
    """``same``: the story's node; ``each``: every node; else ``leader``, ``standby`` or ``etcd``, as of then."""
    after: Span = (0.0, 5.0)
    seconds: Span = ONCE
    other: str = ""
    chance: float = 0.7
    """How likely it is that this step is taken at all."""


@dataclass(frozen=True, slots=True)
class Story:
    """Steps in their order, told about a node or about whoever leads."""

    weight: float
    steps: tuple[Step, ...]
    about: str = "any"
    """``any`` node, ``leader`` or ``standby``."""


def a(kind: str, target: str = "same", after: Span = (0.0, 5.0), seconds: Span = ONCE, **more: object) -> Step:
    return Step(kind, target, after, seconds, **more)  # type: ignore[arg-type]


BOOTSTRAP = "a bootstrap with troubles"
"""Only told of a cluster that does not exist yet."""
HOOK = "a promotion that is not allowed"
"""Only told where there is a hook, and then often."""
PAUSED = a("pause", "leader", (0, 1), (30, 120), chance=1.0)
LEADER_GOES = a("power off", "leader", (0.5, 8), (10, 60), chance=1.0)

STORIES: dict[str, Story] = {
    "work on PostgreSQL in a pause": Story(3, (
        PAUSED, a("stop by hand", "leader", (3, 12), chance=0.9), a("terminate agent", "leader", (0, 10), chance=0.4),
        a("kill agent", "leader", (0, 10), (0.5, 20), chance=0.4), a("start by hand", "same", (2, 20)),
        a("terminate agent", "same", (0, 10), chance=0.4),
    ), "leader"),
    "a standby promoted in a pause": Story(3, (
        PAUSED, a("power off", "leader", (2, 10), (10, 90), chance=0.6), a("promote by hand", "same", (1, 15)),
        a("terminate agent", "same", (0, 15), chance=0.5), a("stop by hand", "same", (1, 15), chance=0.3),
        a("start by hand", "same", (1, 15), chance=0.3),
    )),
    "a standby promoted while etcd is away": Story(3, (
        a("etcd down", "etcd", (0, 5), (10, 60), chance=0.8), a("promote by hand", "same", (0, 8), chance=1.0),
        a("stop by hand", "same", (0, 3), chance=0.3), a("kill agent", "same", (0, 3), (0.2, 20), chance=0.3),
        a("power off", "leader", (0, 20), (10, 60), chance=0.5), a("start by hand", "same", (0, 10), chance=0.2),
    ), "standby"),
    "etcd away in a pause": Story(2, (
        PAUSED, a("etcd member stops", "etcd1", (2, 10), (10, 60)), a("etcd member stops", "etcd2", (0, 1), (10, 60)),
        a("kill agent", "leader", (0, 20), (0.2, 10), chance=0.5), a("kill postmaster", "leader", chance=0.3),
    )),
    "a failover by hand in a pause": Story(2, (
        PAUSED, a("isolate", "leader", (2, 10), (10, 60), chance=0.6), a("failover", "same", (1, 15), other="same"),
        a("terminate agent", "same", (0, 0.5), chance=0.3),
    ), "standby"),
    BOOTSTRAP: Story(0, (
        a("copies fail", "each", (0, 1), (0.5, 20), chance=0.4), a("kill agent", "same", (0, 2), (0.2, 10), chance=0.4),
        a("terminate agent", "each", (0, 2), chance=0.4), a("cut from etcd", "same", (0, 2), (1, 20), chance=0.4),
        a("power off", "same", (0, 2), (40, 119), chance=0.4), a("terminate agent", "each", (0, 10), chance=0.3),
        a("etcd down", "etcd", (0, 1), (1, 20), chance=0.3),
    )),
    "a copy with troubles": Story(4, (
        a("reinitialize", "same", chance=1.0), a("copies fail", "same", (0, 3), (1, 30), chance=0.4),
        a("terminate agent", "same", (0, 6), chance=0.3), a("kill agent", "same", (0, 6), (0.2, 5), chance=0.3),
        a("cut from etcd", "same", (0, 4), (1, 20), chance=0.3), a("disk hangs", "same", (0, 4), (1, 10), chance=0.2),
        a("power off", "leader", (0, 4), (5, 40), chance=0.3), a("terminate agent", "same", (0, 10), chance=0.3),
    ), "standby"),
    "a promotion that hangs": Story(4, (
        a("promotions hang", "each", (0, 1), (5, 40), chance=0.8), LEADER_GOES,
        a("cut from etcd", "leader", (8, 14), (5, 30), chance=0.3), a("leader key deleted", "etcd", (0, 4), chance=0.2),
        a("kill guard", "leader", (8, 14), chance=0.3), a("terminate agent", "leader", (8, 14), chance=0.2),
        a("kill agent", "leader", (0, 4), (0.5, 15), chance=0.3),
        a("freeze agent", "leader", (0, 4), (1, 20), chance=0.2),
    )),
    HOOK: Story(12, (
        a("hook", "each", (0, 1), (10, 60), other="vetoes", chance=0.5),
        a("hook", "same", (0, 1), (10, 60), other="hangs", chance=0.5), LEADER_GOES,
        a("terminate agent", "leader", (8, 20), chance=0.5), a("leader key deleted", "etcd", (0, 5), chance=0.3),
        a("cut from etcd", "leader", (0, 5), (5, 30), chance=0.3), a("kill postmaster", "leader", (0, 3), chance=0.3),
    )),
    "no PostgreSQL that stays up": Story(3, (
        a("crash loop", "leader", (0, 1), (10, 60), chance=0.6),
        a("starts fail", "leader", (0, 1), (5, 60), chance=0.5),
        a("kill postmaster", "leader", (0, 3)), a("lease revoked", "etcd", (0, 2), chance=0.3),
        a("terminate agent", "leader", (0, 3), chance=0.3), a("orphan backends", "leader", (0, 5), chance=0.4),
    )),
    "a history that parts": Story(4, (
        a("isolate", "leader", (0, 3), (15, 40), chance=1.0), a("copies fail", "each", (0, 20), (10, 60), chance=0.4),
        a("terminate agent", "same", (5, 25), chance=0.4), a("kill agent", "same", (0, 10), (0.2, 5), chance=0.3),
        a("power off", "leader", (0, 10), (5, 30), chance=0.3),
    ), "leader"),
    "a copy that is lost or spoilt": Story(3, (
        a("data unmounted", "same", (0, 2), (5, 40), chance=0.4), a("data removed", "same", (0, 2), chance=0.4),
        a("control file unreadable", "same", (0, 10), (5, 60), chance=0.5), a("disk hangs", "same", (0, 10), (2, 20)),
        a("kill postmaster", "same", (0, 3)), a("terminate agent", "same", (0, 15), chance=0.4),
        a("start by hand", "same", (5, 30), chance=0.5), a("terminate agent", "same", (0, 1), chance=0.4),
        a("identity forged", "etcd", (0, 10), (2, 20), chance=0.3),
    )),
    "other hands on a standby": Story(3, (
        a("promote by hand", "same", chance=0.6), a("restart as primary", "same", (0, 10), chance=0.4),
        a("stop by hand", "same", (0, 10), chance=0.3), a("starts fail", "same", (0, 1), (1, 20), chance=0.3),
        a("start by hand", "same", (1, 10), chance=0.4), a("terminate agent", "same", (0, 3), chance=0.3),
        a("reinitialize", "same", (0, 2), chance=0.3),
    ), "standby"),
    "other hands on the primary": Story(3, (
        a("restart as standby", "leader", chance=0.5), a("stop by hand", "leader", (0, 10)),
        a("terminate agent", "leader", (0, 0.5), chance=0.4), a("crash backend", "leader", (1, 20)),
        a("start by hand", "leader", (0, 3), chance=0.3), a("orphan backends", "leader", (1, 20)),
    )),
    "a stop that has no end": Story(3, (
        a("stops hang", "same", (0, 1), (20, 100), chance=1.0), a("reinitialize", "same", (0, 5), chance=0.4),
        a("restart", "same", (0, 5), chance=0.3), a("switchover", "same", (0, 5), chance=0.4),
        a("orphan backends", "same", (1, 20), chance=0.5), a("cut from etcd", "same", (1, 30), (10, 40), chance=0.3),
        a("terminate agent", "same", (1, 20), chance=0.3),
    )),
    "no guard": Story(2, (
        a("no guard starts", "leader", (0, 1), (5, 60), chance=1.0), a("kill guard", "leader", (0, 2), chance=0.8),
        a("no guard starts", "each", (0, 1), (5, 60), chance=0.3),
        a("power off", "leader", (1, 10), (5, 30), chance=0.4),
        a("kill guard", "leader", (8, 20), chance=0.4), a("promotions hang", "each", (0, 1), (5, 40), chance=0.4),
    )),
    "etcd is set back": Story(2, (
        a("etcd backed up", "etcd", chance=1.0), a("switchover", "leader", (0, 30), chance=0.5),
        a("power off", "leader", (0, 10), (5, 60), chance=0.3), a("etcd restored", "etcd", (5, 40), chance=0.9),
        a("kill agent", "leader", (0, 10), (0.2, 20), chance=0.4), a("etcd wiped", "etcd", (10, 60), chance=0.3),
    )),
    "an agent restarts while etcd is away": Story(3, (
        a("etcd member stops", "etcd1", (0, 1), (3, 40)), a("etcd member stops", "etcd2", (0, 1), (3, 40), chance=0.9),
        a("kill agent", "leader", (0, 5), (0.1, 5), chance=0.9), a("kill agent", "standby", (0, 5), (0.1, 5)),
        a("kill guard", "leader", (0, 5), chance=0.2), a("crash backend", "leader", (0, 5), chance=0.2),
    )),
    "a watchdog device that comes and goes": Story(2, (
        a("watchdog device fails", "each", (0, 3), (2, 40), chance=0.6), a("kill postmaster", "leader", (0, 3)),
        a("restart as standby", "leader", (0, 8), chance=0.3), a("power off", "leader", (0, 10), (5, 30)),
        a("watchdog device fails", "leader", (0.1, 12), (2, 40)),
        a("promotions hang", "each", (0, 1), (5, 20), chance=0.4),
        a("kill agent", "leader", (0, 5), (0.2, 3), chance=0.4),
    )),
    "a pause while something starts": Story(2, (
        a("kill postmaster", "standby", (0, 1), chance=0.6), a("pause", "leader", (0, 1), (10, 60), chance=1.0),
        a("terminate agent", "each", (0.1, 3), chance=0.9),
    )),
    "a pause that ends while an agent is away": Story(2, (
        a("pause", "standby", (0, 1), (15, 40), chance=1.0), a("kill agent", "leader", (1, 5), (40, 90), chance=1.0),
        a("cut from etcd", "same", (20, 60), (5, 40), chance=0.3), a("power off", "standby", (10, 40), (10, 60)),
    ), "leader"),
    "too few to vote": Story(2, (
        a("patch synchronous mode", "leader", (0, 1), (60, 90), other="quorum", chance=0.5),
        a("power off", "leader", (10, 20), (20, 60), chance=1.0), a("power off", "standby", (0, 2), (20, 60)),
        a("terminate agent", "each", (8, 20), chance=0.7), a("promote by hand", "same", (0, 10), chance=0.2),
    )),
    "a standby that is compared": Story(2, (
        a("power off", "leader", (0, 1), (20, 60), chance=1.0), a("cut", "same", (12, 25), (10, 50), other="leader"),
        a("reinitialize", "same", (0.5, 12)), a("terminate agent", "same", (0, 5), chance=0.3),
    )),
    "a key that goes and comes in a pause": Story(2, (
        a("pause", "leader", (0, 1), (40, 90), chance=1.0), a("etcd loses answers", "etcd", (2, 5), (20, 40)),
        a("leader key deleted", "etcd", (1, 8)), a("cut from etcd", "leader", (0, 1.5), (3, 20)),
        a("lease revoked", "etcd", (1, 8)), a("etcd down", "etcd", (0, 1.5), (3, 20)),
        a("promote by hand", "each", (0, 5), chance=0.2), a("terminate agent", "same", (0, 10), chance=0.3),
    )),
    "a killed agent comes back at once": Story(3, (
        a("kill postmaster", "leader", (0, 3), chance=0.4), a("crash backend", "leader", (0, 1), chance=0.3),
        a("orphan backends", "leader", (0, 1), chance=0.3), a("kill agent", "leader", (0, 0.5), (0.1, 3), chance=1.0),
        a("lease revoked", "etcd", (0, 3), chance=0.3), a("leader key deleted", "etcd", (0, 3), chance=0.3),
        a("kill agent", "leader", (5, 20), (0.1, 20)),
    )),
}  # fmt: skip
"""In a step ``other="same"`` is the story's node."""


def chosen(rng: random.Random, *, hook: bool) -> str:
    """The name of a story."""
    names = sorted(STORIES)
    return rng.choices(names, [STORIES[name].weight * (hook or name != HOOK) for name in names])[0]


def told(rng: random.Random, nodes: tuple[str, ...], name: str) -> list[tuple[float, Step, str, str]]:
    """A story as ``(seconds after its beginning, step, target, other)``."""
    story = STORIES[name]
    node = rng.choice(nodes) if story.about == "any" else story.about
    found: list[tuple[float, Step, str, str]] = []
    at = 0.0
    for step in story.steps:
        at += rng.uniform(*step.after)
        if rng.random() >= step.chance:
            continue
        other = node if step.other == "same" else step.other
        targets = nodes if step.target == "each" else (node if step.target == "same" else step.target,)
        found += [(at, step, target, other) for target in targets]
    return found
