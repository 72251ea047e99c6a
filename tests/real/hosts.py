"""A host: an address, a way to start processes there and to know all that run there."""

from __future__ import annotations

import contextlib
import os
import pwd
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tests.real.processes import descendants, every_pid

MARK = "HAAGENT_TRIAL_HOST"
"""An environment variable by which the processes of a host on loopback are told apart."""


class Host(Protocol):
    """A machine of the trial, in a network namespace or on loopback."""

    @property
    def name(self) -> str:
        """Its name, unique in the trial."""

    @property
    def address(self) -> str:
        """The IPv4 address that the others reach it by."""

    def command(self, argv: Sequence[str], user: str | None = None) -> list[str]:
        """The command that runs ``argv`` on this host, as that user."""

    def environment(self) -> dict[str, str]:
        """What each process of this host has in its environment."""

    def inside(self) -> contextlib.AbstractContextManager[None]:
        """Let the present thread open its sockets on this host."""

    def pids(self) -> set[int]:
        """Every process that runs on this host now."""

    def plug(self) -> None:
        """Connect its network cable."""

    def unplug(self) -> None:
        """Pull its network cable."""


def as_user(argv: Sequence[str], user: str | None) -> list[str]:
    """Run as another user, where there is need and right to."""
    if user is None or os.geteuid() != 0 or pwd.getpwnam(user).pw_uid == 0:
        return list(argv)
    return ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups", "--", *argv]


@dataclass
class LoopbackHost:
    """A host that shares 127.0.0.1 with the others: no rights needed, no cable to pull."""

    trial: str
    name: str
    address: str = "127.0.0.1"

    def command(self, argv: Sequence[str], user: str | None = None) -> list[str]:
        """As for every host; there is nothing to enter."""
        return as_user(argv, user)

    def environment(self) -> dict[str, str]:
        """The mark of this host."""
        return {MARK: f"{self.trial}/{self.name}"}

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """Nothing to enter."""
        yield

    def pids(self) -> set[int]:
        """All that carry the mark, and their descendants (PostgreSQL writes over its environment)."""
        mark = f"{MARK}={self.trial}/{self.name}".encode()
        marked = set()
        for pid in every_pid():
            with contextlib.suppress(OSError):
                if mark in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                    marked.add(pid)
        return descendants(marked)

    def plug(self) -> None:
        """Loopback is always there."""

    def unplug(self) -> None:
        """Loopback is always there."""
