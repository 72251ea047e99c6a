"""What replication hangs on: a stream from one server to another, commits that wait for it, and for whom they wait."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from haagent.core.terms import Lsn

if TYPE_CHECKING:
    from tests.sim.world.server import Server


@dataclass(eq=False, slots=True)
class Stream:
    """A walsender on the upstream and the walreceiver it feeds, over one TCP connection."""

    standby: Server
    upstream: Server
    name: str
    sent: Lsn
    flushed: Lsn
    open: bool = True
    busy: bool = False
    stalled_at: float | None = None


@dataclass(eq=False, slots=True)
class Waiting:
    """A commit that waits for synchronous standbys."""

    lsn: Lsn
    done: asyncio.Future[None]


_SYNC = re.compile(r"^\s*(?:(ANY|FIRST)?\s*(\d+)\s*\((.*)\)|(.*))\s*$", re.IGNORECASE)


@lru_cache(maxsize=256)
def parse_sync(names: str) -> tuple[bool, int, tuple[str, ...]]:
    """Read synchronous_standby_names: whether any will do, how many, which."""
    match = _SYNC.match(names)
    assert match is not None
    method, number, listed, bare = match.groups()
    text = listed if listed is not None else bare
    found = tuple(name.strip().strip('"') for name in text.split(",") if name.strip())
    return (method or "").upper() == "ANY", int(number or 1), found
