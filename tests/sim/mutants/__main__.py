"""``python -m tests.sim.mutants [--seeds N] [--only NAME]``: which seed catches each known-bad edit, and how."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace

from tests.sim.mutants.edits import MUTANTS, Mutant, applied
from tests.sim.simulation import Result, Simulation
from tests.sim.world.knobs import draw


def hunt(one: Mutant, seeds: Sequence[int]) -> Result | None:
    """The first run that fails with the edit and passes without it."""
    for seed in seeds:
        knobs = replace(draw(seed), elsewhere=one.elsewhere)
        with applied(one):
            result = Simulation(seed, knobs=knobs, keep_lines=False, rest=one.harmless).run()
        if not result.ok and Simulation(seed, knobs=knobs, keep_lines=False, rest=one.harmless).run().ok:
            return result
    return None


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.sim.mutants", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=1000)
    parser.add_argument("--only", default="")
    chosen = parser.parse_args(arguments)
    survivors = 0
    for one in MUTANTS:
        if chosen.only not in one.name:
            continue
        found = hunt(one, range(chosen.seed, chosen.seed + chosen.seeds))
        survivors += found is None
        said = f"SURVIVES {chosen.seeds} seeds" if found is None else f"seed {found.seed}: {found.violations[0]}"
        print(f"{one.name:<42} {said}", flush=True)
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
