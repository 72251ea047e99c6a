"""Processes kept short of the processor, by the quota of control groups version 1. Needs root."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.real.network import PREFIX

ROOT = Path("/sys/fs/cgroup/cpu")
PERIOD_US = 1_000_000
"""The longest that the kernel takes, so that the processes stand still for as long at a stretch."""


@contextlib.contextmanager
def starved(name: str, pids: Callable[[], set[int]], share: float) -> Iterator[None]:
    """Meanwhile all of them together have that share of one processor, with what they start."""
    group = ROOT / f"{PREFIX}-{os.getpid()}-{name}"
    assert (ROOT / "cpu.cfs_quota_us").exists(), "no processor quotas of control groups version 1 on this machine"
    group.mkdir(exist_ok=True)
    try:
        while missing := pids() - _members(group):
            _move(missing, group)
        (group / "cpu.cfs_period_us").write_text(str(PERIOD_US))
        (group / "cpu.cfs_quota_us").write_text(str(round(share * PERIOD_US)))
        yield
    finally:
        (group / "cpu.cfs_quota_us").write_text("-1")
        while left := _members(group):
            _move(left, ROOT)
        group.rmdir()


def _members(group: Path) -> set[int]:
    return {int(pid) for pid in (group / "cgroup.procs").read_text().split()}


def _move(pids: set[int], group: Path) -> None:
    for pid in pids:
        with contextlib.suppress(OSError):
            (group / "cgroup.procs").write_text(str(pid))
