"""How a watchdog device is spoken to: the kernel's, by ioctl and single bytes, or a FIFO that shows what would be said.

Sources: linux/watchdog.h for numbers and flags, asm/ioctl.h for how they are put together, and the kernel's
Documentation/watchdog/watchdog-api.rst: opening starts the timer, any write is a keepalive, and only a ``V`` as the
last byte before the close stops the timer, unless the driver was built or loaded with ``nowayout``.
"""

from __future__ import annotations

import errno
import fcntl
import os
import platform
import stat
import struct
from pathlib import Path
from typing import Protocol

# powerpc, mips and sparc have an older layout than all others.
_READ, _WRITE, _SHIFT = (2, 4, 29) if platform.machine().startswith(("ppc", "mips", "sparc")) else (2, 1, 30)
_INFO = struct.Struct("=II32s")
"""struct watchdog_info: options, firmware version, identity."""
_INT = struct.Struct("=i")


def _request(direction: int, number: int, size: int) -> int:
    return direction << _SHIFT | size << 16 | ord("W") << 8 | number


WDIOC_GETSUPPORT = _request(_READ, 0, _INFO.size)
WDIOC_SETTIMEOUT = _request(_READ | _WRITE, 6, _INT.size)
WDIOC_GETTIMEOUT = _request(_READ, 7, _INT.size)
WDIOF_SETTIMEOUT = 0x0080
WDIOF_MAGICCLOSE = 0x0100

WORDS = {
    errno.ENOENT: "there is none: load its driver (modprobe softdog, where the machine has none of its own)",
    errno.ENODEV: "its driver finds no hardware: load another one (modprobe softdog)",
    errno.ENXIO: "nobody reads from it",
    errno.EBUSY: "another process holds it: find out which with fuser -v",
    errno.EACCES: "this user may not write to it: chown it to the agent's user, by a udev rule to last",
}


class Driver(Protocol):
    """A device while it is open; every call may raise OSError and may block for as long as the kernel likes."""

    stoppable: bool
    """Whether the magic close stops its timer."""

    def set_timeout(self, seconds: int) -> int:
        """Ask for a timeout; what was granted."""
        ...

    def beat(self) -> None:
        """One keepalive."""
        ...

    def stop(self) -> None:
        """Magic close: the timer is stopped."""
        ...

    def drop(self) -> None:
        """Let go without a farewell: the timer runs on."""
        ...


class _Opened:
    """What both kinds have in common: the bytes that the kernel's device takes."""

    def __init__(self, path: str, flags: int) -> None:
        self._file = os.open(path, flags)

    def beat(self) -> None:
        os.write(self._file, b"1")

    def stop(self) -> None:
        try:
            os.write(self._file, b"V")
        finally:
            os.close(self._file)

    def drop(self) -> None:
        os.close(self._file)


class KernelDevice(_Opened):
    """A character device of the kernel's watchdog subsystem; its timer starts with the construction."""

    def __init__(self, path: str) -> None:
        super().__init__(path, os.O_WRONLY)
        try:
            options, _, identity = _INFO.unpack(fcntl.ioctl(self._file, WDIOC_GETSUPPORT, bytes(_INFO.size)))
            self._settable = bool(options & WDIOF_SETTIMEOUT)
            self.stoppable = bool(options & WDIOF_MAGICCLOSE) and not _nowayout(self._file)
        except OSError:
            self.stop()
            raise
        self.identity = identity.rstrip(b"\0").decode(errors="replace")

    def set_timeout(self, seconds: int) -> int:
        if self._settable:
            return int(_INT.unpack(fcntl.ioctl(self._file, WDIOC_SETTIMEOUT, _INT.pack(seconds)))[0])
        return int(_INT.unpack(fcntl.ioctl(self._file, WDIOC_GETTIMEOUT, _INT.pack(0)))[0])


class Fifo(_Opened):
    """A FIFO in place of a device, for trials: ``Ctimeout=N`` and a newline, ``1`` for each keepalive, ``V``."""

    stoppable = True

    def __init__(self, path: str) -> None:
        super().__init__(path, os.O_WRONLY | os.O_NONBLOCK)

    def set_timeout(self, seconds: int) -> int:
        os.write(self._file, b"Ctimeout=%d\n" % seconds)
        return seconds


DRIVERS: dict[str, type[KernelDevice] | type[Fifo]] = {"default": KernelDevice, "testing": Fifo}
"""By the words of the setting ``watchdog.driver``."""


def objection(path: str, driver: str) -> str:
    """Why a device can't be used, as far as that shows without opening it; an empty string when nothing does."""
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        return words(path, error)
    fits = stat.S_ISFIFO(mode) if driver == "testing" else stat.S_ISCHR(mode)
    if not fits:
        return f"{path} is no {'FIFO' if driver == 'testing' else 'character device'}"
    return "" if os.access(path, os.W_OK) else words(path, OSError(errno.EACCES, ""))


def words(path: str, error: OSError) -> str:
    """An error of a device with what mends it."""
    return f"{path}: {WORDS.get(error.errno or 0, error.strerror or str(error))}"


def _nowayout(file: int) -> bool:
    """Whether the driver ignores the magic close; the miscdevice /dev/watchdog is watchdog0 under another number."""
    number = os.fstat(file).st_rdev
    for place in (f"/sys/dev/char/{os.major(number)}:{os.minor(number)}", "/sys/class/watchdog/watchdog0"):
        try:
            return (Path(place) / "nowayout").read_text().strip() == "1"
        except OSError:
            continue
    return False
