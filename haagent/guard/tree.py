"""End every process of a PostgreSQL data directory, found through /proc: no file of it is read, no disk waited for.

SIGKILL of the postmaster alone would leave its backends committing for seconds, so all are found and all are killed:
whatever runs the postgres program with the data directory as working directory, be its postmaster dead or itself
stopped, and the descendants of those (archive_command and its kin). Only a backend that outlives its postmaster on a
file system that was lazily unmounted is not told from one of another directory.
"""

from __future__ import annotations

import os
import signal
import time

SCAN_EVERY_S = 0.01


def members(data_dir: str, program: str = "postgres") -> tuple[set[int], set[int]]:
    """(processes of the data directory and their descendants, those among them without a parent there).

    ``data_dir`` must be a real path. The program is known by its file name: an upgrade replaces the file under a
    running server, and whatever then works in this directory must die all the same.
    """
    parents: dict[int, int] = {}
    found: set[int] = set()
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        pid = int(entry)
        try:
            with open(f"/proc/{pid}/stat", "rb") as stat:
                state, parent = stat.read().rpartition(b")")[2].split()[:2]
            if state in b"ZX":
                continue
            parents[pid] = int(parent)
            program_path = _target(f"/proc/{pid}/exe")
            if program_path.rpartition("/")[2] == program and _at_work_in(pid, data_dir):
                found.add(pid)
        except OSError:  # ended meanwhile, a kernel thread, or another user's
            continue
    tops = {pid for pid in found if parents[pid] not in found}
    grown = True
    while grown:
        below = {pid for pid, parent in parents.items() if parent in found and pid not in found}
        found |= below
        grown = bool(below)
    return found, tops


def _at_work_in(pid: int, data_dir: str) -> bool:
    """By its working directory; or a postmaster by its -D, when that directory's file system was unmounted under it.

    The kernel then names the rest of the path, from the mount point on. Source: fs/d_path.c. It is not asked of others,
    as reading a command line waits for whoever holds that process's memory.
    """
    at = _target(f"/proc/{pid}/cwd")
    if at == data_dir:
        return True
    if at != "/" and not data_dir.endswith(at):
        return False
    with open(f"/proc/{pid}/cmdline", "rb") as command:
        return b"-D\0" + os.fsencode(data_dir) + b"\0" in command.read()


def end(data_dir: str, grace_s: float, kill_time_s: float, program: str = "postgres") -> tuple[int, float, int]:
    """SIGQUIT the postmaster, after ``grace_s`` SIGKILL all, and look again until none is left.

    Blocks for ``kill_time_s`` at most, as a rule for milliseconds, and returns how many processes there were, how long
    it took in ms, and how many still hang in the kernel: with SIGKILL pending they never run their program again.
    """
    began = time.monotonic()
    present, tops = members(data_dir, program)
    seen, killed = set(present), set[int]()
    _signal(tops, signal.SIGQUIT)
    while present:
        passed = time.monotonic() - began
        if passed >= kill_time_s and present <= killed:
            break
        if passed >= grace_s:
            _signal(present, signal.SIGKILL)
            killed |= present
        time.sleep(SCAN_EVERY_S)
        present, _ = members(data_dir, program)
        seen |= present
    return len(seen), (time.monotonic() - began) * 1000, len(present)


def _target(link: str) -> str:
    return os.readlink(link).removesuffix(" (deleted)")


def _signal(pids: set[int], number: signal.Signals) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except OSError:
            continue
