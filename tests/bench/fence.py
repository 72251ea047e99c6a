"""What the commit fence costs: pgbench -N with and without it, in short rounds of drawn order, on servers alike.

``python -m tests.bench.fence [ROUNDS]`` prints medians of transactions per second and of the servers' processor time a
transaction; a second server without the fence shows how much is chance. fsync is off, so that nothing but processor
time counts: on a real disk the share of the fence is smaller still.

On a busy machine that is drowned by chance. So one backend commits by itself, with neither client nor network, and what
a commit takes of its processor time with the fence and without it is compared with what pgbench's transaction takes.
"""

from __future__ import annotations

import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from psycopg.sql import SQL

from tests.contract.fence import build, under_fence
from tests.contract.server import Server, copy_of, template
from tests.real.hosts import as_user
from tests.real.waiting import wait_until

Rounds = list[tuple[float, float]]
ROUND_S = 2
BOUND = 0.02
"""What the commit fence may cost of pgbench's speed."""
CLIENTS = 2
NUMBER = 20_000
COMMITS = SQL(
    "DO $$ BEGIN FOR number IN 1..{} LOOP INSERT INTO bench_fence VALUES (number); COMMIT; END LOOP; END $$"
).format(NUMBER)
"""Transactions of one row each."""
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def round_of(server: Server) -> tuple[float, float]:
    """(transactions per second, microseconds of processor time a transaction)."""
    before = ended_children_s(server)
    argv = [str(server.bin_dir / "pgbench"), "-nN", f"-c{CLIENTS}", f"-T{ROUND_S}", "postgres"]
    done = subprocess.run(
        as_user(argv, "postgres"), capture_output=True, text=True, check=True, env=server.environment, cwd="/"
    )
    found = re.search(r"tps = ([\d.]+)", done.stdout)
    assert found is not None, done.stdout
    wait_until(lambda: ended_children_s(server) > before, "the backends to end", 5)
    time.sleep(0.2)
    speed = float(found.group(1))
    return speed, (ended_children_s(server) - before) / (speed * ROUND_S) * 1e6


def ended_children_s(server: Server) -> float:
    """Processor time of the postmaster's ended children."""
    fields = Path(f"/proc/{server.postmaster}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[13]) + int(fields[14])) / TICKS_PER_S


def commit_us(server: Server) -> float:
    """Microseconds of processor time that a backend takes for a small transaction of its own."""
    with server.connect() as connection:
        connection.autocommit = True
        connection.execute("CREATE TABLE IF NOT EXISTS bench_fence (number int)")
        connection.execute("TRUNCATE bench_fence")
        account = Path(f"/proc/{connection.info.backend_pid}/schedstat")
        before = int(account.read_text().split()[0])
        connection.execute(COMMITS)
        return (int(account.read_text().split()[0]) - before) / 1e3 / NUMBER


def main(rounds: int) -> int:
    """Measure and print; 1 when it costs more than it may, by a measurement that says something."""
    with tempfile.TemporaryDirectory(prefix="haagent-fence-") as place, template() as data_dir:
        Path(place).chmod(0o755)
        library = build(Path(place))
        with copy_of(data_dir) as plain, copy_of(data_dir) as twin, under_fence(data_dir, library) as fenced:
            for server in (plain, twin):
                server.configure({"wal_level": "logical", "max_prepared_transactions": "10"})
                server.start()
            fenced.permit(24 * 3600)
            fenced.server.start()
            servers = {"without": plain, "without, again": twin, "with the fence": fenced.server}
            results: dict[str, list[tuple[float, float]]] = {name: [] for name in servers}
            commits: dict[str, list[float]] = {name: [] for name in servers}
            for _ in range(rounds):
                for name in random.sample(list(servers), len(servers)):
                    results[name].append(round_of(servers[name]))
                    commits[name].append(commit_us(servers[name]))
    base = [statistics.median(column) for column in zip(*results["without"], strict=True)]
    for name, rows in results.items():
        speed, cost = (statistics.median(column) for column in zip(*rows, strict=True))
        print(
            f"{name:15}: {speed:6.0f} transactions/s ({speed / base[0]:.3f}), "
            f"{cost:6.1f} us of processor time each ({cost / base[1]:.3f})"
        )
    loss, chance = (slower_by(results["without"], results[name]) for name in ("with the fence", "without, again"))
    drowned = abs(chance) > BOUND
    verdict = f"within {BOUND:.0%}" if loss <= BOUND else f"BEYOND {BOUND:.0%}"
    if drowned:
        verdict = "which says nothing: this machine is too busy"
    print(f"commit fence: {loss:+.1%} by the median of pairs, {verdict}; two servers alike differ by {chance:+.1%}")
    cost_us, chance_us = (more_by(commits["without"], commits[name]) for name in ("with the fence", "without, again"))
    dear = cost_us / base[1] > BOUND
    verdict = f"BEYOND {BOUND:.0%}" if dear else f"within {BOUND:.0%}"
    print(
        f"in one backend: {cost_us:+.2f} us of processor time a commit, {cost_us / base[1]:+.1%} of a transaction of "
        f"pgbench -N, {verdict}; two servers alike differ by {chance_us:+.2f} us"
    )
    return 1 if dear or (loss > BOUND and not drowned) else 0


def more_by(first: list[float], second: list[float]) -> float:
    """How much more the second took: the difference of the least, since chance only ever adds."""
    return min(second) - min(first)


def slower_by(first: Rounds, second: Rounds) -> float:
    """How much slower the second was, as a fraction: the median over the rounds, in each of which both were run."""
    return 1 - statistics.median(other[0] / one[0] for one, other in zip(first, second, strict=True))


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 15))
