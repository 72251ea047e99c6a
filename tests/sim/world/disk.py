"""The disk under a data directory, and what other hands than the agent's do to what lies on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from haagent.core.facts import DataKind, DiskFacts
from haagent.core.terms import Instant
from tests.sim.world.wal import Data

if TYPE_CHECKING:
    from tests.sim.world.hosts import Host

BUILT = (DataKind.VALID, DataKind.UNFINISHED, DataKind.UNREADABLE)
"""What is in the way of a mount."""


class Disk:
    """How writable and readable it is; the counts nest."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.full = 0
        self.read_only = 0
        self.hung = 0
        self._away: Data | None = None
        self._refused: Instant | None = None
        self._waiting: Instant | None = None

    def facts(self, now: Instant) -> DiskFacts:
        """What the agent's small writes tell."""
        self._refused = (self._refused or now) if self.read_only else None
        self._waiting = (self._waiting or now) if self.hung else None
        why = "read-only file system" if self.read_only else ""
        return DiskFacts("0 bytes are free" if self.full else "", self._refused, self._waiting, why)

    @property
    def takes_writes(self) -> bool:
        return not self.full and not self.read_only

    def unmount(self, *, known: bool) -> None:
        """The data directory is an empty mount point from now on; a running server has its files open still.

        ``known``: the agent has seen that something was mounted there.
        """
        if self._away is None:
            kind = DataKind.UNMOUNTED if known else DataKind.ABSENT
            self._away, self.host.data = self.host.data, Data(kind)

    def mount(self) -> None:
        """It is there again, unless something has been built in its place meanwhile."""
        away, self._away = self._away, None
        if away is None:
            return
        if self.host.data.kind in BUILT:
            self.host.aside.append(away)
        else:
            self.host.data = away

    def remove(self) -> None:
        """Somebody deletes the data directory."""
        self.host.world.copies_destroyed = True
        self.host.data = Data()

    def spoil(self) -> Data | None:
        """The control file can't be read any more; what was spoilt, None when there was nothing."""
        data = self._away or self.host.data
        if data.kind is not DataKind.VALID:
            return None
        data.kind = DataKind.UNREADABLE
        return data

    def mend(self, data: Data) -> None:
        """It can be read after all."""
        if data.kind is DataKind.UNREADABLE:
            data.kind = DataKind.VALID
