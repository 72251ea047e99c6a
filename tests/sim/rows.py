"""Which rows of the table a set of runs has taken: ``python -m tests.sim.rows [--seeds N]`` tells those never taken."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from haagent.core.transitions import TABLE
from tests.sim.simulation import Simulation

UNREACHED: Mapping[int, str] = {
    559: "no member of Patroni is in it",
    585: "there are no logical slots",
    678: "etcd, which tells row 648, must have lost the claim of a peer's timeline when a running primary is found",
    679: "as 678, in a pause",
}
"""Rows that no world of the simulator can bring about, and why; a test of their own takes each."""

IN_SCENES: Counter[int] = Counter()
"""How often this process's scenarios took each row."""


def never_taken(taken: Iterable[int]) -> list[int]:
    """The rows of the table that are neither among those taken nor known to be out of the simulator's reach."""
    known = set(taken) | UNREACHED.keys()
    return [row.id for row in TABLE if row.id not in known]


def report(taken: Mapping[int, int] | Iterable[int]) -> str:
    """One line for a run's last word."""
    missing = never_taken(taken)
    return f"rows never taken: {len(missing)} {missing}" if missing else "rows never taken: none"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.sim.rows", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=100)
    chosen = parser.parse_args(arguments)
    taken: Counter[int] = Counter()
    for seed in range(chosen.seed, chosen.seed + chosen.seeds):
        result = Simulation(seed, keep_lines=False).run()
        taken.update(result.rows)
        if not result.ok:
            print(f"seed {seed}: {result.violations[0]}", flush=True)
    for row in TABLE:
        print(f"{row.id:>5}  {taken[row.id]:>5} runs  {row.why}")
    print(report(taken))
    return 1 if never_taken(taken) else 0


if __name__ == "__main__":
    sys.exit(main())
