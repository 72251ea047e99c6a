"""Blocking work off the event loop, in threads that nobody else waits for.

asyncio's own pool of threads is left to others: whatever resolves names must not queue behind a disk, nor a kill behind
either. Threads are daemons: a process can end while one of them still waits for a dead disk.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")


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

    thread = threading.Thread(target=body, name="haagent-work", daemon=True)
    if waiting is not None:
        waiting.add(thread)
    thread.start()
    return await answer
