"""Child programs: each in a process group of its own that never outlives its deadline or its caller."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from haagent.ports import Refused, Unknown
from haagent.postgres.settings import names

PRIVATE_PREFIXES = ("PATRONI_", "HAAGENT_", "PGSSL", "PGREQUIRE", "PGGSS", "PGOAUTH")
PRIVATE_NAMES = names(
    "PGHOST PGHOSTADDR PGPORT PGDATABASE PGUSER PGPASSWORD PGPASSFILE PGCHANNELBINDING PGSERVICE "
    "PGSERVICEFILE PGOPTIONS PGAPPNAME PGKRBSRVNAME PGCONNECT_TIMEOUT PGCLIENTENCODING PGTARGETSESSIONATTRS "
    "PGLOADBALANCEHOSTS PGDATA"
)
"""Environment variables that may hold the agent's secrets or would turn libpq elsewhere."""
REAP_S = 5.0
"""How long a killed child is waited for; one that hangs in the kernel is left to it."""
EOF_GRACE_S = 1.0
"""How long the output of an ended program is waited for: a background child may hold it open for ever."""
KEPT_LINES = 20


@dataclass(frozen=True, slots=True)
class Ended:
    """How a program ended: its exit code (negative: the signal) and the last lines it printed."""

    code: int
    tail: tuple[str, ...]

    @property
    def said(self) -> str:
        """The last lines as one text for an error message."""
        return " | ".join(self.tail[-6:]) or "nothing printed"


def clean_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment without the agent's own settings and libpq's variables."""
    private = PRIVATE_NAMES
    kept = {k: v for k, v in os.environ.items() if k not in private and not k.startswith(PRIVATE_PREFIXES)}
    return {**kept, **(extra or {})}


def tool_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The same, with messages in English so that they can be read by machine."""
    return clean_environment({"LC_ALL": "C", "LANGUAGE": "C", **(extra or {})})


async def run(
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    timeout: float | None = None,
    on_line: Callable[[str], None] | None = None,
    on_start: Callable[[int], Awaitable[None]] | None = None,
    keep: int = KEPT_LINES,
) -> Ended:
    """Run a program to its end; its output (stdout and stderr together) goes line by line to ``on_line``.

    ``on_start`` is told its pid, which is also its process group.

    Refused when it cannot be started; Unknown when ``timeout`` seconds were not enough and its group was killed.
    """
    output, transport, process = await _spawn(argv, env)
    tail: deque[str] = deque(maxlen=keep)
    reading = asyncio.create_task(_read_lines(output, tail, on_line))
    try:
        if on_start is not None:
            await on_start(process.pid)
        async with asyncio.timeout(timeout):
            code = await process.wait()
        await asyncio.wait((reading,), timeout=EOF_GRACE_S)
    except TimeoutError:
        raise Unknown(f"{argv[0]} did not end within {timeout:g} s and was killed; {_last(tail)}") from None
    finally:
        reading.cancel()
        transport.close()
        await end_group(process)
    return Ended(code, tuple(tail))


async def _spawn(
    argv: Sequence[str], env: Mapping[str, str]
) -> tuple[asyncio.StreamReader, asyncio.ReadTransport, asyncio.subprocess.Process]:
    """Start a program with a pipe of our own: asyncio's would make ``wait`` wait for whoever inherited it."""
    read_end, write_end = os.pipe()
    output = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(output), os.fdopen(read_end, "rb", buffering=0)
    )
    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=write_end,
            stderr=write_end,
            env=dict(env),
            cwd=_directory(),
            start_new_session=True,
        )
    except BaseException as error:
        transport.close()
        if isinstance(error, OSError):
            raise Refused(f"{argv[0]} cannot be started: {error.strerror}; see postgresql.bin_dir") from error
        raise
    finally:
        os.close(write_end)
    return output, transport, process


def _directory() -> str | None:
    """Where a program is started: here, if this user may be here; else PostgreSQL's print a complaint about it."""
    return None if os.access(os.getcwd(), os.X_OK) else "/"


def _last(tail: deque[str]) -> str:
    return f"its last words: {tail[-1]}" if tail else "it had printed nothing"


async def _read_lines(stream: asyncio.StreamReader, tail: deque[str], on_line: Callable[[str], None] | None) -> None:
    """Split at newlines and at carriage returns, by which progress is printed."""
    rest = b""
    while chunk := await stream.read(65536):
        *lines, rest = (rest + chunk).replace(b"\r", b"\n").split(b"\n")
        rest = rest[-65536:]
        for raw in lines:
            _take(raw, tail, on_line)
    _take(rest, tail, on_line)


def _take(raw: bytes, tail: deque[str], on_line: Callable[[str], None] | None) -> None:
    line = raw.decode(errors="replace").strip()
    if not line:
        return
    tail.append(line)
    if on_line is not None:
        on_line(line)


async def end_group(process: asyncio.subprocess.Process) -> None:
    """SIGKILL to whatever is left of a child's process group, and reap the child."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    if process.returncode is None:
        await asyncio.wait((asyncio.create_task(process.wait()),), timeout=REAP_S)


async def run_checked(
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    timeout: float | None = None,
    on_line: Callable[[str], None] | None = None,
    on_start: Callable[[int], Awaitable[None]] | None = None,
) -> Ended:
    """``run``, and Refused with the exit code and the last lines when the program failed."""
    ended = await run(argv, env=env, timeout=timeout, on_line=on_line, on_start=on_start)
    if ended.code != 0:
        raise Refused(f"{os.path.basename(argv[0])} {verdict(ended.code)}: {ended.said}")
    return ended


def verdict(code: int) -> str:
    """An exit code in words."""
    return f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"


async def run_hook(words: Sequence[str], timeout: float) -> int:
    """Run an operator's program in a session of its own, its output going where the agent's goes; its exit code.

    Refused when it cannot be started; Unknown when it was killed at its deadline.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            *words, stdin=asyncio.subprocess.DEVNULL, env=clean_environment(), start_new_session=True
        )
    except OSError as error:
        raise Refused(f"{words[0]} cannot be started: {error.strerror}") from error
    try:
        async with asyncio.timeout(timeout):
            return await process.wait()
    except TimeoutError:
        raise Unknown(f"{words[0]} did not end within {timeout:g} s and was killed with its children") from None
    finally:
        if process.returncode is None:
            await end_group(process)
