"""Freezing all processes of a machine at one stroke, by the freezer of control groups version 1."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

from tests.real.network import PREFIX
from tests.real.waiting import wait_until

ROOT = Path("/sys/fs/cgroup/freezer")


class Freezer:
    """A group for each machine; a context manager that leaves none behind."""

    def __init__(self) -> None:
        self._frozen: set[str] = set()

    def __enter__(self) -> Freezer:
        sweep()
        return self

    def __exit__(self, *_: object) -> None:
        for group in ROOT.glob(f"{PREFIX}-{os.getpid()}-*"):
            _remove(group)

    @property
    def works(self) -> bool:
        """Whether this machine has it."""
        return (ROOT / "cgroup.procs").exists()

    def frozen(self, name: str) -> bool:
        """Whether that machine stands still."""
        return name in self._frozen

    def freeze(self, name: str, pids: Callable[[], set[int]]) -> None:
        """Stop all its processes; those that are just being started too."""
        group = self._group(name)
        group.mkdir(exist_ok=True)
        self._frozen.add(name)
        _set(group, "FROZEN")  # what an earlier freeze has gathered; nothing may be missing then
        while missing := pids() - _members(group):
            _set(group, "THAWED")
            for pid in missing:
                with contextlib.suppress(OSError):
                    (group / "cgroup.procs").write_text(str(pid))
            _set(group, "FROZEN")

    def thaw(self, name: str) -> None:
        """Let them go on."""
        if name in self._frozen:
            _set(self._group(name), "THAWED")
            self._frozen.discard(name)

    def _group(self, name: str) -> Path:
        return ROOT / f"{PREFIX}-{os.getpid()}-{name}"


def _members(group: Path) -> set[int]:
    return {int(pid) for pid in (group / "cgroup.procs").read_text().split()}


def _set(group: Path, state: str) -> None:
    file = group / "freezer.state"
    file.write_text(state)
    wait_until(lambda: file.read_text().strip() == state, f"{group.name} to be {state}", 5, 0.002)


def _remove(group: Path) -> None:
    """Its processes go back to where they came from."""
    _set(group, "THAWED")
    for pid in _members(group):
        with contextlib.suppress(OSError):
            (ROOT / "cgroup.procs").write_text(str(pid))
    with contextlib.suppress(OSError):
        group.rmdir()


def sweep() -> None:
    """Thaw what an earlier trial left frozen that was itself killed; frozen processes could not be ended."""
    for group in ROOT.glob(f"{PREFIX}-*-*"):
        owner = group.name.removeprefix(f"{PREFIX}-").partition("-")[0]
        if owner.isdigit() and not Path(f"/proc/{owner}").exists():
            _remove(group)
