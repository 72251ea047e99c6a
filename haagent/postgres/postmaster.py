"""The postmaster in hand: started by this agent or adopted, watched through a pidfd, signalled, reaped.

It is no asyncio subprocess: the transport of one kills its child when the event loop is torn down, and PostgreSQL must
outlive its agent.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from haagent.core.facts import Process
from haagent.ports import Refused
from haagent.postgres.disk import on_disk
from haagent.postgres.process import Watch, identify
from haagent.postgres.programs import clean_environment, verdict


class Postmaster:
    """At most one postmaster; ``process`` is None when none is known to live."""

    def __init__(self) -> None:
        self._watch: Watch | None = None
        self._child: subprocess.Popen[bytes] | None = None
        self._over = asyncio.Event()
        self._wakes: list[Callable[[str], None]] = []
        self.last_words = ""
        """How the last child ended, for the operator."""

    def on_end(self, wake: Callable[[str], None]) -> None:
        """Call ``wake`` with a reason whenever the postmaster in hand ends."""
        self._wakes.append(wake)

    @property
    def process(self) -> Process | None:
        """The living postmaster."""
        return None if self._watch is None or self._watch.ended else self._watch.process

    @property
    def is_child(self) -> bool:
        """Whether the living postmaster was started by this agent."""
        process = self.process
        return process is not None and self._child is not None and self._child.pid == process.pid

    def adopt(self, process: Process) -> None:
        """Watch a postmaster that was found running."""
        if self.process == process:
            return
        if self._watch is not None:
            self._watch.close()
        self._over.clear()
        self._watch = Watch(process, self._ended)
        if self._watch.ended:
            self._over.set()

    async def spawn(self, argv: Sequence[str], log: Path | None) -> Process:
        """Start a postmaster in a session of its own, its output where the agent's goes or into a file.

        Refused when the program cannot be started. Neither the agent's end nor a slow reader of it touches the server.
        """
        self.last_words = ""
        try:
            child = await on_disk(lambda: _popen(argv, log))
        except Refused as error:
            raise Refused(f"{argv[0]} cannot be started: {error}; see postgresql.bin_dir") from error
        self._child = child
        process = identify(child.pid)
        if process is None:
            raise Refused(f"PostgreSQL {verdict(child.wait())} as soon as it was started; see its log")
        self.adopt(process)
        return process

    def _ended(self, watch: Watch) -> None:
        if self._child is not None and self._child.pid == watch.process.pid:
            code = self._child.poll()
            self.last_words = f"PostgreSQL {verdict(code)}" if code is not None else ""
            self._child = None
        if watch is self._watch:
            self._over.set()
            for wake in self._wakes:
                wake(f"postmaster {watch.process.pid} ended")

    def signal(self, number: signal.Signals) -> None:
        """Signal the living postmaster; Refused when there is none."""
        if self._watch is None or self._watch.ended or not self._watch.send(number):
            raise Refused(f"there is no postmaster to send {number.name} to")

    async def wait_end(self, timeout: float) -> bool:
        """Wait until the postmaster in hand has ended; whether it has."""
        try:
            async with asyncio.timeout(timeout):
                await self._over.wait()
        except TimeoutError:
            return False
        return True

    def close(self) -> None:
        """Watch no longer; the server runs on."""
        if self._watch is not None:
            self._watch.close()
            self._watch = None
        if self._child is not None:
            self._child.returncode = 0  # let go of it: whoever inherits it will reap it
            self._child = None


def _popen(argv: Sequence[str], log: Path | None) -> subprocess.Popen[bytes]:
    with contextlib.ExitStack() as stack:
        out = None if log is None else stack.enter_context(log.open("ab"))
        return subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=clean_environment(), start_new_session=True
        )
