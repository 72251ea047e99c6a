"""Faults and operators' deeds as data, drawn beforehand from the seed, so that a failing plan can be shortened."""

from tests.sim.faults.deed import Deed
from tests.sim.faults.doer import Doer
from tests.sim.faults.drawing import KINDS, draw, legal

__all__ = ["KINDS", "Deed", "Doer", "draw", "legal"]
