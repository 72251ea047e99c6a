"""``python -m tests.sim.soak --hours 200``: many simulated hours on all cores, and what they were made of.

First the same seeds every time, then fresh ones, which are this product's own: other code has others, and whoever runs
the same code runs the same seeds. It ends with the first violation: the seed's plan, shortened, and as the last line
the command that replays it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import json
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

FIXED = range(1, 61)
"""Always run, so that two versions can be compared."""
OPEN: Mapping[int, str] = {}
"""Seeds that are known to break an invariant, and how: named here until it is mended, so that the soak goes on."""
PROGRESS_S = 30.0
LINE_LIMIT = 16 * 1024 * 1024


@dataclass
class Tally:
    """What all seeds so far came to."""

    seeds: int = 0
    hours: float = 0.0
    cpu_s: float = 0.0
    commits: int = 0
    leaders: int = 0
    bursts: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    rows: Counter[int] = field(default_factory=Counter)
    failed: str = ""
    known: list[str] = field(default_factory=list)

    def add(self, one: dict[str, Any]) -> None:
        """Count a seed's result in."""
        self.seeds += 1
        self.hours += one["hours"]
        self.cpu_s += one["cpu_s"]
        self.commits += one["commits"]
        self.leaders += one["leaders"]
        self.bursts += one["bursts"]
        self.faults.update(one["faults"])
        self.rows.update({int(row): number for row, number in one["rows"].items()})
        if one["seed"] in OPEN:
            state = "still" if one["failed"] else "no longer"
            self.known.append(f"seed {one['seed']} {state} breaks an invariant: {OPEN[one['seed']]}")
        else:
            self.failed = self.failed or one["failed"]

    def told(self, took_s: float) -> str:
        """The report; after a failure its last line is the command that replays it."""
        number = sum(self.faults.values())
        kinds = ", ".join(f"{kind} {count}" for kind, count in self.faults.most_common())
        rows = ", ".join(f"{row} {count}" for row, count in self.rows.most_common())
        density = number / max(self.hours, 0.1)
        lines = [
            f"faults: {kinds}",
            f"rows by how often they were taken: {rows}",
            f"{number} faults in {self.bursts} bursts, {density:.0f} an hour",
            f"{self.leaders} terms of leaders, {self.commits} acknowledged commits",
            f"{self.seeds} seeds, {self.hours:.1f} simulated hours in {took_s:.0f} s ({self.cpu_s:.0f} s of CPU)",
        ]
        return "\n".join([*lines, *self.known, *([self.failed] if self.failed else [])])


def fresh(root: Path) -> int:
    """The first of the seeds that belong to the product's code below ``root``."""
    code = hashlib.sha256()
    for path in sorted((root / "haagent").rglob("*.py")):
        code.update(path.read_bytes())
    return 1_000_000 + int(code.hexdigest(), 16) % 999_000_000


async def work(seeds: Iterator[int], enough: Callable[[], bool], tally: Tally) -> None:
    """Have one worker run seed after seed until it is enough."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.sim.worker"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=LINE_LIMIT,
        start_new_session=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        while not enough():
            seed = next(seeds)
            process.stdin.write(f"{seed}\n".encode())
            line = await process.stdout.readline()
            if not line:
                tally.failed = f"the worker ended at seed {seed}\npython -m tests.sim.run --seed {seed}"
                return
            tally.add(json.loads(line))
    finally:
        process.stdin.close()
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


async def tell(tally: Tally, begun_at: float) -> None:
    """Now and then how far it has come."""
    while True:
        await asyncio.sleep(PROGRESS_S)
        print(f"{time.monotonic() - begun_at:.0f} s: {tally.seeds} seeds, {tally.hours:.1f} hours", flush=True)


async def soak(hours: float, first: int, workers: int) -> tuple[Tally, float]:
    """Run seeds on so many processes; the tally, and how long it took in real seconds."""
    begun_at, me = time.monotonic(), asyncio.current_task()
    assert me is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, me.cancel)
    seeds, tally = chain(FIXED, range(first, first + 1_000_000)), Tally()

    def enough() -> bool:
        return tally.hours >= hours or bool(tally.failed)

    progress = asyncio.create_task(tell(tally, begun_at))
    await asyncio.gather(*(work(seeds, enough, tally) for _ in range(workers)))
    progress.cancel()
    return tally, time.monotonic() - begun_at


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.sim.soak", description=__doc__)
    parser.add_argument("--hours", type=float, default=200.0)
    parser.add_argument("--first", type=int, help="the first of the fresh seeds; without it, this code's own")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--rows", type=Path, help="a file for how often each row of the table was taken, as JSON")
    chosen = parser.parse_args(arguments)
    first = fresh(Path.cwd()) if chosen.first is None else chosen.first
    print(f"seeds {FIXED[0]} to {FIXED[-1]}, then {first} and on", flush=True)
    try:
        tally, took_s = asyncio.run(soak(chosen.hours, first, chosen.workers))
    except asyncio.CancelledError:
        return 128 + signal.SIGTERM
    if chosen.rows is not None:
        chosen.rows.write_text(json.dumps(tally.rows))
    print(tally.told(took_s), flush=True)
    return 1 if tally.failed else 0


if __name__ == "__main__":
    sys.exit(main())
