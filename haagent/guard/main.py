"""The guard process: one per data directory; it outlives its agent and kills PostgreSQL when the permit ends.

Woken, it first hears all that waits in its sockets and then judges the clock: a thawed guard neither kills over a
permit extended meanwhile nor spares one that was not. What may block (marker, log) is done by a thread of its own.
"""

from __future__ import annotations

import _queue
import _thread
import ctypes
import json
import os
import select
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable

from haagent.guard import tree, wire
from haagent.guard.watch import END, FENCE, SWEEP, Report, Watch

MCL_CURRENT, MCL_FUTURE, MCL_ONFAULT = 1, 2, 4
TFD_TIMER_ABSTIME = 1
libc = ctypes.CDLL(None, use_errno=True)


def now() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def checked(result: int) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


class Scribe:
    """The only one that waits for disks and pipes: does so in its own thread, in order."""

    def __init__(self, marker: str) -> None:
        self._marker = marker
        self._report: Report | None = None
        self._jobs: _queue.SimpleQueue[Callable[[], object]] = _queue.SimpleQueue()
        _thread.start_new_thread(self._work, ())

    def log(self, text: str) -> None:
        line = f"haagent guard[{os.getpid()}]: {text}\n".encode(errors="replace")
        if self._jobs.qsize() < 200:
            self._jobs.put(lambda: os.write(2, line))

    def mark(self, report: Report | None) -> None:
        """Make the marker file say so; tried again as long as the disk refuses."""
        self._report = report
        self._jobs.put(self._mark)

    def _work(self) -> None:
        while True:
            try:
                self._jobs.get()()
            except OSError:  # nobody reads the log
                continue

    def _mark(self) -> None:
        new = self._marker + ".new"
        try:
            if self._report is None:
                return os.remove(self._marker) if os.path.exists(self._marker) else None
            with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
                json.dump(self._report, file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(new, self._marker)
        except OSError as error:
            self.log(f"{self._marker} cannot be changed, trying again: {error}")
            time.sleep(0.5)
            self._jobs.put(self._mark)


class Guard:
    """Sockets, timer and process tree around one ``Watch``."""

    def __init__(
        self, listener: socket.socket, data_dir: str, kill_time_s: float, watch: Watch, scribe: Scribe
    ) -> None:
        self.listener, self.data_dir, self.kill_time_s = listener, data_dir, kill_time_s
        self.watch, self.scribe = watch, scribe
        self.agents: dict[int, socket.socket] = {}
        self.timer = checked(libc.timerfd_create(time.CLOCK_BOOTTIME, os.O_CLOEXEC))
        self.poll = select.poll()
        self.poll.register(listener, select.POLLIN)
        self.poll.register(self.timer, select.POLLIN)

    def run(self) -> str:
        """Until told to quit, or left alone with nothing to enforce; returns which."""
        answers: list[tuple[socket.socket, int, str]] = []
        while True:
            do, wake_at, why = self.watch.judge(now(), len(self.agents))
            if do == FENCE:
                self._fence(why)
                answers += [(agent, 0, "") for agent in self.agents.values()]
            elif do == SWEEP and (ended := tree.end(self.data_dir, 0.0, self.kill_time_s))[0]:
                self.scribe.log(f"killed {ended[0]} processes that appeared on the fenced {self.data_dir}")
            for agent, number, refused in answers:
                self._answer(agent, number, refused)
            if do == END:
                return why
            if do != FENCE:
                self._sleep(wake_at)
            answers = []
            for packet, agent in self._packets():
                number, telling, term, until, reason = wire.read_request(packet)
                if telling == "quit":
                    return "told to quit"
                refused = self.watch.hear(telling, term, until, reason)
                answers.append((agent, number, refused))
                if telling == "clear":
                    self.scribe.mark(None)
                if refused or telling not in ("hello", "extend"):
                    self.scribe.log(f"{telling} term {term}: {refused or 'done'}")

    def _sleep(self, wake_at: float | None) -> None:
        """Until something is heard or CLOCK_BOOTTIME reaches that instant, a suspend included (timerfd_create(2))."""
        wake_ns = 0 if wake_at is None else max(1, int(wake_at * 1e9))
        spec = struct.pack("4l", 0, 0, *divmod(wake_ns, 1_000_000_000))
        checked(libc.timerfd_settime(self.timer, TFD_TIMER_ABSTIME, spec, None))
        self.poll.poll()

    def _packets(self) -> list[tuple[bytes, socket.socket]]:
        """All that waits to be heard; new agents are let in, and those that went are forgotten."""
        self._accept()
        heard = []
        for fd, agent in list(self.agents.items()):
            try:
                while packet := agent.recv(wire.MAX_BYTES):
                    heard.append((packet, agent))
            except BlockingIOError:
                continue
            except OSError as error:
                self.scribe.log(f"lost an agent: {error}")
            self.poll.unregister(fd)
            self.agents.pop(fd).close()
        return heard

    def _accept(self) -> None:
        while True:
            try:
                agent, _ = self.listener.accept()
            except OSError:
                return
            pid, uid = wire.peer(agent)
            if uid != os.getuid():
                self.scribe.log(f"refused process {pid} of user {uid}: only user {os.getuid()} may speak here")
                agent.close()
                continue
            agent.setblocking(False)
            self.agents[agent.fileno()] = agent
            self.poll.register(agent, select.POLLIN)

    def _answer(self, agent: socket.socket, number: int, refused: str) -> None:
        try:
            agent.send(wire.answer(number, refused, self.watch), socket.MSG_NOSIGNAL)
        except OSError as error:  # one that does not read is not waited for
            self.scribe.log(f"no answer to an agent: {error}")

    def _fence(self, why: str) -> None:
        late = max(0.0, now() - self.watch.until) if self.watch.until is not None else 0.0
        count, took_ms, left = tree.end(self.data_dir, max(0.0, self.kill_time_s / 2 - late), self.kill_time_s)
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        report = wire.report(self.watch.term, count, round(took_ms, 1), why, at)
        self.watch.fenced(report, now())
        self.scribe.mark(report)
        hanging = f"; {left} hang in the kernel, SIGKILL pending" if left else ""
        self.scribe.log(f"fenced {self.data_dir}: {why}; {count} processes ended in {took_ms:.0f} ms{hanging}")


def harden(log: Callable[[str], None]) -> None:
    """Stay resident, be the last to be killed and the first to run, as far as this user may."""
    for what, step in (
        ("memory not locked", lambda: checked(libc.mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT))),
        ("OOM score not lowered", lambda: os.write(os.open("/proc/self/oom_score_adj", os.O_WRONLY), b"-1000")),
        ("no real-time priority", lambda: os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))),
    ):
        try:
            step()
        except OSError as error:
            log(f"{what}: {error.strerror}")


def left_behind(marker: str) -> Report | None:
    """The report of an earlier guard; a marker that cannot be read counts as one."""
    try:
        with open(marker, "rb") as file:
            fields = json.load(file)
        return wire.report(**fields)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        return wire.report(0, 0, 0.0, f"{marker} is not readable: {error}", "an unknown time")


def main(address: str, data_dir: str, marker: str, kill_time_s: str, term: str, until: str) -> None:
    """Leave a guard behind that is nobody's child, armed unless ``until`` is empty; ends once that one listens."""
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    ready, tell = os.pipe()
    if os.fork():
        os.close(tell)
        sys.exit((os.read(ready, 1) or b"\1")[0])
    os.chdir("/")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
    try:
        listener.bind("\0" + address)
    except OSError:
        os.write(tell, bytes([wire.TAKEN]))
        return
    listener.listen(16)
    os.write(tell, b"\0")
    os.close(tell)
    watch = Watch(int(term), float(until) if until else None, left_behind(marker))
    guard = Guard(listener, data_dir, float(kill_time_s), watch, Scribe(marker))
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, lambda got, frame: os._exit(0) if watch.until is None else None)
    harden(guard.scribe.log)
    tree.members(data_dir)  # a rehearsal, so that what the killing needs is in memory
    guard.scribe.log(f"ends: {guard.run()}")
    time.sleep(0.1)  # for that last line; nothing hangs on it
    os._exit(0)
