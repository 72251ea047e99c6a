"""How long the guard needs to end a busy PostgreSQL: eight committing sessions, 1 GB of shared buffers half in use.

``python -m tests.bench.guard [ROUNDS]`` prints what the guard measured and reported of itself, median and worst, and
the instant after the permit's end at which the last process was gone, seen from outside.
"""

from __future__ import annotations

import asyncio
import statistics
import sys

from haagent.core.lease import KILL_TIME_S
from haagent.core.terms import Instant, Term
from haagent.guard.client import GuardClient
from haagent.host.clock import BoottimeClock
from tests.contract.server import Server, copy_of, template
from tests.real.waiting import now

BOUND_S = 1.0
SESSIONS = 8
BALLAST = "CREATE UNLOGGED TABLE ballast AS SELECT repeat('x', 1000) AS text FROM generate_series(1, 450000)"


async def one(server: Server, term: int) -> tuple[float, float]:
    """(milliseconds by the guard's own report, seconds from the permit's end until nothing was left)."""
    server.start()
    server.sql("DROP TABLE IF EXISTS ballast")
    server.sql(BALLAST)
    server.load(SESSIONS)
    guard = GuardClient(server.data_dir, server.home, KILL_TIME_S, BoottimeClock())
    await guard.ensure(5)
    until = Instant(now() + 1)
    await guard.arm(Term(term), until, 1)
    while server.members():
        await asyncio.sleep(0.002)
    gone_s = now() - until
    while (report := guard.facts().fired) is None:
        await asyncio.sleep(0.01)
    await guard.clear(1)
    await guard.quit(1)
    return report.took_ms, gone_s


def main(rounds: int) -> int:
    """Measure and print; 1 when it took longer than it may."""
    with template() as data_dir, copy_of(data_dir) as server:
        server.configure({"shared_buffers": "1GB", "max_wal_size": "8GB"})
        results = [asyncio.run(one(server, number)) for number in range(1, rounds + 1)]
    took, gone = zip(*results, strict=True)
    kept = max(gone) <= BOUND_S
    verdict = "within" if kept else "BEYOND"
    print(
        f"guard: {SESSIONS} sessions and 1 GB of shared buffers ended in {statistics.median(took):.0f} ms "
        f"(worst {max(took):.0f} ms); all gone {statistics.median(gone):.2f} s after the permit's end "
        f"(worst {max(gone):.2f} s), {verdict} {BOUND_S:g} s"
    )
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 5))
