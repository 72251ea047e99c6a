"""What differs from run to run besides the faults: timing, clocks, speeds, weather; drawn from the seed."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from typing import Any

from haagent.core.lease import DRIFT, KILL_TIME_S
from tests.sim.world.network import Weather
from tests.sim.world.server import Speed

TIMINGS = {
    (3.0, 1.0, 1.0): 2,
    (5.0, 1.0, 1.0): 1,
    (10.0, 1.0, 1.0): 1,
    (10.0, 3.0, 3.0): 3,
    (20.0, 3.0, 3.0): 1,
    (20.0, 5.0, 5.0): 3,
    (30.0, 5.0, 5.0): 2,
    (30.0, 10.0, 10.0): 9,
}
"""ttl, loop_wait and retry_timeout, from the least that is legal to 30/10/10, and how often they are drawn."""


@dataclass(frozen=True, slots=True)
class Knobs:
    """One world's constants; seconds."""

    nodes: tuple[str, ...] = ("a", "b", "c")
    ttl: float = 10.0
    loop_wait: float = 3.0
    retry_timeout: float = 3.0
    fence: bool = False
    """The commit fence is installed on every node; ``fences`` says it node by node."""
    fences: tuple[str, ...] = ()
    """``installed``, ``missing`` or ``off`` for each node."""
    fence_required: bool = False
    pre_promote: bool = False
    """The operator has a program that is asked before a promotion."""
    watchdog: str = "off"
    safety_margin: int = 5
    synchronous_mode: str = "off"
    synchronous_mode_strict: bool = False
    synchronous_node_count: int = 1
    use_pg_rewind: bool = True
    may_discard: bool = True
    """A diverged copy may be moved aside and cloned anew without an operator."""
    mount_points: bool = False
    """Each data directory is one, and can't be moved aside."""
    maximum_lag_on_failover: int = 1048576
    failsafe_mode: bool = False
    primary_start_timeout: float = 300.0
    primary_stop_timeout: float = 0.0
    first_starts: float = 2.0
    """Within how many seconds the agents of a new cluster are started."""
    restart_after: float = 1.0
    """How soon systemd starts an agent that ended."""
    rates: tuple[float, ...] = (1.0, 1.0, 1.0)
    etcd_rate: float = 1.0
    offsets: tuple[float, ...] = (1000.0, 5000.0, 20.0)
    speed: Speed = field(default_factory=Speed)
    weather: Weather = field(default_factory=Weather)
    commit_every: float = 1.0
    rogue_every: float = 2.0
    backups: bool = False
    """A replica can be made from a backup, without anybody to copy from."""
    elsewhere: bool = False
    """The cluster begins as a standby cluster of a primary elsewhere."""

    def fence_of(self, node: str) -> tuple[str, str]:
        """Whether a node has the commit fence, and ``postgresql.commit_fence`` as its agent has it."""
        told = bool(self.fences) and node in self.nodes
        found = self.fences[self.nodes.index(node)] if told else "installed" if self.fence else "missing"
        return found, "required" if self.fence_required else "off" if found == "off" else "auto"

    def document(self) -> dict[str, Any]:
        """The dynamic configuration with which the cluster begins."""
        timing = {"ttl": self.ttl, "loop_wait": self.loop_wait, "retry_timeout": self.retry_timeout}
        return {**timing, **({"standby_cluster": {"host": "far"}} if self.elsewhere else {})}

    @property
    def fenced(self) -> bool:
        """Every node has it, so that agent and guard may fail together."""
        return all(self.fence_of(node)[0] == "installed" for node in self.nodes)


def draw(seed: int) -> Knobs:
    """The knobs of a seed; clocks drift at most by what ``core/lease.py`` promises to bear."""
    rng = random.Random(f"{seed}/knobs")
    sync = random.Random(f"{seed}/sync")
    more = random.Random(f"{seed}/more")
    names = ("a", "b", "c", "d", "e")[: rng.choices((2, 3, 5), (1, 7, 2))[0]]
    fences = _fences(more, len(names))
    ttl, loop_wait, retry_timeout = rng.choices(list(TIMINGS), list(TIMINGS.values()))[0]
    half = DRIFT / 2
    extremes = (-half, 0.0, half)
    drift = [rng.choice(extremes) if rng.random() < 0.5 else rng.uniform(-half, half) for _ in names]
    return Knobs(
        nodes=names,
        ttl=ttl,
        loop_wait=loop_wait,
        retry_timeout=retry_timeout,
        synchronous_mode=sync.choices(("off", "on", "quorum"), (4, 3, 3))[0],
        synchronous_mode_strict=sync.random() < 0.3,
        synchronous_node_count=sync.choice((1, 1, 2)),
        failsafe_mode=random.Random(f"{seed}/failsafe").random() < 0.5,
        use_pg_rewind=rng.random() < 0.7,
        restart_after=rng.choice((0.2, 1.0, 5.0)),
        rates=tuple(1 + d for d in drift),
        etcd_rate=1 + rng.uniform(-half, half),
        offsets=tuple(rng.uniform(1, 1e6) for _ in names),
        speed=_speed(rng),
        weather=Weather(
            least=rng.choice((0.0001, 0.0005, 0.002)),
            typical=rng.choice((0.0003, 0.002, 0.02)),
            loss=rng.choice((0.0, 0.0, 0.001, 0.02)),
        ),
        commit_every=rng.choice((0.5, 1.0, 3.0)),
        rogue_every=rng.choice((0.5, 2.0, 2.0)),
        fences=fences,
        watchdog=more.choice(("off", "off", "automatic", "required")) if ttl >= 10 else "off",
        safety_margin=more.choice((5, -1)),
        fence_required=more.random() < 0.3 and fences.count("installed") >= max(2, len(names) - 1),
        pre_promote=more.random() < 0.25,
        may_discard=more.random() < 0.85,
        primary_start_timeout=more.choice((300.0, 300.0, 20.0, 2.0, 0.0)),
        primary_stop_timeout=more.choice((0.0, 0.0, 2.0)),
        first_starts=more.choice((0.0, 0.02, 2.0)),
        mount_points=random.Random(f"{seed}/mount points").random() < 0.1,
    )


def _fences(rng: random.Random, nodes: int) -> tuple[str, ...]:
    """On all nodes, on none, or on some."""
    how = rng.random()
    if how < 0.8:
        return ("installed" if how < 0.4 else "missing",) * nodes
    return tuple(rng.choice(("installed", "missing", "off")) for _ in range(nodes))


def _speed(rng: random.Random) -> Speed:
    slow = rng.choice((0.3, 1.0, 1.0, 4.0))
    return replace(
        Speed(),
        start=0.3 * slow,
        crash_recovery=rng.choice((0.2, 1.0, 8.0)),
        promote=rng.choice((0.05, 0.2, 2.0)),
        fast_stop=rng.choice((0.1, 0.3, 3.0, 12.0)),
        clone=rng.choice((1.0, 3.0, 15.0)),
        rewind=rng.choice((0.5, 2.0, 10.0)),
        replay=rng.choice((0.001, 0.01, 0.5)),
        receiver_timeout=rng.choice((10.0, 60.0)),
        kill=rng.uniform(0.01, KILL_TIME_S * 0.9),
    )
