"""Files that the adapter writes: atomically, and those with secrets readable by nobody else."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from haagent.core.facts import Process
from haagent.ports import Refused
from haagent.postgres.disk import on_disk
from haagent.postgres.settings import Login, PostgresSettings

MARKER = "unfinished.json"
OURS_BEGIN = "# haagent: begin (this block is rewritten)"
OURS_END = "# haagent: end"


def write_atomically(path: Path, text: str, mode: int = 0o600) -> None:
    """Replace a file durably, so that a crash leaves the old or the new one."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    try:
        os.fchmod(descriptor, mode)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(scratch, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(scratch)
        raise
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Make a directory's entries durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_if_changed(path: Path, text: str, mode: int = 0o600) -> bool:
    """Write a file unless it already says this; whether it was written."""
    if read_text(path) == text:
        return False
    write_atomically(path, text, mode)
    return True


def read_text(path: Path) -> str | None:
    """A file's text, None when there is no such file."""
    try:
        return path.read_text(encoding="utf-8", errors="surrogateescape")
    except (FileNotFoundError, NotADirectoryError):
        return None


# --- the marker of unfinished work ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Marker:
    """Work on the data directory that has begun and not ended, and the program that may still be at it."""

    doing: str
    """``initializing``, ``cloning``, ``rewinding``, or ``unknown`` when the marker cannot be read."""
    program: Process | None = None


def set_marker(settings: PostgresSettings, marker: Marker) -> None:
    """Say durably that the data directory is not to be started until ``clear_marker``."""
    settings.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    program = None if marker.program is None else [marker.program.pid, marker.program.started_ticks]
    write_atomically(settings.state_dir / MARKER, json.dumps({"doing": marker.doing, "program": program}))


def clear_marker(settings: PostgresSettings) -> None:
    """Say durably that the work is done, or that its directory is out of the way."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(settings.state_dir / MARKER)
        sync_directory(settings.state_dir)


def read_marker(settings: PostgresSettings) -> Marker | None:
    """What was under way; an unreadable marker counts as one."""
    text = read_text(settings.state_dir / MARKER)
    if text is None:
        return None
    try:
        content = json.loads(text)
        program = content["program"]
        return Marker(str(content["doing"]), None if program is None else Process(int(program[0]), int(program[1])))
    except (ValueError, KeyError, TypeError, IndexError):
        return Marker("unknown")


# --- secrets for libpq ---------------------------------------------------------------------------------------


def passfile_line(host: str, port: int, login: Login) -> str:
    """One line of a libpq password file; colons and backslashes escaped. Source: manual, "The Password File"."""
    fields = (host, str(port), "*", login.username or "*", login.password or "")
    return ":".join(part.replace("\\", "\\\\").replace(":", "\\:") for part in fields)


def merge_passfile(old: str | None, lines: tuple[str, ...]) -> str:
    """A password file with our block first (the first match wins) and what others wrote there kept."""
    kept: list[str] = []
    inside = False
    for line in (old or "").splitlines():
        if line == OURS_BEGIN:
            inside = True
        elif line == OURS_END:
            inside = False
        elif not inside:
            kept.append(line)
    return "\n".join([OURS_BEGIN, *lines, OURS_END, *kept]) + "\n"


@contextlib.asynccontextmanager
async def private_directory(settings: PostgresSettings) -> AsyncIterator[Path]:
    """A directory of mode 0700 that is gone afterwards, short enough for a unix socket's path (107 bytes)."""

    def make() -> Path:
        settings.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        roomy = len(os.fsencode(settings.state_dir)) < 70
        return Path(tempfile.mkdtemp(prefix="haagent-", dir=settings.state_dir if roomy else None))

    path = await on_disk(make)
    try:
        yield path
    finally:
        await on_disk(lambda: shutil.rmtree(path, ignore_errors=True))


@contextlib.asynccontextmanager
async def service(settings: PostgresSettings, conninfo: Mapping[str, str]) -> AsyncIterator[dict[str, str]]:
    """Environment in which the conninfo ``service=source`` stands for these libpq keywords, secrets included.

    So no password stands in a command line or in the environment. Source: manual, "The Connection Service File".
    """
    broken = [name for name, value in conninfo.items() if "\n" in value]
    if broken:
        raise Refused(f"{' and '.join(broken)} contain a line break, which no service file of libpq can hold")
    lines = "".join(f"{name}={value}\n" for name, value in conninfo.items() if value)
    async with private_directory(settings) as directory:
        await on_disk(lambda: write_atomically(directory / "service", f"[source]\n{lines}"))
        yield {"PGSERVICEFILE": str(directory / "service")}
