"""The words the core counts in: LSNs, instants, terms, timelines."""

from __future__ import annotations

from typing import NewType

Instant = NewType("Instant", float)
"""Seconds on this machine's CLOCK_BOOTTIME; never sent to another machine."""

Term = NewType("Term", int)
"""The creation revision of the leader key: the fencing number of one leadership."""

Revision = NewType("Revision", int)
"""An etcd modification revision."""

LeaseId = NewType("LeaseId", int)

Timeline = NewType("Timeline", int)

SystemId = NewType("SystemId", str)
"""PostgreSQL's database system identifier, as text (it exceeds what JSON numbers carry safely)."""


WIRE_VERSION = "4.1.5"
"""The version that this agent speaks towards Patroni's tools and members; they decide by it what they may ask for."""


class Lsn(int):
    """A position in the write-ahead log, in bytes.

    Source: PostgreSQL manual, "pg_lsn Type": two hexadecimal numbers of up to 8 digits, high and low half.
    """

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Lsn:
        """Read PostgreSQL's text form, such as ``16/B374D848``; ValueError when it is not one."""
        high, slash, low = text.strip().partition("/")
        if not slash:
            raise ValueError(f"not an LSN: {text!r}")
        return cls((int(high, 16) << 32) | int(low, 16))

    def __str__(self) -> str:
        return f"{int(self) >> 32:X}/{int(self) & 0xFFFFFFFF:X}"

    def __repr__(self) -> str:
        return f"Lsn({self})"


def later(instant: Instant, seconds: float) -> Instant:
    """The instant that many seconds after another."""
    return Instant(instant + seconds)
