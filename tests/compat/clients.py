"""Where the programs are that talk to the cluster, and how they are run beside it."""

from __future__ import annotations

import functools
import json
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.real.cluster import Cluster
from tests.real.settings import PASSWORD

CHECKOUT = Path(__file__).parents[2]


@functools.cache
def place() -> Path:
    """The directory with the clients' environments; what is missing there is installed first."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    argv = ["make", "--silent", "--no-print-directory", "clients", "clients-place"]
    done = subprocess.run(argv, cwd=CHECKOUT, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, f"the clients can't be installed: {done.stdout}{done.stderr}"
    return Path(done.stdout.splitlines()[-1])


@dataclass(frozen=True)
class Done:
    """What a client printed, and its exit code."""

    code: int
    text: str


def run(cluster: Cluster, argv: Sequence[object], stdin: str = "", timeout_s: float = 60, **environment: str) -> Done:
    """Run a client on the machine of the clients."""
    surroundings = {"PATH": os.environ.get("PATH", ""), "HOME": str(cluster.home), "LANG": "C.UTF-8", **environment}
    command = cluster.client.command([str(word) for word in argv])
    done = subprocess.run(
        command,
        input=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=surroundings,
        cwd=cluster.home,
        timeout=timeout_s,
        check=False,
    )
    return Done(done.returncode, done.stdout)


@dataclass(frozen=True)
class Patronictl:
    """Patroni's own command line, given a node's file."""

    cluster: Cluster

    def __call__(self, *words: str, expected: int = 0, stdin: str = "") -> str:
        """What it prints; AssertionError when it ends with another code."""
        argv = [place() / "patroni/bin/patronictl", "-c", self.cluster.nodes[0].config_file, *words]
        done = run(self.cluster, argv, stdin, COLUMNS="300", PGPASSWORD=PASSWORD)
        assert done.code == expected, f"patronictl {' '.join(words)} ended with {done.code}:\n{done.text}"
        return done.text

    def rows(self, *words: str) -> list[dict[str, Any]]:
        """What it prints as JSON."""
        return list(json.loads(self(*words, "--format", "json")))
