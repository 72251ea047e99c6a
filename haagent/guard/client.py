"""The guard from the agent's side: find it or start it, tell it the permit, know what it last said."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import haagent
from haagent.core.facts import FenceReport, GuardFacts
from haagent.core.terms import Instant, Term
from haagent.guard import wire
from haagent.ports import Clock, Refused, Unknown, Unreachable

HELLO_TIMEOUT_S = 0.5
"""A guard that does not answer within this is taken as frozen and replaced."""

GUARD = "import sys; sys.path.insert(0, sys.argv[1]); from haagent.guard import main; main.main(*sys.argv[2:])"


def address(data_dir: Path) -> str:
    """The name of the guard's abstract socket: one per user and real path of a data directory, which need not exist."""
    digest = hashlib.sha256(os.fsencode(data_dir.resolve())).hexdigest()
    return f"haagent-guard-{os.getuid()}-{digest}"


class GuardClient:
    """Implements ``ports.Guard``.

    ``state_dir`` keeps the marker of a fencing; ``kill_time_s`` is how long the guard may take to end PostgreSQL.
    """

    def __init__(self, data_dir: Path, state_dir: Path, kill_time_s: float, clock: Clock) -> None:
        self.data_dir = data_dir.resolve()
        self.address = address(data_dir)
        self.marker = state_dir / f"fenced-{self.address[-16:]}.json"
        self.kill_time_s = kill_time_s
        self.pid: int | None = None
        """The guard's process id, as the kernel vouches for it; None while there is no connection."""
        self.clock = clock
        self._connection: socket.socket | None = None
        self._facts = GuardFacts()
        self._permit: tuple[Term, Instant] | None = None
        self._number = 0
        self._waiting: dict[int, asyncio.Future[str]] = {}
        self._wake: Callable[[str], None] = lambda reason: None
        self._ensuring = asyncio.Lock()

    def facts(self) -> GuardFacts:
        """As last heard; ``alive`` turns False the moment the guard's end of the socket closes."""
        return self._facts

    def on_change(self, wake: Callable[[str], None]) -> None:
        """Call ``wake`` at once when the guard dies or has fired."""
        self._wake = wake

    async def ensure(self, timeout: float) -> None:
        """Connect to the guard of this data directory, or start one; a frozen one is killed and replaced.

        A replacement starts with the permit last told, so that no moment is unguarded in which the agent could die.
        Unreachable when there is none after ``timeout`` seconds; Refused when another user holds its name.
        """
        until = self.clock.now() + timeout
        async with self._ensuring:
            why = "it did not come up"
            while (left := until - self.clock.now()) > 0:
                if self._connection is None and not self._connect():
                    why = await self._start(left)
                    if not self._connect():
                        await asyncio.sleep(0.05)
                    continue
                try:
                    await self._ask("hello", timeout=min(left, max(HELLO_TIMEOUT_S, timeout / 4)))
                    return
                except (Unknown, Unreachable) as error:
                    why = str(error)
                    self._kill_frozen()
        raise Unreachable(
            f"no guard for {self.data_dir} after {timeout:g} s: {why}; this node may not lead without one"
        )

    async def arm(self, term: Term, permit_until: Instant, timeout: float) -> None:
        """Set term and permit, and wait for the guard's word that it has them; Refused with its reason."""
        await self._tell("arm", timeout, term, permit_until)
        self._remember(term, permit_until)

    def extend(self, term: Term, permit_until: Instant) -> None:
        """Move the permit forward; never blocks, and is dropped when the guard does not read (then it is frozen)."""
        self._number += 1
        if self._send(wire.request(self._number, "extend", term, permit_until)):
            self._remember(term, permit_until)

    async def disarm(self, term: Term, timeout: float) -> None:
        """PostgreSQL is down or read-only: there is nothing to enforce."""
        await self._tell("disarm", timeout, term)
        self._permit = None

    async def clear(self, timeout: float) -> None:
        """Remove the marker of a fencing: a start as standby has been decided."""
        await self._tell("clear", timeout)

    async def kill(self, reason: str, timeout: float) -> None:
        """End PostgreSQL now; returns when the guard has done it."""
        await self._tell("kill", timeout, reason=reason)

    async def quit(self, timeout: float) -> None:
        """Disarm and end the guard process; nothing to do when there is none."""
        self._permit = None
        if self._connection is None and not self._connect():
            return
        with contextlib.suppress(Unreachable):
            await self._ask("quit", timeout=timeout)

    def close(self) -> None:
        """Let go of the guard, which goes on without this agent."""
        self._lose("this agent let go of it", dead=False)

    # --- the connection --------------------------------------------------------------------------------------------

    def _connect(self) -> bool:
        try:
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
        except OSError:
            return False
        try:
            connection.connect("\0" + self.address)
        except OSError:
            connection.close()
            return False
        pid, uid = wire.peer(connection)
        if uid != os.getuid():
            connection.close()
            raise Refused(
                f"process {pid} of user {uid} holds the guard's name for {self.data_dir}, and only user {os.getuid()} "
                f"may; find out what it is: ps -fp {pid}"
            )
        self._connection, self.pid = connection, pid
        asyncio.get_running_loop().add_reader(connection.fileno(), self._readable)
        return True

    async def _start(self, timeout: float) -> str:
        """Start a guard, armed if a permit is in force; what is to be said of it should it not be reached."""
        term, until = ("0", "") if self._permit is None else (str(self._permit[0]), repr(float(self._permit[1])))
        root = str(Path(haagent.__file__).parent.parent)
        # -I -S: nothing of the environment and of site-packages gets into this process; so it is shown its package.
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", "-c", GUARD, root),
                *(self.address, str(self.data_dir), str(self.marker), str(self.kill_time_s), term, until),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                start_new_session=True,
            )
        except OSError as error:  # the interpreter was replaced by an upgrade, or this machine is out of processes
            return f"{sys.executable} cannot be started: {error.strerror}"
        try:
            ended = await asyncio.wait_for(process.wait(), timeout)
        except TimeoutError:
            process.kill()
            await process.wait()
            return "it did not start in time"
        return f"starting it ended with code {ended}" if ended not in (0, wire.TAKEN) else "it did not answer"

    def _kill_frozen(self) -> None:
        """End a guard that holds its socket open but does not answer."""
        if self._connection is None or self.pid is None:
            return
        pid = self.pid
        with contextlib.suppress(ProcessLookupError):
            handle = os.pidfd_open(pid)
            try:
                # While its end is open the process is there, so the handle is surely of it and not of a successor.
                if not _ended(self._connection):
                    signal.pidfd_send_signal(handle, signal.SIGKILL)
            finally:
                os.close(handle)
        self._lose(f"process {pid} did not answer and was killed", dead=True)

    def _readable(self) -> None:
        while self._connection is not None:
            try:
                packet = self._connection.recv(wire.MAX_BYTES)
            except BlockingIOError:
                return
            except OSError as error:
                self._lose(f"it ended: {error}", dead=True)
                return
            if not packet:
                self._lose("it ended", dead=True)
                return
            self._heard(json.loads(packet))

    def _heard(self, state: dict[str, Any]) -> None:
        fired = None if state["fired"] is None else FenceReport(**state["fired"])
        news = fired is not None and self._facts.fired is None
        until = None if state["until"] is None else Instant(state["until"])
        self._facts = GuardFacts(
            alive=True,
            armed=until is not None,
            term=Term(state["term"]) if state["term"] else None,
            permit_until=until,
            fired=fired,
            heard_at=self.clock.now(),
        )
        if fired is not None:
            self._permit = None
        asked = self._waiting.pop(state["number"], None)
        if asked is not None and not asked.done():
            asked.set_result(state["refused"])
        if news:
            self._wake("the guard fenced PostgreSQL")

    def _lose(self, why: str, *, dead: bool) -> None:
        if self._connection is None:
            return
        asyncio.get_running_loop().remove_reader(self._connection.fileno())
        self._connection.close()
        self._connection, self.pid = None, None
        self._facts = GuardFacts(fired=self._facts.fired, heard_at=self._facts.heard_at)
        waiting, self._waiting = self._waiting, {}
        for asked in waiting.values():
            if not asked.done():
                asked.set_exception(Unreachable(f"the guard of {self.data_dir} is gone: {why}"))
        if dead:
            self._wake("the guard is gone")

    # --- telling it something --------------------------------------------------------------------------------------

    def _remember(self, term: Term, permit_until: Instant) -> None:
        if self._permit is not None and self._permit[0] == term:
            permit_until = max(permit_until, self._permit[1])
        self._permit = term, permit_until

    def _send(self, packet: bytes) -> bool:
        if self._connection is None:
            return False
        try:
            self._connection.send(packet, socket.MSG_NOSIGNAL)
        except BlockingIOError:
            return False
        except OSError as error:
            self._lose(str(error), dead=True)
            return False
        return True

    async def _tell(self, do: str, timeout: float, term: int = 0, until: float = 0.0, reason: str = "") -> None:
        refused = await self._ask(do, term, until, reason, timeout=timeout)
        if refused:
            raise Refused(f"the guard of {self.data_dir} refused to {do}: {refused}")

    async def _ask(self, do: str, term: int = 0, until: float = 0.0, reason: str = "", *, timeout: float) -> str:
        self._number += 1
        number = self._number
        asked: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        if not self._send(wire.request(number, do, term, until, reason)):
            raise Unreachable(f"the guard of {self.data_dir} is not there, or does not read")
        self._waiting[number] = asked
        try:
            return await asyncio.wait_for(asked, timeout)
        except TimeoutError:
            raise Unknown(f"the guard of {self.data_dir} did not answer to {do} within {timeout:g} s") from None
        finally:
            self._waiting.pop(number, None)


def _ended(connection: socket.socket) -> bool:
    try:
        return not connection.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    except OSError:
        return True
