"""A process that runs seeds: one a line on its input, what came of each as a line of JSON on its output.

It ends with its input, after the seed in hand.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
import traceback
from collections import Counter
from typing import Any, NoReturn

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
    # Each seed has a process of its own: a world is one heap of cycles, and the end of its process is the cheapest
    # way to be rid of it.
    gc.disable()
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            _tell(int(line))
        if os.waitpid(child, 0)[1] != 0:
            sys.exit(1)


def _tell(seed: int) -> NoReturn:
    status = 1
    try:
        print(json.dumps(run(seed)), flush=True)
        status = 0
    except BrokenPipeError:
        pass
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


if __name__ == "__main__":
    main()
