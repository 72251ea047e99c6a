"""Processes of a data directory: who is its postmaster, who outlived one, and when the present one ends.

A pid is believed only with its start time: a stale postmaster.pid or a pid used again is no postmaster. The process
itself is told by its working directory, which PostgreSQL sets to the data directory.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from haagent.core.facts import Process
from haagent.postgres.files import read_text

SERVER_NAMES = frozenset({"postgres", "postmaster"})


@dataclass(frozen=True, slots=True)
class PidFile:
    """postmaster.pid: who runs, where it listens, and how far it is.

    Source: PostgreSQL's manual, "Database File Layout", and src/include/utils/pidfile.h for the order of lines.
    """

    pid: int
    port: int = 0
    socket_dir: str = ""
    listen_address: str = ""
    status: str = ""
    """``starting``, ``ready``, ``standby`` or ``stopping``; empty until first written."""


def parse_pid_file(text: str) -> PidFile | None:
    """Read postmaster.pid, also one that is half written; None when not even the pid is there."""
    lines = [line.strip() for line in text.splitlines()] + [""] * 8
    if not lines[0].lstrip("-").isdigit():
        return None
    port = int(lines[3]) if lines[3].isdigit() else 0
    return PidFile(abs(int(lines[0])), port, lines[4], lines[5], lines[7])


def stat_of(pid: int) -> tuple[str, int, int] | None:
    """State letter, parent and start time in ticks of a process; None when there is none. Source: proc(5)."""
    try:
        raw = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    fields = raw[raw.rindex(b")") + 2 :].split()
    return fields[0].decode(), int(fields[1]), int(fields[19])


def identify(pid: int) -> Process | None:
    """A living process with its start time; zombies are not living."""
    found = stat_of(pid)
    if found is None or found[0] in "ZXx":
        return None
    return Process(pid, found[2])


def is_same(process: Process) -> bool:
    """Whether that very process still lives."""
    return identify(process.pid) == process


def is_stopped(process: Process) -> bool:
    """Whether it stands still by SIGSTOP or a debugger."""
    found = stat_of(process.pid)
    return found is not None and found[0] in "Tt"


def _serves(pid: int, data_dir: str) -> bool:
    """Whether a process is PostgreSQL at work in this data directory, or on its way out of it.

    A process that is ending has no program any more while its memory is still being torn down, and a server does not
    start before the last of its predecessor's shared memory is let go.
    """
    try:
        at = os.readlink(f"/proc/{pid}/cwd").removesuffix(" (deleted)")
    except OSError:
        return False
    if at != data_dir and not ((at == "/" or data_dir.endswith(at)) and _was_started_in(pid, data_dir)):
        return False
    try:
        program = os.readlink(f"/proc/{pid}/exe").removesuffix(" (deleted)")
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return os.path.basename(program) in SERVER_NAMES


def _was_started_in(pid: int, data_dir: str) -> bool:
    """Whether a postmaster's -D says so.

    Of a directory whose file system was unmounted under it, the kernel names only what comes after the mount point.
    """
    try:
        return b"-D\0" + os.fsencode(data_dir) + b"\0" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def find_postmaster(data_dir: Path) -> tuple[Process | None, PidFile | None]:
    """The postmaster that postmaster.pid names, if it really lives and serves this directory; and that file."""
    text = read_text(data_dir / "postmaster.pid")
    pid_file = None if text is None else parse_pid_file(text)
    if pid_file is None:
        return None, None
    process = identify(pid_file.pid)
    if process is None or not _serves(process.pid, os.path.realpath(data_dir)) or _is_backend(process.pid):
        return None, pid_file
    return process, pid_file


def _is_backend(pid: int) -> bool:
    """Children of a postmaster rewrite their command line to ``postgres: …``; the postmaster does not."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().startswith((b"postgres: ", b"postmaster: "))
    except OSError:
        return True


def serving(data_dir: Path) -> list[int]:
    """All PostgreSQL processes that work in this data directory."""
    return serving_in(os.path.realpath(data_dir))


def serving_in(real: str) -> list[int]:
    """The same by the directory's real path: no disk is asked, so that one which hangs keeps nobody from counting."""
    me = os.getpid()
    pids = (int(name) for name in os.listdir("/proc") if name.isdigit())
    return [pid for pid in pids if pid != me and _serves(pid, real)]


class Watch:
    """One postmaster under watch: a pidfd that turns readable when it ends, whoever its parent is."""

    def __init__(self, process: Process, wake: Callable[[Watch], None]) -> None:
        self.process = process
        self.ended = False
        self._wake = wake
        self._loop = asyncio.get_running_loop()
        self._pidfd: int | None = None
        try:
            self._pidfd = os.pidfd_open(process.pid)
        except ProcessLookupError:
            self.ended = True
            return
        if not is_same(process):
            self.close()
            self.ended = True
            return
        self._loop.add_reader(self._pidfd, self._on_end)

    def _on_end(self) -> None:
        self.ended = True
        self.close()
        self._wake(self)

    def send(self, number: signal.Signals) -> bool:
        """Signal this very process, never a later one of the same pid; False when it is gone."""
        if self._pidfd is None:
            return False
        try:
            signal.pidfd_send_signal(self._pidfd, number)
        except ProcessLookupError:
            return False
        return True

    def close(self) -> None:
        """Stop watching."""
        if self._pidfd is not None:
            self._loop.remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = None
