"""``python -m tests.chaos --seed N --minutes M [--sync on|quorum]``: break a real cluster, and judge it."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path

from tests.chaos.plan import ROUND_S
from tests.chaos.run import INTERRUPTED, Options, run

HOME = Path(__file__).parents[2] / ".cache" / "chaos"


def main() -> int:
    """Run; 0 when nothing was violated, 1 when something was."""
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--sync", choices=("off", "on", "quorum"), default="off", help="synchronous_mode")
    parser.add_argument("--strict", action="store_true", help="synchronous_mode_strict")
    parser.add_argument("--no-fence", action="store_true", help="without the commit fence")
    parser.add_argument("--only", type=int, action="append", help="only the round of this number; may be given again")
    parser.add_argument("--round-seconds", type=float, default=ROUND_S, help="how long faults begin in each round")
    parser.add_argument("--report", type=Path, help="the directory of the report")
    given = parser.parse_args()
    only, fence = tuple(given.only or ()), not given.no_fence
    options = Options(given.seed, given.minutes, given.sync, given.strict, fence, only, given.round_seconds)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        report = run(options, given.report or HOME / options.name)
    except KeyboardInterrupt:
        print("Interrupted: everything was ended and removed.", file=sys.stderr)
        return INTERRUPTED
    print(f"{report.verdict}\nreport: {os.path.relpath(report.directory / 'index.html')}\nagain:  {report.command}")
    return 1 if report.violated else 0


if __name__ == "__main__":
    sys.exit(main())
