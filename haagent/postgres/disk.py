"""File system work off the event loop: a disk that hangs may hang a thread, never the agent.

The threads that wait are few: past a number, nothing more is asked of the disk.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

from haagent.host.threads import Result, in_thread
from haagent.ports import Refused, Unreachable

MAX_WAITING = 8
_waiting: set[threading.Thread] = set()


async def on_disk(work: Callable[[], Result], timeout: float = 10.0) -> Result:
    """Run blocking work in a thread; Unreachable after ``timeout`` seconds, Refused when the system refuses."""
    if len(_waiting) >= MAX_WAITING:
        raise Unreachable(f"{MAX_WAITING} file operations are still waiting for the disk")
    try:
        async with asyncio.timeout(timeout):
            return await in_thread(work, _waiting)
    except OSError as error:
        if isinstance(error, TimeoutError) and error.errno is None:
            raise Unreachable(f"the disk did not answer within {timeout:g} s") from None
        raise Refused(f"{error.filename or 'the file system'}: {error.strerror}") from error
