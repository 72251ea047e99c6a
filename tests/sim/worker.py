"""A process that runs seeds: one a line on its input, what came of each as a line of JSON on its output.

It ends with its input, so that it never outlives whoever started it.
"""

from __future__ import annotations

import contextlib
import gc
import json
import sys
import time
from collections import Counter
from typing import Any

from tests.sim import plan
from tests.sim.run import report
from tests.sim.simulation import Simulation, shorten
from tests.sim.world import knobs

SHORTEN_S = 60.0


def run(seed: int) -> dict[str, Any]:
    """One seed, as long as its ttl asks for; a failing plan is shortened, for a bounded time."""
    begun_at = time.process_time()
    hours = plan.hours_for(knobs.draw(seed))
    result = Simulation(seed, hours, keep_lines=False).run()
    said = ""
    if not result.ok:
        said = f"as drawn:\n{report(result, hours)}\nshortened:\n{report(shorten(result, seconds=SHORTEN_S), hours)}"
    return {
        "seed": seed,
        "failed": said,
        "hours": result.hours,
        "cpu_s": time.process_time() - begun_at,
        "faults": Counter(deed.kind for deed in result.deeds),
        "commits": result.commits,
        "leaders": result.leaders,
        "bursts": result.bursts,
        "rows": result.rows,
    }


def main() -> None:
    gc.disable()  # a world is one heap of cycles that lives as long as its seed: looking through it again finds nothing
    with contextlib.suppress(BrokenPipeError):
        for line in sys.stdin:
            print(json.dumps(run(int(line))), flush=True)
            gc.collect()


if __name__ == "__main__":
    main()
