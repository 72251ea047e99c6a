"""File system work off the event loop: a disk that hangs may hang a thread, never the agent.

Threads are daemons and few: a process can end while one of them still waits for a dead disk. asyncio's own pool of
threads is left to others: whatever resolves names must not queue behind a disk, nor a kill behind either.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

from haagent.ports import Refused, Unreachable

Result = TypeVar("Result")
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


async def in_thread(work: Callable[[], Result], waiting: set[threading.Thread] | None = None) -> Result:
    """Run blocking work in a daemon thread of its own, whatever other threads wait for; raises what it raises.

    ``waiting`` holds the thread until it has ended.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[Result] = loop.create_future()

    def deliver(result: Result | None, error: BaseException | None) -> None:
        if answer.done():
            return
        if error is not None:
            answer.set_exception(error)
        else:
            answer.set_result(result)  # type: ignore[arg-type]

    def body() -> None:
        result: Result | None = None
        failed: BaseException | None = None
        try:
            result = work()
        except BaseException as error:
            failed = error
        finally:
            if waiting is not None:
                waiting.discard(thread)
        if not loop.is_closed():
            loop.call_soon_threadsafe(deliver, result, failed)

    thread = threading.Thread(target=body, name="haagent-disk", daemon=True)
    if waiting is not None:
        waiting.add(thread)
    thread.start()
    return await answer
