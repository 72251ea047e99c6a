"""Faults of wall clocks; those that leadership counts by have their offsets and rates among the knobs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.sim.faults.deed import Deed, End, Kind, during

if TYPE_CHECKING:
    from tests.sim.world.world import World

JUMPS_S = {"ahead": 7200, "back": -7200, "a little": 30}


def _jump(world: World, deed: Deed) -> End:
    return during(world.hosts[deed.target].clock, "wall_offset", JUMPS_S.get(deed.other, 30))


KINDS = {"wall clock jumps": Kind(2, "node", (5, 120), _jump, others=tuple(JUMPS_S))}
