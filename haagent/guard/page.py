"""The writer of the commit fence's page: until when PostgreSQL may commit; standard library only, and never blocks.

The layout, which fence/haagent_fence.c states as well: two slots of 64 bytes in the machine's byte order, then nothing
up to 4096 bytes. A slot is magic (8 bytes), sequence (unsigned, 8), the permit's end in nanoseconds of CLOCK_BOOTTIME
(signed, 8; the greatest number: without end), term (signed, 8), boot id (16), zero (8), and FNV-1a with 64 bits of
those 56 bytes (8). The slots are written in turn and the valid one with the higher sequence counts, so that whatever
moment a reader looks, and wherever a writer dies, one of them is whole.

The file belongs on a tmpfs (/run, /dev/shm): on a disk, a write to a mapped page may have to wait for it.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import stat
import struct
from pathlib import Path
from uuid import UUID

SLOT = struct.Struct("=8sQqq16sQ")
SUM = struct.Struct("=Q")
SLOT_BYTES = SLOT.size + SUM.size
SLOTS = 2
PAGE_BYTES = 4096
MAGIC = b"HAFENCE1"
WITHOUT_END = 2**63 - 1


class Page:
    """The page of one PostgreSQL, mapped; a running server keeps what it has mapped, so a fit file is used again.

    OSError when the file cannot be made or mapped; PermissionError when somebody else could write to it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._boot_id = UUID(Path("/proc/sys/kernel/random/boot_id").read_text().strip()).bytes
        descriptor = _open(path)
        try:
            self._map = mmap.mmap(descriptor, PAGE_BYTES)
        finally:
            os.close(descriptor)
        self._sequence = max(self._read(slot)[0] for slot in range(SLOTS))

    def permit(self, term: int, until: float) -> None:
        """Commits are accepted until then (seconds of CLOCK_BOOTTIME; infinity while the cluster is paused)."""
        self._write(term, int(min(max(until * 1e9, 0), WITHOUT_END)))

    def refuse(self, term: int) -> None:
        """No commit is accepted from now on."""
        self._write(term, 0)

    def without_end(self) -> bool:
        """Whether the newest permit, of whatever agent, was written since this machine started and has no end."""
        _, until_ns, boot_id = max(self._read(slot) for slot in range(SLOTS))
        return until_ns == WITHOUT_END and boot_id == self._boot_id

    def close(self) -> None:
        """Let go of the page; what it says stays in force."""
        self._map.close()

    def _write(self, term: int, until_ns: int) -> None:
        self._sequence += 1
        fields = SLOT.pack(MAGIC, self._sequence, until_ns, term, self._boot_id, 0)
        # The other slot than the newest one's: torn by the death of this process, it would leave that one standing.
        start = self._sequence % SLOTS * SLOT_BYTES
        self._map[start : start + SLOT_BYTES] = fields + SUM.pack(fnv1a(fields))

    def _read(self, slot: int) -> tuple[int, int, bytes]:
        """Sequence, the permit's end and boot id of a slot; zero of all where it is torn or was never written."""
        raw = self._map[slot * SLOT_BYTES : (slot + 1) * SLOT_BYTES]
        fields, checksum = raw[: SLOT.size], raw[SLOT.size :]
        if checksum != SUM.pack(fnv1a(fields)):
            return 0, 0, b""
        _, sequence, until_ns, _, boot_id, _ = SLOT.unpack(fields)
        return sequence, until_ns, boot_id


def fnv1a(data: bytes) -> int:
    """The 64-bit FNV-1a hash (draft-eastlake-fnv)."""
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 % 2**64
    return value


def _open(path: Path) -> int:
    """The file's descriptor; made beside its place and renamed, so that no reader ever finds it short."""
    with contextlib.suppress(FileNotFoundError):
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        found = os.fstat(descriptor)
        if found.st_uid != os.geteuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            os.close(descriptor)
            raise PermissionError(
                f"{path} belongs to user {found.st_uid} and has mode {found.st_mode & 0o777:o}; it may decide about "
                f"commits only if nobody but user {os.geteuid()} can write to it: rm {path}"
            )
        if stat.S_ISREG(found.st_mode) and found.st_size == PAGE_BYTES:
            return descriptor
        os.close(descriptor)
    new = path.with_name(f"{path.name}.{os.getpid()}.new")
    with contextlib.suppress(FileNotFoundError):
        new.unlink()
    descriptor = os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.fchmod(descriptor, 0o644)
        os.write(descriptor, bytes(PAGE_BYTES))
        os.rename(new, path)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
