"""Faults of the network: cuts, one way and both, and slow roads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.sim.faults.deed import Deed, End, Kind, nothing
from tests.sim.world.dcs import MEMBERS
from tests.sim.world.network import Weather

if TYPE_CHECKING:
    from tests.sim.world.world import World


def _cut(world: World, deed: Deed) -> End:
    if deed.target == deed.other:
        return nothing
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


def _slowed(world: World, links: list[tuple[str, str]], strength: float) -> End:
    """One-way links over which everything takes up to two seconds."""
    for link in links:
        world.network.slow[link] = Weather(2 * strength, 0.05)

    def heal() -> None:
        for link in links:
            world.network.slow.pop(link, None)

    return heal


def _slow_answers(world: World, deed: Deed) -> End:
    """What etcd answers takes up to two seconds to arrive; what it is asked arrives at once."""
    links = [(member, deed.target) for member in MEMBERS]
    return _slowed(world, links, deed.strength)


def _slow_peers(world: World, deed: Deed) -> End:
    """What other nodes answer to this one takes up to two seconds to arrive; what it asks arrives at once."""
    links = [(name, deed.target) for name in world.hosts if name != deed.target]
    return _slowed(world, links, deed.strength)


KINDS = {
    "cut": Kind(3, "pair", (0.5, 60), _cut),
    "cut one way": Kind(3, "pair", (0.5, 60), _cut_one_way),
    "isolate": Kind(5, "node", (0.5, 90), _isolate),
    "cut from etcd": Kind(5, "node", (0.5, 60), _cut_from_etcd, others=("", "answers")),
    "slow to etcd": Kind(3, "node", (5, 60), _slow),
    "slow peers": Kind(0, "node", (5, 60), _slow_peers),
    "slow answers": Kind(5, "node", (5, 60), _slow_answers),
}
