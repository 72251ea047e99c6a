"""``python -m tests.sim.run --seed N [--hours H] [--only 3,17] [--elsewhere]``: a line an event; the last replays."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from haagent.core.transitions import TABLE
from tests.sim.simulation import Result, Simulation, shorten
from tests.sim.world.knobs import draw


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.sim.run", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=1, help="so many seeds from --seed on")
    parser.add_argument("--hours", type=float, default=0.0, help="simulated hours a seed; 0: one burst of faults")
    parser.add_argument("--only", type=numbers, help="of the plan only the deeds with these numbers")
    parser.add_argument("--elsewhere", action="store_true", help="a standby cluster, of a primary elsewhere")
    parser.add_argument("--quiet", action="store_true", help="only failures")
    parser.add_argument("--shorten", action="store_true", help="leave faults out while it still fails")
    chosen = parser.parse_args(arguments)
    failed = 0
    rows: Counter[int] = Counter()
    simulated = 0.0
    last = ""
    for seed in range(chosen.seed, chosen.seed + chosen.seeds):
        say = None if chosen.quiet or chosen.seeds > 1 else print
        knobs = replace(draw(seed), elsewhere=True) if chosen.elsewhere else None
        simulation = Simulation(seed, chosen.hours, knobs=knobs, only=chosen.only, say=say, keep_lines=say is not None)
        result = simulation.run()
        if not result.ok and chosen.shorten:
            result = shorten(result)
        if not result.ok or chosen.seeds == 1:
            print(report(result, chosen.hours))
        if not result.ok or not failed:
            last = replay(result, chosen.hours)
        failed += not result.ok
        simulated += result.hours
        rows += result.rows
    if chosen.seeds > 1:
        print(f"{failed} of {chosen.seeds} seeds failed; {simulated:.1f} simulated hours")
        print(f"rows never taken: {[row.id for row in TABLE if not rows[row.id]]}")
        print(last)
    return 1 if failed else 0


def numbers(text: str) -> list[int]:
    """``3,17`` as numbers."""
    return [int(number) for number in text.split(",")]


def report(result: Result, hours: float) -> str:
    """The faults, what was violated, and, as the last line, how to see it again."""
    told: list[str] = []
    for number, burst in enumerate(result.begun, 1):
        told.append(f"burst {number}, {burst.seconds:g} s, then {burst.calm_s:g} s of calm:")
        told += [f"  {deed}" for deed in burst.deeds]
    told += result.crash_reports
    told += [f"VIOLATION seed {result.seed}: {violation}" for violation in result.violations[:5]]
    verdict = "ok" if result.ok else "failed"
    told.append(f"{verdict}: {result.hours:.2f} simulated hours, {result.commits} commits, knobs {result.knobs}")
    return "\n".join([*told, replay(result, hours)])


def replay(result: Result, hours: float) -> str:
    """The command that runs it again."""
    only = "" if result.only is None else f" --only {','.join(str(number) for number in result.only)}"
    elsewhere = " --elsewhere" if result.knobs.elsewhere else ""
    return f"python -m tests.sim.run --seed {result.seed} --hours {hours:g}{elsewhere}{only}"


if __name__ == "__main__":
    sys.exit(main())
