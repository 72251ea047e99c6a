"""``python -m tests.bench --patroni DIR [--runs N] [--json FILE]``: medians of haagent and Patroni, with ratios."""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import statistics
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.bench.measure import Numbers, one_run
from tests.real.programs import AgentProgram, haagent, patroni
from tests.real.settings import ClusterSettings

HAAGENT_TTL, PATRONI_TTL = 10, 20
"""The default of a new cluster here; the least that Patroni accepts."""


def settings_of(agent: AgentProgram, ttl: int | None) -> ClusterSettings:
    """The same for both, but for the ttl, unless one is given."""
    own = PATRONI_TTL if agent.name == "patroni" else HAAGENT_TTL
    return ClusterSettings(scope="bench", ttl=ttl or own, loop_wait=3, retry_timeout=3)


def main() -> int:
    """Measure and print; the exit code."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--patroni", type=Path, required=True, help="an environment with Patroni")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--only", choices=["haagent", "patroni"], help="measure one of them")
    parser.add_argument("--ttl", type=int, help="for both (Patroni takes no less than 20)")
    parser.add_argument("--json", type=Path, default=Path(".cache/bench.json"))
    options = parser.parse_args()
    console = Console()
    if os.geteuid() != 0:
        console.print("The bench makes network namespaces: run it as root.")
        return 1
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    agents = [agent for agent in (haagent(), patroni(options.patroni)) if options.only in (None, agent.name)]
    taken: dict[str, list[Numbers]] = {agent.name: [] for agent in agents}
    for number in range(1, options.runs + 1):
        for agent in agents:
            console.print(f"run {number} of {options.runs}: {agent.name} ...")
            taken[agent.name].append(one_run(agent, settings_of(agent, options.ttl)))
            _write(options.json, taken)
    _report(console, {name: _medians(runs) for name, runs in taken.items()}, options.runs)
    console.print(f"every run's numbers: {options.json}")
    return 0


def _medians(runs: list[Numbers]) -> Numbers:
    return {name: statistics.median(run[name] for run in runs) for name in runs[0]}


def _write(file: Path, taken: dict[str, list[Numbers]]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    machine = {"kernel": platform.release(), "cpus": os.cpu_count(), "load": os.getloadavg()}
    medians = {name: _medians(runs) for name, runs in taken.items() if runs}
    file.write_text(json.dumps({"machine": machine, "medians": medians, "runs": taken}, indent=2) + "\n")


def _report(console: Console, medians: dict[str, Numbers], runs: int) -> None:
    table = Table(title=f"medians of {runs}; ttl {HAAGENT_TTL} s (Patroni {PATRONI_TTL} s) unless given")
    table.add_column("measured")
    for name in medians:
        table.add_column(name, justify="right")
    both = len(medians) == 2
    if both:
        table.add_column("ratio", justify="right")
    for what in next(iter(medians.values())):
        values = [numbers[what] for numbers in medians.values()]
        row = [f"{value:,.2f}" for value in values]
        table.add_row(what, *row, *([_ratio(*values)] if both else []))
    console.print(table)


def _ratio(ours: float, theirs: float) -> str:
    return f"{ours / theirs:.2f}" if theirs > 0 and ours > 0 else "-"


if __name__ == "__main__":
    sys.exit(main())
