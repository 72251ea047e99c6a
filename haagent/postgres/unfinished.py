"""Work on the data directory that must not be taken for finished when it is interrupted."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator

from haagent.core.facts import Process
from haagent.postgres.files import Marker, clear_marker, read_marker, set_marker
from haagent.postgres.process import identify, is_same
from haagent.postgres.settings import PostgresSettings


def begin(settings: PostgresSettings, doing: str) -> Callable[[int], None]:
    """Set the marker; call what is returned with the pid of the program that does the work. Blocking."""
    end_leftover(settings)
    set_marker(settings, Marker(doing))

    def note(pid: int) -> None:
        process = identify(pid)
        if process is not None:
            set_marker(settings, Marker(doing, process))

    return note


def finish(settings: PostgresSettings) -> None:
    """The work is done: the data directory may be started. Blocking."""
    clear_marker(settings)


def end_leftover(settings: PostgresSettings) -> Process | None:
    """End the program of an agent that was killed: it would go on writing into the directory. Blocking."""
    marker = read_marker(settings)
    if marker is None or marker.program is None or not is_same(marker.program):
        return None
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(marker.program.pid, signal.SIGKILL)
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
