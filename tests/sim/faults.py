"""Faults and operators' deeds as data, drawn beforehand from the seed, so that a failing plan can be shortened."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tests.sim.world.dcs import MEMBERS
from tests.sim.world.events import Fault
from tests.sim.world.knobs import Knobs
from tests.sim.world.network import Weather

if TYPE_CHECKING:
    from tests.sim.world.hosts import Host
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


def _nothing() -> None:
    """Some deeds have no end of their own."""


def _cut(world: World, deed: Deed) -> End:
    return _cut_links(world, [(deed.target, deed.other), (deed.other, deed.target)])


def _cut_one_way(world: World, deed: Deed) -> End:
    return _cut_links(world, [(deed.target, deed.other)])


def _isolate(world: World, deed: Deed) -> End:
    others = [name for name in (*world.hosts, *MEMBERS) if name != deed.target]
    return _cut_links(world, [pair for name in others for pair in ((deed.target, name), (name, deed.target))])


def _cut_from_etcd(world: World, deed: Deed) -> End:
    pairs = [(deed.target, member) for member in MEMBERS]
    if deed.other == "answers":
        return _cut_links(world, [(member, name) for name, member in pairs])
    return _cut_links(world, pairs + [(member, name) for name, member in pairs])


def _cut_links(world: World, links: list[tuple[str, str]]) -> End:
    for source, target in links:
        world.network.cut(source, target)

    def heal() -> None:
        for source, target in links:
            world.network.heal(source, target)

    return heal


def _slow(world: World, deed: Deed) -> End:
    """200 to 2,000 ms and 10 % loss between a node and etcd."""
    delay = 0.05 + deed.strength
    links = [pair for member in MEMBERS for pair in ((deed.target, member), (member, deed.target))]
    for link in links:
        world.network.slow[link] = Weather(delay / 2, delay / 4, 0.1)

    def heal() -> None:
        for link in links:
            world.network.slow.pop(link, None)

    return heal


def _slow_answers(world: World, deed: Deed) -> End:
    """What etcd answers takes up to two seconds to arrive; what it is asked arrives at once."""
    links = [(member, deed.target) for member in MEMBERS]
    for link in links:
        world.network.slow[link] = Weather(2 * deed.strength, 0.05)

    def heal() -> None:
        for link in links:
            world.network.slow.pop(link, None)

    return heal


def _slow_peers(world: World, deed: Deed) -> End:
    """What other nodes answer to this one takes up to two seconds to arrive; what it asks arrives at once."""
    links = [(name, deed.target) for name in world.hosts if name != deed.target]
    for link in links:
        world.network.slow[link] = Weather(2 * deed.strength, 0.05)

    def heal() -> None:
        for link in links:
            world.network.slow.pop(link, None)

    return heal


def _power(world: World, deed: Deed) -> End:
    world.hosts[deed.target].power_off()
    return world.hosts[deed.target].power_on


def _kill_agent(world: World, deed: Deed) -> End:
    host = world.hosts[deed.target]
    host.kill_agent(None)
    return host.start_agent


def _terminate_agent(world: World, deed: Deed) -> End:
    world.hosts[deed.target].stop_agent()
    return _nothing


def _freeze_agent(world: World, deed: Deed) -> End:
    process = world.hosts[deed.target].agent_process
    if process is None:
        return _nothing
    process.freeze()
    return process.thaw


def _freeze_guard(world: World, deed: Deed) -> End:
    guard = world.hosts[deed.target].guard
    if guard is None:
        return _nothing
    guard.process.freeze()
    return guard.process.thaw


def _kill_guard(world: World, deed: Deed) -> End:
    world.hosts[deed.target].kill_guard()
    return _nothing


def _freeze_host(world: World, deed: Deed) -> End:
    host = world.hosts[deed.target]
    host.freeze()
    return host.thaw


def _kill_postmaster(world: World, deed: Deed) -> End:
    world.hosts[deed.target].kill_tree(0.01, "SIGKILL by a fault")
    return _nothing


def _freeze_postmaster(world: World, deed: Deed) -> End:
    server = world.hosts[deed.target].server
    if server is None:
        return _nothing
    server.process.freeze()
    server.froze()

    def thaw() -> None:
        if server.process.alive:
            server.process.thaw()
            server.thawed()

    return thaw


def _etcd_leader(world: World, deed: Deed) -> End:
    world.etcd.etcd.change_leader()
    return _nothing


def _etcd_member_stops(world: World, deed: Deed) -> End:
    world.etcd.stop_member(deed.target)
    return lambda: world.etcd.start_member(deed.target)


def _etcd_member_freezes(world: World, deed: Deed) -> End:
    world.etcd.freeze_member(deed.target)
    return lambda: world.etcd.thaw_member(deed.target)


def _etcd_down(world: World, deed: Deed) -> End:
    """Every member stops."""
    for member in MEMBERS:
        world.etcd.stop_member(member)

    def heal() -> None:
        for member in MEMBERS:
            world.etcd.start_member(member)

    return heal


def _etcd_loses_answers(world: World, deed: Deed) -> End:
    world.etcd.answers_lost = 0.1 + 0.5 * deed.strength

    def heal() -> None:
        world.etcd.answers_lost = 0.0

    return heal


def _etcd_lies(world: World, deed: Deed) -> End:
    """Keepalives of dead leases are answered OK, as etcd before 3.4.38 did."""
    world.etcd.etcd.lying_keepalive = True

    def heal() -> None:
        world.etcd.etcd.lying_keepalive = False

    return heal


def _etcd_compacts(world: World, deed: Deed) -> End:
    world.etcd.etcd.compact()
    return _nothing


def _etcd_full(world: World, deed: Deed) -> End:
    world.etcd.etcd.no_space = True

    def heal() -> None:
        world.etcd.etcd.no_space = False

    return heal


def _request(world: World, deed: Deed) -> End:
    world.operators.act(deed.kind, deed.target, deed.other)
    return _nothing


def _pause(world: World, deed: Deed) -> End:
    world.operators.act("pause", deed.target, "")
    return lambda: world.operators.act("resume", deed.target, "")


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of deed: how often it is drawn, at what it is aimed, for how long, and how it is done."""

    weight: float
    """0: only in outages of failsafe mode."""
    aim: str
    """``node``, ``pair`` of nodes, ``member`` of etcd, or ``etcd``."""
    seconds: tuple[float, float]
    begin: Begin
    blinds: bool = False
    """It takes away the agent or the guard of a node; without the commit fence both must not be missing at once."""


# A lease that is revoked under its living holder is not among these: the holder's permit then runs on, and nothing
# promises that two writers do not overlap (docs/guarantees.md).
KINDS: dict[str, Kind] = {
    "cut": Kind(3, "pair", (0.5, 60), _cut),
    "cut one way": Kind(3, "pair", (0.5, 60), _cut_one_way),
    "isolate": Kind(5, "node", (0.5, 90), _isolate),
    "cut from etcd": Kind(5, "node", (0.5, 60), _cut_from_etcd),
    "slow to etcd": Kind(3, "node", (5, 60), _slow),
    "slow answers": Kind(5, "node", (5, 60), _slow_answers),
    "slow peers": Kind(0, "node", (5, 60), _slow_peers),
    "power off": Kind(5, "node", (5, 120), _power),
    "kill agent": Kind(5, "node", (0.2, 60), _kill_agent, blinds=True),
    "terminate agent": Kind(3, "node", (0.0, 0.0), _terminate_agent),
    "freeze agent": Kind(5, "node", (0.2, 60), _freeze_agent, blinds=True),
    "kill guard": Kind(3, "node", (0.0, 0.0), _kill_guard, blinds=True),
    "freeze guard": Kind(2, "node", (1, 40), _freeze_guard, blinds=True),
    "freeze host": Kind(4, "node", (0.2, 60), _freeze_host),
    "kill postmaster": Kind(4, "node", (0.0, 0.0), _kill_postmaster),
    "freeze postmaster": Kind(2, "node", (1, 60), _freeze_postmaster),
    "etcd leader changes": Kind(3, "etcd", (0.0, 0.0), _etcd_leader),
    "etcd member stops": Kind(3, "member", (1, 60), _etcd_member_stops),
    "etcd member freezes": Kind(3, "member", (1, 40), _etcd_member_freezes),
    "etcd down": Kind(0, "etcd", (2, 120), _etcd_down),
    "etcd loses answers": Kind(3, "etcd", (2, 40), _etcd_loses_answers),
    "etcd lies": Kind(2, "etcd", (10, 60), _etcd_lies),
    "etcd compacts": Kind(1, "etcd", (0.0, 0.0), _etcd_compacts),
    "etcd full": Kind(1, "etcd", (2, 30), _etcd_full),
    "switchover": Kind(4, "node", (0.0, 0.0), _request),
    "failover": Kind(2, "node", (0.0, 0.0), _request),
    "restart": Kind(2, "node", (0.0, 0.0), _request),
    "reinitialize": Kind(1, "node", (0.0, 0.0), _request),
}


COMPOUND = 0.3
"""The part of deeds that come within a ttl of the one before, on the same node."""

BLOWS = ("freeze agent", "freeze host", "kill agent", "kill postmaster", "power off")
"""What half of these second deeds are."""
WITHIN_OUTAGES = (
    *("cut", "cut", "cut one way", "isolate", "slow peers", "slow peers"),
    *("freeze agent", "freeze agent", "freeze host", "kill agent", "kill agent", "power off"),
)
"""What befalls nodes while failsafe mode is at work."""
AROUND_TTL = 0.25
"""The part of lasting deeds that end about when leases and permits do."""


def draw(seed: int, knobs: Knobs, begins: float, length: float) -> list[Deed]:
    """The deeds of a seed in ``[begins, begins + length)``; long quiet stretches and storms alike."""
    rng = random.Random(f"{seed}/{begins}/deeds")
    every = rng.choice((5.0, 20.0, 60.0))
    common = sorted(name for name, kind in KINDS.items() if kind.weight)
    names = rng.sample(common, rng.randint(3, len(common)))
    weights = [KINDS[name].weight for name in names]
    deeds: list[Deed] = []
    at = begins + (rng.uniform(0, 5) if rng.random() < 0.2 else 30.0)
    while at < begins + length:
        kind = rng.choices(names, weights)[0]
        if deeds and rng.random() < COMPOUND:
            blows = [name for name in names if name in BLOWS]
            kind = rng.choice(blows) if blows and rng.random() < 0.5 else kind
            deeds.append(_on_top(deeds[-1], _aimed(rng, kind, deeds[-1].at + rng.uniform(0, knobs.ttl), knobs)))
            continue
        at += rng.expovariate(1 / every)
        deeds.append(_aimed(rng, kind, at, knobs))
    if knobs.failsafe_mode:
        deeds = sorted([*deeds, *_outages(seed, knobs, begins, length)], key=lambda deed: deed.at)
    return [deed for deed in legal(deeds, knobs) if deed.at < begins + length]


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


def _aimed(rng: random.Random, name: str, at: float, knobs: Knobs) -> Deed:
    kind = KINDS[name]
    least, most = kind.seconds
    seconds = 0.0 if most == 0 else least * (most / least) ** rng.random()
    if most > 0 and rng.random() < AROUND_TTL:
        seconds = knobs.ttl * rng.uniform(0.8, 1.3)
    strength = rng.random()
    if kind.aim == "etcd":
        return Deed(at, name, "etcd", seconds, "", strength)
    if kind.aim == "member":
        return Deed(at, name, rng.choice(MEMBERS), seconds)
    if kind.aim == "pair":
        target, other = rng.sample([*knobs.nodes, rng.choice(MEMBERS)], 2)
        return Deed(at, name, target, seconds, other)
    other = rng.choice(("", "answers")) if name == "cut from etcd" else ""
    if name in ("switchover", "failover"):
        other = rng.choice((*knobs.nodes, ""))
    return Deed(at, name, rng.choice((*knobs.nodes, "leader", "leader")), seconds, other, strength)


def legal(deeds: list[Deed], knobs: Knobs) -> list[Deed]:
    """Without the commit fence, never agent and guard of the cluster's nodes blind at once: nobody could enforce."""
    if knobs.fence:
        return deeds
    kept: list[Deed] = []
    blind_until = 0.0
    for deed in deeds:
        if KINDS[deed.kind].blinds or deed.kind == "freeze host":
            if deed.at < blind_until:
                continue
            blind_until = deed.at + deed.seconds + knobs.restart_after + 2 * knobs.ttl
        kept.append(deed)
    return kept


class Doer:
    """Carries deeds out, ends them in time, and can end all at once."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._open: dict[int, tuple[Deed, End]] = {}
        self._count = 0

    def schedule(self, deeds: list[Deed]) -> None:
        for deed in deeds:
            self.world.loop.later(deed.at - self.world.now, self._begin, deed)

    def _begin(self, deed: Deed) -> None:
        deed = self._resolved(deed)
        self.world.log(Fault(self.world.now, deed.target, f"{deed.kind} {deed.other}".strip()))
        end = KINDS[deed.kind].begin(self.world, deed)
        self._count += 1
        self._open[self._count] = (deed, end)
        self.world.loop.later(deed.seconds, self._end, self._count)

    def _resolved(self, deed: Deed) -> Deed:
        """``leader`` means whoever holds the leader key at that moment."""
        if deed.target != "leader":
            return deed
        name = self.world.etcd.holder or next(iter(self.world.hosts))
        return replace(deed, target=name)

    def _end(self, number: int) -> None:
        found = self._open.pop(number, None)
        if found is not None:
            deed, end = found
            end()
            if deed.seconds:
                self.world.log(Fault(self.world.now, deed.target, f"{deed.kind} {deed.other}".strip(), over=True))

    def heal(self) -> None:
        """End everything that goes on, and give every machine power and an agent."""
        for number in list(self._open):
            self._end(number)
        for host in self.world.hosts.values():
            _revive(host)


def _revive(host: Host) -> None:
    host.power_on()
    host.start_agent()
