"""Virtual time: an asyncio loop that jumps from timer to timer, and processes that can be frozen or killed.

Every callback belongs to the ``Process`` in whose context it was scheduled. The callbacks of one process run in the
order in which asyncio promises them; those of different processes are interleaved by a seeded shuffle. A frozen
process's callbacks are put by until it thaws; a killed one's are never run, not even its ``finally`` clauses.
"""

from __future__ import annotations

import asyncio
import contextvars
import heapq
import math
import random
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any, TypeVar

from haagent.core.terms import Instant

T = TypeVar("T")

TURNS_WITHOUT_TIME = 200_000
"""So many turns of the loop at one instant mean that something spins."""

COMPACT_AT = 256
"""So many cancelled timers are worth a sweep of the heap."""


class StuckError(AssertionError):
    """The simulated world cannot go on: something spins, or nothing will ever happen again."""


@dataclass(slots=True)
class Clock:
    """One machine's clocks: ``rate`` seconds of its own pass in one true second, from ``offset`` on."""

    loop: VirtualLoop
    offset: float = 0.0
    rate: float = 1.0
    wall_offset: float = 1_700_000_000.0

    def now(self) -> Instant:
        return Instant(self.offset + self.rate * self.loop.true_time)

    def wall(self) -> float:
        return self.wall_offset + self.rate * self.loop.true_time

    def true(self, instant: Instant) -> float:
        """The true time at which this clock shows ``instant``."""
        return (instant - self.offset) / self.rate


class Process:
    """What is frozen or killed as one: an agent, a guard, a postmaster's tree, or the world's own machinery."""

    def __init__(self, loop: VirtualLoop, name: str, clock: Clock | None = None) -> None:
        self.loop = loop
        self.name = name
        self.clock = clock
        self.alive = True
        self.deferred: list[asyncio.Handle] = []
        self._freezes = 0
        self.context = contextvars.copy_context()
        self.context.run(PROCESS.set, self)

    @property
    def frozen(self) -> bool:
        return self._freezes > 0

    @property
    def runs(self) -> bool:
        """Whether it is alive and gets time."""
        return self.alive and self._freezes == 0

    def freeze(self) -> None:
        """Take its time away; freezes nest."""
        self._freezes += 1

    def thaw(self) -> None:
        """Undo one freeze; what was put by runs at once, in its order."""
        assert self._freezes > 0, f"{self.name} is not frozen"
        self._freezes -= 1
        if self._freezes == 0:
            self.loop.requeue(self.deferred)
            self.deferred = []

    def kill(self) -> None:
        """SIGKILL: nothing of it runs any more."""
        self.alive = False
        self.deferred = []

    def spawn(self, coro: Coroutine[Any, Any, T], name: str = "") -> asyncio.Task[T]:
        """Run a coroutine as part of this process."""
        return self.loop.create_task(coro, name=f"{self.name}/{name}", context=self.context.copy())

    def soon(self, call: Callable[..., object], *args: Any) -> None:
        """Run a function as part of this process, in its turn."""
        self.loop.call_soon(call, *args, context=self.context)

    def after(self, seconds: float, call: Callable[..., object], *args: Any) -> asyncio.TimerHandle:
        """Run a function as part of this process after so many true seconds."""
        return self.loop.call_true(self.loop.true_time + seconds, call, *args, context=self.context)


PROCESS: contextvars.ContextVar[Process | None] = contextvars.ContextVar("process", default=None)


class _Task(asyncio.Task[Any]):
    """A task whose hash does not depend on its address, so that sets of tasks have one order for one seed."""

    _serial: int

    def __hash__(self) -> int:
        return self._serial


class _Future(asyncio.Future[Any]):
    """A future with the same property."""

    _serial: int

    def __hash__(self) -> int:
        return self._serial


class VirtualLoop(asyncio.BaseEventLoop):
    """An asyncio loop in virtual time; ``time()`` is the time of the machine whose process asks."""

    def __init__(self, seed: object) -> None:
        super().__init__()
        self.true_time = 0.0
        self.world = contextvars.Context()
        """The context of what belongs to no process: messages on their way, faults, etcd."""
        self._tasks: list[asyncio.Task[Any]] = []
        """Held, so that no garbage collection runs the ``finally`` clauses of tasks that nobody waits for."""
        self.failures: list[str] = []
        self._random = random.Random(f"{seed}/loop")
        self._serials = count(1)
        self._idle_turns = 0
        self._dead_timers = 0
        self._sweep_tasks_at = COMPACT_AT
        self._ready: deque[asyncio.Handle]
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self.set_exception_handler(self._note_failure)
        self.set_task_factory(self._make_task)

    # --- asyncio's own hooks ---

    def time(self) -> float:
        process = PROCESS.get()
        return self.true_time if process is None or process.clock is None else self.true_time * process.clock.rate

    def call_at(  # type: ignore[override]
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        process = PROCESS.get()
        rate = 1.0 if process is None or process.clock is None else process.clock.rate
        true = when / rate
        while true * rate < when:  # a timer never fires before its machine's clock shows the time
            true = math.nextafter(true, math.inf)
        return self.call_true(true, callback, *args, context=context)

    def call_true(
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        """As ``call_at``, at an instant of true time."""
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        handle._scheduled = True  # type: ignore[attr-defined]
        heapq.heappush(self._timers, (when, next(self._serials), handle))
        return handle

    def create_future(self) -> asyncio.Future[Any]:
        future = _Future(loop=self)
        future._serial = next(self._serials)
        return future

    def _make_task(
        self,
        loop: asyncio.AbstractEventLoop,
        coro: Coroutine[Any, Any, T] | Generator[Any, None, T],
        **options: Any,
    ) -> asyncio.Task[T]:
        serial = next(self._serials)
        _Task._serial = serial  # the constructor puts the task into a set before it can carry its own
        task = _Task(coro, loop=loop, **options)
        task._serial = serial
        self._tasks.append(task)
        if len(self._tasks) > self._sweep_tasks_at:
            self._tasks = [task for task in self._tasks if not task.done()]
            self._sweep_tasks_at = 2 * len(self._tasks) + COMPACT_AT
        return task

    def _process_events(self, event_list: object) -> None:
        """There are no file descriptors here."""

    def _write_to_self(self) -> None:
        """There are no other threads here."""

    def remove_reader(self, fd: object) -> bool:
        """Simulated sockets are never polled."""
        return False

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        if handle._scheduled:  # type: ignore[attr-defined]
            self._dead_timers += 1

    def _note_failure(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        self.failures.append(f"{context.get('message')}: {error!r}")

    # --- one turn ---

    def later(self, seconds: float, call: Callable[..., object], *args: Any) -> asyncio.TimerHandle:
        """Run a function of the world after so many true seconds."""
        return self.call_true(self.true_time + seconds, call, *args, context=self.world)

    def requeue(self, handles: list[asyncio.Handle]) -> None:
        """Make handles that were put by ready again."""
        self._ready.extend(handles)

    def _run_once(self) -> None:
        if self._dead_timers > COMPACT_AT and self._dead_timers * 2 > len(self._timers):
            self._timers = [timer for timer in self._timers if not timer[2].cancelled()]
            heapq.heapify(self._timers)
            self._dead_timers = 0
        self._advance()
        batch = list(self._ready)
        self._ready.clear()
        for handle in self._interleaved(batch) if len(batch) > 1 else batch:
            self._run(handle)

    def _advance(self) -> None:
        timers = self._timers
        while timers and timers[0][2].cancelled():
            heapq.heappop(timers)
            self._dead_timers -= 1
        self._idle_turns += 1
        if not self._ready:
            if not timers:
                raise StuckError(f"nothing will ever happen again at {self.true_time:.3f}")
            if timers[0][0] > self.true_time:
                self.true_time = timers[0][0]
                self._idle_turns = 0
        if self._idle_turns > TURNS_WITHOUT_TIME:
            raise StuckError(f"something spins at {self.true_time:.3f}: {_spinners(self._ready)}")
        while timers and timers[0][0] <= self.true_time:
            handle = heapq.heappop(timers)[2]
            handle._scheduled = False  # type: ignore[attr-defined]
            if handle.cancelled():
                self._dead_timers -= 1
            else:
                self._ready.append(handle)

    def _interleaved(self, batch: list[asyncio.Handle]) -> list[asyncio.Handle]:
        queues: dict[Process | None, deque[asyncio.Handle]] = {}
        owners: list[Process | None] = []
        for handle in batch:
            owner = handle._context.get(PROCESS)  # type: ignore[attr-defined]
            owners.append(owner)
            queues.setdefault(owner, deque()).append(handle)
        if len(queues) == 1:
            return batch
        self._random.shuffle(owners)
        return [queues[owner].popleft() for owner in owners]

    def _run(self, handle: asyncio.Handle) -> None:
        if handle.cancelled():
            return
        owner = handle._context.get(PROCESS)  # type: ignore[attr-defined]
        if owner is None or owner.runs:
            handle._run()
        elif owner.alive:
            owner.deferred.append(handle)


def _spinners(ready: deque[asyncio.Handle]) -> list[str]:
    """Which tasks are ready, and where they stand."""
    found = []
    for handle in list(ready)[:3]:
        task = getattr(handle._callback, "__self__", None)  # type: ignore[attr-defined]
        frames = task.get_stack() if isinstance(task, asyncio.Task) else []
        where = [f"{frame.f_code.co_qualname}:{frame.f_lineno}" for frame in frames]
        found.append(f"{task.get_name() if isinstance(task, asyncio.Task) else handle} {where}")
    return found


@contextmanager
def simulated(seed: object) -> Generator[VirtualLoop, None, None]:
    """A fresh virtual loop; at the end every task left is cancelled, so that nothing outlives the run."""
    loop = VirtualLoop(seed)
    try:
        yield loop
    finally:
        _bury(loop)
        loop.close()


def _bury(loop: VirtualLoop) -> None:
    """Close what is left without running it on: a dead process's ``finally`` clauses may not disturb anybody."""
    left = [task for task in asyncio.all_tasks(loop) if not task.done()]
    loop._ready.clear()
    loop._timers.clear()
    for task in left:
        task._log_destroy_pending = False  # type: ignore[attr-defined]
        coro = task.get_coro()
        try:
            coro.close()
        except BaseException:  # whatever a half-dead coroutine makes of its end, nobody is left to hear it
            continue
    loop._ready.clear()
    loop._timers.clear()
