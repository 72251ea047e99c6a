"""Faults of etcd."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.sim.faults.deed import ONCE, Deed, End, Kind, nothing
from tests.sim.world.dcs import LEADER, MEMBERS, PREFIX

if TYPE_CHECKING:
    from tests.sim.world.world import World

INITIALIZE = PREFIX + "initialize"
FORGED = b"6999999999999999999"


def _etcd_leader(world: World, deed: Deed) -> End:
    world.etcd.etcd.change_leader()
    return nothing


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
    return nothing


def _etcd_full(world: World, deed: Deed) -> End:
    world.etcd.etcd.no_space = True

    def heal() -> None:
        world.etcd.etcd.no_space = False

    return heal


def _etcd_wiped(world: World, deed: Deed) -> End:
    world.etcd.etcd.wipe()
    return nothing


def _etcd_backed_up(world: World, deed: Deed) -> End:
    """Nobody keeps a backup of a forged identity: restored, no node would start until a human put the key right."""
    there = world.etcd.etcd.keys.get(INITIALIZE)
    if there is None or there.value != FORGED:
        world.etcd.backup = world.etcd.etcd.save()
    return nothing


def _etcd_restored(world: World, deed: Deed) -> End:
    if world.etcd.backup is not None:
        world.etcd.etcd.restore(world.etcd.backup)
    return nothing


def _leader_key_deleted(world: World, deed: Deed) -> End:
    world.etcd.etcd.delete(LEADER)
    return nothing


def _lease_revoked(world: World, deed: Deed) -> End:
    held = world.etcd.etcd.keys.get(LEADER)
    if held is not None and held.lease in world.etcd.etcd.leases:
        world.etcd.etcd.revoke(held.lease)
    return nothing


def _identity_forged(world: World, deed: Deed) -> End:
    """Somebody puts another cluster's system identifier into the ``initialize`` key, and puts it right again."""
    etcd = world.etcd.etcd
    there = etcd.keys.get(INITIALIZE)
    if there is None or not there.value or there.value == FORGED:
        return nothing
    etcd.put(INITIALIZE, FORGED)

    def mend() -> None:
        now = etcd.keys.get(INITIALIZE)
        if now is not None and now.value == FORGED:
            etcd.put(INITIALIZE, there.value)

    return mend


KINDS = {
    "etcd leader changes": Kind(3, "etcd", ONCE, _etcd_leader),
    "etcd member stops": Kind(3, "member", (1, 60), _etcd_member_stops),
    "etcd member freezes": Kind(3, "member", (1, 40), _etcd_member_freezes),
    "etcd down": Kind(0, "etcd", (2, 120), _etcd_down),
    "etcd loses answers": Kind(3, "etcd", (2, 40), _etcd_loses_answers),
    "etcd lies": Kind(2, "etcd", (10, 60), _etcd_lies),
    "etcd compacts": Kind(1, "etcd", ONCE, _etcd_compacts),
    "etcd full": Kind(1, "etcd", (2, 30), _etcd_full),
    "etcd wiped": Kind(1, "etcd", ONCE, _etcd_wiped),
    "etcd backed up": Kind(1, "etcd", ONCE, _etcd_backed_up),
    "etcd restored": Kind(1, "etcd", ONCE, _etcd_restored),
    "leader key deleted": Kind(2, "etcd", ONCE, _leader_key_deleted),
    "lease revoked": Kind(2, "etcd", ONCE, _lease_revoked),
    "identity forged": Kind(1, "etcd", (2, 30), _identity_forged),
}
