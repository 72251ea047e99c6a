"""The postmaster in hand: started by this agent or adopted, watched through a pidfd, signalled, reaped."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path

from haagent.core.facts import Process
from haagent.ports import Refused
from haagent.postgres.process import Watch, identify
from haagent.postgres.programs import clean_environment, verdict


class Postmaster:
    """At most one postmaster; ``process`` is None when none is known to live."""

    def __init__(self) -> None:
        self._watch: Watch | None = None
        self._child: asyncio.subprocess.Process | None = None
        self._reaper: asyncio.Task[None] | None = None
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
        descriptor = None
        if log is not None:
            descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            child = await asyncio.create_subprocess_exec(
                *argv,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=descriptor,
                stderr=descriptor,
                env=clean_environment(),
                start_new_session=True,
            )
        except OSError as error:
            raise Refused(f"{argv[0]} cannot be started: {error.strerror}; see postgresql.bin_dir") from error
        finally:
            if descriptor is not None:
                os.close(descriptor)
        self._child = child
        self.last_words = ""
        self._reaper = asyncio.create_task(self._reap(child))
        process = identify(child.pid)
        if process is None:
            await asyncio.wait((self._reaper,), timeout=1.0)
            raise Refused(f"PostgreSQL ended as soon as it was started; {self.last_words or 'see its log'}")
        self.adopt(process)
        return process

    async def _reap(self, child: asyncio.subprocess.Process) -> None:
        self.last_words = f"PostgreSQL {verdict(await child.wait())}"

    def _ended(self, watch: Watch) -> None:
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
