"""Work on the data directory that must not be taken for finished when it is interrupted."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Awaitable, Callable, Iterator

from haagent.core.facts import Process
from haagent.postgres.disk import on_disk
from haagent.postgres.files import Marker, clear_marker, read_marker, set_marker
from haagent.postgres.process import identify, is_same
from haagent.postgres.settings import PostgresSettings

GONE_S = 5.0
"""How long a killed program is waited for."""


async def begin(settings: PostgresSettings, doing: str) -> Callable[[int], Awaitable[None]]:
    """Set the marker; call what is returned with the pid of the program that does the work."""

    def mark() -> None:
        end_leftover(settings)
        set_marker(settings, Marker(doing))

    async def note(pid: int) -> None:
        process = identify(pid)
        if process is not None:
            await on_disk(lambda: set_marker(settings, Marker(doing, process)))

    await on_disk(mark)
    return note


async def finish(settings: PostgresSettings) -> None:
    """The work is done: the data directory may be started."""
    await on_disk(lambda: clear_marker(settings))


def end_leftover(settings: PostgresSettings) -> Process | None:
    """End the program of an agent that was killed: it would go on writing into the directory.

    Blocking, for ``GONE_S`` at most: one that hangs in the kernel is left to it.
    """
    marker = read_marker(settings)
    if marker is None or marker.program is None or not is_same(marker.program):
        return None
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(marker.program.pid, signal.SIGKILL)
    deadline = time.monotonic() + GONE_S
    while is_same(marker.program) and time.monotonic() < deadline:
        time.sleep(0.01)
    return marker.program


@contextlib.contextmanager
def nothing_else(pids: Callable[[], list[int]]) -> Iterator[None]:
    """Kill whatever still runs afterwards, if the work inside failed."""
    try:
        yield
    except BaseException:
        for pid in pids():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        raise
