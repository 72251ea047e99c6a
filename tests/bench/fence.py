"""What the commit fence costs: pgbench -N with and without it, in turn, on two servers alike.

``python -m tests.bench.fence [ROUNDS]`` prints the median of the rounds' ratios. fsync is off, so that nothing but
processor time counts: on a real disk a commit takes longer and the share of the fence is smaller still.
"""

from __future__ import annotations

import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.contract.fence import build, under_fence
from tests.contract.server import Server, copy_of, template
from tests.real.hosts import as_user

ROUND_S = 5
CLIENTS = 4


def transactions_per_second(server: Server) -> float:
    argv = [str(server.bin_dir / "pgbench"), "-nN", f"-c{CLIENTS}", f"-T{ROUND_S}", "postgres"]
    done = subprocess.run(
        as_user(argv, "postgres"), capture_output=True, text=True, check=True, env=server.environment, cwd="/"
    )
    found = re.search(r"tps = ([\d.]+)", done.stdout)
    assert found is not None, done.stdout
    return float(found.group(1))


def main(rounds: int) -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory(prefix="haagent-fence-") as place, template() as data_dir:
        Path(place).chmod(0o755)
        library = build(Path(place))
        with copy_of(data_dir) as plain, under_fence(data_dir, library) as fenced:
            plain.configure({"wal_level": "logical", "max_prepared_transactions": "10"})
            plain.start()
            fenced.permit(24 * 3600)
            fenced.server.start()
            ratios = []
            for number in range(rounds):
                pair = [fenced.server, plain] if number % 2 else [plain, fenced.server]
                speed = {server.home: transactions_per_second(server) for server in pair}
                ratios.append(speed[fenced.server.home] / speed[plain.home])
                print(f"{number + 1}: {speed[plain.home]:.0f} without, {speed[fenced.server.home]:.0f} with the fence")
            print(f"median ratio with/without: {statistics.median(ratios):.4f} of {rounds} rounds")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 9)
