"""Looks at files, names and clocks of this machine for the doctor; judges nothing; it blocks: run it in a thread."""

from __future__ import annotations

import contextlib
import ctypes
import os
import pwd
import re
import shlex
import shutil
import socket
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from haagent.core.health.facts import ClockFacts, Hook, HostFacts, Name, PathFacts, Unit, Volume
from haagent.host.certificates import ends_at

PROGRAMS = ("postgres", "initdb", "pg_controldata", "pg_basebackup", "pg_rewind", "pg_waldump")
UNITS = re.compile(r"(postgresql.*|postgres|patroni.*|repmgrd?.*|stolon.*|pg_auto.*)\.service")
_UNSYNCHRONISED, _TIME_ERROR = 0x40, 5
"""STA_UNSYNC, and what adjtimex returns then. Source: adjtimex(2)."""
_STATUS_AT, _ERROR_AT, _TIMEX_BYTES = 40, 24, 208
"""Where struct timex keeps ``status`` and ``maxerror`` (microseconds) on 64-bit Linux."""


@dataclass(frozen=True, slots=True)
class Places:
    """What of this node's settings names things on this machine."""

    data_dir: Path
    state_dir: Path
    password_file: Path
    bin_dir: Path | None = None
    secrets: tuple[str, ...] = ()
    hooks: Mapping[str, str] = field(default_factory=dict)
    """Commands by the name of their setting."""
    certificates: Mapping[str, str] = field(default_factory=dict)
    hosts: Mapping[str, str] = field(default_factory=dict)
    """Hosts by the name of their setting."""
    watchdog: str = ""


def looked(places: Places, root: Path = Path("/")) -> HostFacts:
    """Everything but names, which are not on a disk."""
    data = str(places.data_dir)
    found = {name: shutil.which(name, path=str(places.bin_dir) if places.bin_dir else None) for name in PROGRAMS}
    return HostFacts(
        user=_user(os.geteuid()),
        uid=os.geteuid(),
        data=path_facts(data),
        state_dir=path_facts(str(places.state_dir)),
        password_file=path_facts(str(places.password_file)),
        secrets=tuple(path_facts(one) for one in places.secrets),
        data_version=_text(places.data_dir / "PG_VERSION"),
        missing_programs=tuple(name for name, path in found.items() if path is None),
        programs_place=str(places.bin_dir or ""),
        volumes=volumes((places.data_dir, places.data_dir / "pg_wal"), root),
        units=units(places.data_dir, root),
        hooks=tuple(Hook(setting, command, unfit(command)) for setting, command in places.hooks.items()),
        clock=clock(root),
        certificates={name: _end(path) for name, path in places.certificates.items()},
        watchdog=path_facts(places.watchdog) if places.watchdog else None,
    )


def path_facts(path: str) -> PathFacts:
    """What stat(2) tells this user of a path."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return PathFacts(path)
    except OSError as error:
        return PathFacts(path, why=error.strerror or str(error))
    return PathFacts(
        path,
        there=True,
        directory=stat.S_ISDIR(found.st_mode),
        mode=stat.S_IMODE(found.st_mode),
        uid=found.st_uid,
        writable=os.access(path, os.W_OK),
        executable=os.access(path, os.X_OK),
    )


def unfit(command: str) -> str:
    """Why a command can't be run; empty when nothing speaks against it. Words are split as a shell does."""
    try:
        words = shlex.split(command)
    except ValueError as error:
        return f"{command!r} can't be read: {error}"
    if not words:
        return "the command is empty"
    if shutil.which(words[0]) is not None:
        return ""
    found = path_facts(words[0])
    return f"{words[0]} (mode {found.bits}) is not executable" if found.there else f"{words[0]} is not there"


def volumes(paths: Iterable[Path], root: Path = Path("/")) -> tuple[Volume, ...]:
    """The file systems of these paths, or of what is above one that is not there; each once."""
    mounts = _mounts(root)
    found: dict[int, Volume] = {}
    for path in paths:
        there = next((one for one in (path, *path.parents) if one.exists()), Path("/"))
        with contextlib.suppress(OSError):
            room, real = os.statvfs(there), there.resolve()
            point = next((one for one in (real, *real.parents) if os.path.ismount(one)), Path("/"))
            volume = Volume(str(path), str(point), mounts.get(str(point), "?"), *_room(room))
            found.setdefault(os.stat(there).st_dev, volume)
    return tuple(found.values())


def _room(room: os.statvfs_result) -> tuple[int, int]:
    """Bytes that this user may still write, and bytes in all that count as such."""
    return room.f_bavail * room.f_frsize, (room.f_blocks - room.f_bfree + room.f_bavail) * room.f_frsize


def _mounts(root: Path) -> dict[str, str]:
    """Kinds of file systems by mount point; the last one mounted there counts. Source: proc(5)."""
    lines = (line.split() for line in _text(root / "proc/self/mounts").splitlines())
    return {words[1].encode().decode("unicode_escape"): words[2] for words in lines if len(words) > 2}


def units(data_dir: Path, root: Path = Path("/")) -> tuple[Unit, ...] | None:
    """Enabled units that start PostgreSQL or another agent; None where there is no systemd."""
    home = root / "etc/systemd/system"
    if not home.is_dir():
        return None
    links = (link for kind in ("wants", "requires") for link in home.glob(f"*.{kind}/*"))
    names = {link.name: link for link in links if UNITS.fullmatch(link.name)}
    here = [_debian(one.parent, data_dir) for one in root.glob("etc/postgresql/*/*/start.conf")]
    found = [Unit(name, _mentions(link, data_dir)) for name, link in sorted(names.items())]
    own = {name for one in here for name in one}
    if "postgresql.service" in names:
        found += [Unit(name, True) for name in sorted(own)]
    return tuple(Unit(one.name, one.ours or one.name in own) for one in found)


def _debian(place: Path, data_dir: Path) -> list[str]:
    """The unit of a cluster of Debian's that starts by itself on this data; none for others."""
    automatic = any(line.strip() == "auto" for line in _text(place / "start.conf").splitlines())
    said = re.search(r"^\s*data_directory\s*=?\s*'([^']*)'", _text(place / "postgresql.conf"), re.M)
    ours = said is not None and os.path.realpath(said[1]) == os.path.realpath(data_dir)
    return [f"postgresql@{place.parent.name}-{place.name}.service"] if automatic and ours else []


def _mentions(unit: Path, data_dir: Path) -> bool:
    return re.search(rf"[=\s'\"]{re.escape(str(data_dir))}/?(\s|['\"]|$)", _text(unit)) is not None


def clock(root: Path = Path("/")) -> ClockFacts:
    """The kernel's clock source, and what it knows of the discipline of its wall clock."""
    source = _text(root / "sys/devices/system/clocksource/clocksource0/current_clocksource")
    buffer = ctypes.create_string_buffer(_TIMEX_BYTES)
    try:
        returned = ctypes.CDLL(None).adjtimex(buffer)
    except (OSError, AttributeError):
        return ClockFacts(source)
    if returned < 0:
        return ClockFacts(source)
    status = int.from_bytes(buffer.raw[_STATUS_AT : _STATUS_AT + 4], "little")
    error_us = int.from_bytes(buffer.raw[_ERROR_AT : _ERROR_AT + 8], "little")
    synchronised = returned != _TIME_ERROR and not status & _UNSYNCHRONISED
    return ClockFacts(source, synchronised, error_us / 1e6)


def resolved(owner: str, host: str) -> Name:
    """The addresses of a host; the system's resolver may take its time."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        return Name(host, owner, why=getattr(error, "strerror", None) or str(error))
    return Name(host, owner, tuple(dict.fromkeys(str(one[4][0]) for one in found)))


def _end(path: str) -> float | str:
    try:
        return ends_at(path)
    except (OSError, ValueError) as error:
        return f"{path} can't be read: {error}"


def _text(path: Path) -> str:
    """A small file's text without blanks around it; empty when it can't be read."""
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
