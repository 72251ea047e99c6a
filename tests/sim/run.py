"""``python -m tests.sim.run --seed N [--hours H]``: one run, one line an event; the last line replays it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from haagent.core.transitions import TABLE
from tests.sim.simulation import Result, Simulation, shorten


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.sim.run", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=1, help="so many seeds from --seed on")
    parser.add_argument("--hours", type=float, default=0.0, help="simulated hours a seed; 0: one round of faults")
    parser.add_argument("--quiet", action="store_true", help="only failures")
    parser.add_argument("--shorten", action="store_true", help="leave faults out while it still fails")
    chosen = parser.parse_args(arguments)
    failed = 0
    rows: set[int] = set()
    hours = 0.0
    for seed in range(chosen.seed, chosen.seed + chosen.seeds):
        say = None if chosen.quiet or chosen.seeds > 1 else print
        result = Simulation(seed, chosen.hours, say=say, keep_lines=chosen.seeds == 1).run()
        if not result.ok and chosen.shorten:
            result = shorten(result)
        if not result.ok or chosen.seeds == 1:
            report(result, chosen.hours)
        failed += not result.ok
        hours += result.hours
        rows |= result.rows
    if chosen.seeds > 1:
        print(f"{failed} of {chosen.seeds} seeds failed; {hours:.1f} simulated hours")
        print(f"rows never taken: {sorted(row.id for row in TABLE if row.id not in rows)}")
    return 1 if failed else 0


def report(result: Result, hours: float) -> None:
    """The faults, what was violated, and how to see it again."""
    for deed in result.deeds:
        print(f"  {deed}")
    for text in result.crash_reports:
        print(text)
    for violation in result.violations[:5]:
        print(f"VIOLATION seed {result.seed}: {violation}")
    verdict = "ok" if result.ok else "failed"
    print(f"{verdict}: {result.hours:.2f} simulated hours, {result.commits} commits heard of, knobs {result.knobs}")
    print(f"python -m tests.sim.run --seed {result.seed} --hours {hours:g}")


if __name__ == "__main__":
    sys.exit(main())
