"""``python -m tests.demo [--keep | --stop]``: play the demonstration, or end one that was left running."""

from __future__ import annotations

import argparse
import contextlib
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.demo import trial
from tests.demo.scenes import Outcome, play
from tests.demo.screen import Screen
from tests.real.cluster import Cluster
from tests.real.programs import haagent, patroni
from tests.real.settings import ClusterSettings

INTERRUPTED = 130


def main() -> int:
    """Play; the exit code."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--keep", action="store_true", help="leave the cluster running at the end")
    parser.add_argument("--stop", action="store_true", help="end a cluster that was left running")
    parser.add_argument("--patroni", type=Path, help="an environment with Patroni, to play it with instead")
    options = parser.parse_args()
    console = Console(soft_wrap=True)
    if options.stop:
        console.print(f"{trial.remove()} processes ended, {trial.HOME} removed")
        return 0
    if trial.HOME.exists():
        if trial.leftovers():
            console.print("A demonstration is still running here; `make demo-stop` ends it.")
            return 1
        trial.remove()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    program = patroni(options.patroni) if options.patroni else haagent()
    settings = ClusterSettings(scope="demo", ttl=20 if options.patroni else 10, loop_wait=3, retry_timeout=3)
    try:
        with _taken_down(trial.on_loopback(program, settings), options.keep) as cluster:
            with Screen(cluster, console) as screen:
                outcome = play(cluster, screen)
            _report(console, outcome)
            if options.keep:
                _commands(console, cluster)
    except KeyboardInterrupt:
        console.print("Interrupted: everything was ended and removed.")
        return INTERRUPTED
    return 0


@contextlib.contextmanager
def _taken_down(cluster: Cluster, keep: bool) -> Iterator[Cluster]:
    done = False
    try:
        yield cluster
        done = True
    except AssertionError as error:
        for node in cluster.nodes:
            print(f"--- {node.name}'s log ends with:\n{node.log.read_text(errors='replace')[-3000:]}", file=sys.stderr)
        raise SystemExit(f"The demonstration failed: {error}") from error
    finally:
        if not (done and keep):
            cluster.end()
            shutil.rmtree(cluster.home, ignore_errors=True)


def _report(console: Console, outcome: Outcome) -> None:
    table = Table(title="What the client saw through HAProxy")
    for title in ("event", "write outage", "whole again after"):
        table.add_column(title)
    for result in outcome.results:
        table.add_row(result.what, f"{result.outage_s:.2f} s", f"{result.healed_s:.1f} s")
    console.print(table)
    console.print(f"{outcome.acknowledged} rows acknowledged, {outcome.lost} of them lost.")


def _commands(console: Console, cluster: Cluster) -> None:
    assert cluster.proxy is not None
    binaries, node = Path(sys.prefix) / "bin", cluster.nodes[0]
    for line in (
        "",
        "The cluster goes on running. Try:",
        f"  {binaries}/haagent-ctl -c {node.config_file} list",
        f"  {binaries}/haagent-ctl -c {node.config_file} switchover",
        f"  curl -s http://127.0.0.1:{node.place.rest_port}/cluster",
        f"  psql -h 127.0.0.1 -p {cluster.proxy.writes} -U observer postgres    # the primary, through HAProxy",
        f"  psql -h 127.0.0.1 -p {cluster.proxy.reads} -U observer postgres    # a standby, through HAProxy",
        f"  tail -f {node.log}",
        "  make demo-stop",
    ):
        console.print(line, highlight=False, markup=False, soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
