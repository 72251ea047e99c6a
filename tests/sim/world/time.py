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
    slept: float = 0.0
    """True seconds of suspends: ``now`` (CLOCK_BOOTTIME) counts them, asyncio's time (CLOCK_MONOTONIC) does not."""

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
        self.alive = self.runs = True
        """``runs``: it is alive and gets time."""
        self.deferred: list[_Turn] = []
        self._freezes = 0
        self.context = contextvars.copy_context()
        self.context.run(PROCESS.set, self)

    @property
    def frozen(self) -> bool:
        return self._freezes > 0

    def freeze(self) -> None:
        """Take its time away; freezes nest."""
        self._freezes += 1
        self.runs = False

    def thaw(self) -> None:
        """Undo one freeze; what was put by runs at once, in its order."""
        assert self._freezes > 0, f"{self.name} is not frozen"
        self._freezes -= 1
        if self._freezes == 0:
            self.runs = self.alive
            self.loop.requeue(self.deferred)
            self.deferred = []

    def kill(self) -> None:
        """SIGKILL: nothing of it runs any more."""
        self.alive = self.runs = False
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

    _serial = 0

    def __hash__(self) -> int:
        if not self._serial:
            self._serial = self.get_loop().next_serial()  # type: ignore[attr-defined]
        return self._serial


class _Future(asyncio.Future[Any]):
    """A future with the same property."""

    _serial = 0

    def __hash__(self) -> int:
        if not self._serial:
            self._serial = self.get_loop().next_serial()  # type: ignore[attr-defined]
        return self._serial


def _nothing() -> None:
    """What a cancelled callback does."""


class _Turn(asyncio.TimerHandle):
    """A callback that waits for its turn or its time, and whose it is."""

    __slots__ = ("by_asyncio", "owner")
    _when: float

    def __init__(
        self,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        loop: VirtualLoop,
        context: contextvars.Context | None,
        scheduled: bool,
    ) -> None:
        """What asyncio's own handle holds, without what its debug mode asks for at every turn."""
        self._callback = callback
        self._args = args
        self._loop = loop
        self._context = contextvars.copy_context() if context is None else context
        self._cancelled = False
        self._scheduled = scheduled
        self._repr = self._source_traceback = None
        self.owner: Process | None = self._context.get(PROCESS)
        self.by_asyncio = False
        """It waits for asyncio's time, which stands still in a suspend."""

    def cancel(self) -> None:
        if not self._cancelled:
            self._cancelled = True
            self._callback, self._args = _nothing, ()
            if self._scheduled:
                self._loop.dead_timers += 1


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
        self.dead_timers = 0
        """How many cancelled timers the heap still holds."""
        self._random = random.Random(f"{seed}/loop")
        self.next_serial = count(1).__next__
        self._idle_turns = 0
        self._sweep_tasks_at = COMPACT_AT
        self._ready: list[_Turn] = []
        self._timers: list[tuple[float, int, _Turn]] = []
        self.set_exception_handler(self._note_failure)

    # --- asyncio's own hooks ---

    get_debug = bool
    """Never; every future asks when it is made, and ``bool()`` is the fastest way to say False."""

    def time(self) -> float:
        process = PROCESS.get()
        if process is None or process.clock is None:
            return self.true_time
        return (self.true_time - process.clock.slept) * process.clock.rate

    def call_soon(  # type: ignore[override]
        self,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.Handle:
        turn = _Turn(callback, args, self, context, False)
        self._ready.append(turn)
        return turn

    def call_at(  # type: ignore[override]
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        process = PROCESS.get()
        clock = None if process is None else process.clock
        rate, slept = (1.0, 0.0) if clock is None else (clock.rate, clock.slept)
        true = when / rate + slept
        while (true - slept) * rate < when:  # a timer never fires before its machine's clock shows the time
            true = math.nextafter(true, math.inf)
        turn = self.call_true(true, callback, *args, context=context)
        turn.by_asyncio = True
        return turn

    def call_true(
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> _Turn:
        """As ``call_at``, at an instant of true time."""
        turn = _Turn(callback, args, self, context, True)
        turn._when = when
        heapq.heappush(self._timers, (when, self.next_serial(), turn))
        return turn

    def create_future(self) -> asyncio.Future[Any]:
        return _Future(loop=self)

    def create_task(  # type: ignore[override]
        self,
        coro: Coroutine[Any, Any, T],
        *,
        name: str | None = None,
        context: contextvars.Context | None = None,
    ) -> asyncio.Task[T]:
        task = _Task(coro, loop=self, name=name, context=context)
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

    def _note_failure(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        self.failures.append(f"{context.get('message')}: {error!r}")

    # --- turns ---

    def later(self, seconds: float, call: Callable[..., object], *args: Any) -> asyncio.TimerHandle:
        """Run a function of the world after so many true seconds."""
        return self.call_true(self.true_time + seconds, call, *args, context=self.world)

    def requeue(self, turns: list[_Turn]) -> None:
        """Make callbacks that were put by ready again."""
        self._ready.extend(turns)

    def resumed(self, clock: Clock, processes: list[Process], seconds: float) -> None:
        """A machine wakes from a suspend, its processes still frozen: none of asyncio's timers has come nearer."""
        began, clock.slept = self.true_time - seconds, clock.slept + seconds
        moved: list[tuple[float, int, _Turn]] = []
        stay: list[tuple[float, int, _Turn]] = []
        for process in processes:
            deferred, process.deferred = process.deferred, []
            for turn in deferred:
                if turn.by_asyncio and not turn._cancelled and turn._when > began:
                    moved.append((turn._when, self.next_serial(), turn))
                else:
                    process.deferred.append(turn)
        for timer in self._timers:
            turn = timer[2]
            mine = turn.by_asyncio and turn.owner is not None and turn.owner.clock is clock
            (moved if mine else stay).append(timer)
        self._timers = stay
        for when, serial, turn in moved:
            turn._when, turn._scheduled = when + seconds, True
            self._timers.append((turn._when, serial, turn))
        heapq.heapify(self._timers)

    def _run_once(self) -> None:
        """Turn after turn, until somebody stops the loop."""
        while not self._stopping:  # type: ignore[attr-defined]
            self._advance()
            batch, self._ready = self._ready, []
            for turn in self._interleaved(batch) if len(batch) > 1 else batch:
                owner = turn.owner
                if turn._cancelled:
                    continue
                if owner is None or owner.runs:
                    try:
                        turn._context.run(turn._callback, *turn._args)
                    except (SystemExit, KeyboardInterrupt):
                        raise
                    except BaseException as error:
                        self.call_exception_handler({"message": f"exception in {turn}", "exception": error})
                elif owner.alive:
                    owner.deferred.append(turn)

    def _advance(self) -> None:
        """Make ready what is due; with nothing ready, jump to the next timer."""
        timers = self._timers
        self._idle_turns += 1
        if not self._ready:
            while timers and timers[0][2]._cancelled:
                heapq.heappop(timers)
                self.dead_timers -= 1
            if not timers:
                raise StuckError(f"nothing will ever happen again at {self.true_time:.3f}")
            if timers[0][0] > self.true_time:
                self.true_time = timers[0][0]
                self._idle_turns = 0
        if self._idle_turns > TURNS_WITHOUT_TIME:
            raise StuckError(f"something spins at {self.true_time:.3f}: {_spinners(self._ready)}")
        while timers and timers[0][0] <= self.true_time:
            turn = heapq.heappop(timers)[2]
            turn._scheduled = False
            if turn._cancelled:
                self.dead_timers -= 1
            else:
                self._ready.append(turn)
        if self.dead_timers > COMPACT_AT and self.dead_timers * 2 > len(timers):
            self._timers = [timer for timer in timers if not timer[2]._cancelled]
            heapq.heapify(self._timers)
            self.dead_timers = 0

    def _interleaved(self, batch: list[_Turn]) -> list[_Turn]:
        """The callbacks of each process in their order, those of different ones shuffled."""
        owners = [turn.owner for turn in batch]
        first = owners[0]
        if all(owner is first for owner in owners):
            return batch
        queues: dict[Process | None, deque[_Turn]] = {}
        for turn in batch:
            queues.setdefault(turn.owner, deque()).append(turn)
        self._random.shuffle(owners)
        return [queues[owner].popleft() for owner in owners]


def _spinners(ready: list[_Turn]) -> list[str]:
    """Which tasks are ready, and where they stand."""
    found = []
    for turn in ready[:3]:
        task = getattr(turn._callback, "__self__", None)
        frames = task.get_stack() if isinstance(task, asyncio.Task) else []
        where = [f"{frame.f_code.co_qualname}:{frame.f_lineno}" for frame in frames]
        found.append(f"{task.get_name() if isinstance(task, asyncio.Task) else turn} {where}")
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
