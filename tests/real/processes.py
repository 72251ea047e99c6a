"""Starting, freezing and ending processes, each by its id."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.real.waiting import wait_until


@dataclass(eq=False)
class Process:
    """A child with a log file and a process group of its own."""

    argv: Sequence[str]
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    child: subprocess.Popen[bytes] | None = None

    def start(self, output: int | None = None) -> None:
        """Start it (again, if it has ended); its output is appended to the log, or goes to that descriptor."""
        self.reap(5)
        with self.log.open("ab") as out:
            self.child = subprocess.Popen(
                self.argv,
                stdin=subprocess.DEVNULL,
                stdout=out if output is None else output,
                stderr=subprocess.STDOUT,
                env={"PATH": os.environ.get("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"), **self.environment},
                cwd=self.log.parent,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The process id; AssertionError when it was never started."""
        assert self.child is not None, f"never started: {self.argv}"
        return self.child.pid

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self.child is not None and self.child.poll() is None

    def send(self, number: signal.Signals) -> None:
        """Send a signal, if it still runs."""
        if self.running:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL and reap."""
        self.send(signal.SIGKILL)
        self.reap(5)

    def stop(self, timeout_s: float = 30) -> int:
        """SIGTERM, wait, and return the exit code; killed when it takes longer."""
        self.send(signal.SIGTERM)
        return self.reap(timeout_s)

    def reap(self, timeout_s: float) -> int:
        """Wait for the end and return the exit code; killed when it takes longer."""
        if self.child is None:
            return 0
        try:
            return self.child.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait(5)
            raise


def signal_all(pids: Iterable[int], number: signal.Signals) -> None:
    """Send a signal to each of them that still exists."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def alive(pid: int) -> bool:
    """Whether the process exists and is not a zombie."""
    try:
        return not Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0].startswith("Z")
    except (FileNotFoundError, ProcessLookupError):
        return False


def kill_all(pids: Iterable[int], timeout_s: float = 15) -> None:
    """End all at one stroke, as a power cut does: all frozen first, so that none sees another die."""
    targets = set(pids)
    signal_all(targets, signal.SIGSTOP)
    signal_all(targets, signal.SIGKILL)
    wait_until(lambda: not any(map(alive, targets)), f"the end of {sorted(targets)}", timeout_s, 0.01)


def every_pid() -> list[int]:
    """All process ids of this machine."""
    return [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]


def parents() -> dict[int, int]:
    """Each process and its parent."""
    found: dict[int, int] = {}
    for pid in every_pid():
        with contextlib.suppress(OSError):
            found[pid] = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return found


def descendants(roots: Iterable[int]) -> set[int]:
    """The processes themselves and all that descend from them."""
    family, tree = set(roots), parents()
    grown = True
    while grown:
        young = {pid for pid, parent in tree.items() if parent in family} - family
        family |= young
        grown = bool(young)
    return family


def program_of(pid: int) -> str:
    """The name of the program a process runs; empty when it has ended."""
    try:
        return Path(os.readlink(f"/proc/{pid}/exe")).name
    except OSError:
        return ""
