"""What is looked at all the time beside the writers: roles, the leader key, and the permits that PostgreSQL reads."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from haagent.guard.page import PAGE_BYTES, SLOT, SLOT_BYTES, SLOTS, SUM, fnv1a
from tests.chaos.trial import Trial
from tests.real.node import Node
from tests.real.waiting import now, wait_until

ROLES_EVERY_S = 0.25
PERMITS_EVERY_S = 0.02
RESTARTED_S = 30.0
"""A round may begin while the last one's faults still make a node restart its PostgreSQL."""


@dataclass(frozen=True, slots=True)
class Role:
    """What an agent answered to GET /primary, asked on its own host; status 0: nothing."""

    node: str
    asked_at: float
    answered_at: float
    status: int
    role: str = ""
    timeline: int | None = None


@dataclass(frozen=True, slots=True)
class Permit:
    """Until when a node's page let it commit, from an instant on."""

    node: str
    seen_at: float
    until: float


@dataclass(frozen=True, slots=True)
class Leader:
    """Whom the leader key named; empty: nobody."""

    seen_at: float
    name: str


@dataclass
class Sightings:
    """All of one round."""

    roles: list[Role] = field(default_factory=list)
    permits: list[Permit] = field(default_factory=list)
    leaders: list[Leader] = field(default_factory=list)


class Observer:
    """Looks from several threads, so that what hangs in one place is not missed in another; a context manager."""

    def __init__(self, trial: Trial) -> None:
        self._trial = trial
        self._over = threading.Event()
        self.seen = Sightings()
        self._threads = [self._thread(ROLES_EVERY_S, self._look_at, node) for node in trial.cluster.nodes]
        self._threads.append(self._thread(ROLES_EVERY_S, self._look_at_key))
        self._pages = _pages(trial) if trial.fence else {}
        if self._pages:
            self._threads.append(self._thread(PERMITS_EVERY_S, self._look_at_pages))

    def __enter__(self) -> Sightings:
        for thread in self._threads:
            thread.start()
        return self.seen

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(15)

    def _thread(self, every_s: float, look: Callable[..., None], *arguments: object) -> threading.Thread:
        def run() -> None:
            while not self._over.wait(every_s):
                look(*arguments)

        return threading.Thread(target=run, name=f"observer {look.__name__}", daemon=True)

    def _look_at(self, node: Node) -> None:
        asked_at = now()
        reply = node.rest("GET", "/primary", timeout_s=1)
        facts: dict[str, Any] = {}
        with contextlib.suppress(ValueError):
            facts = reply.json if reply.status else {}
        self.seen.roles.append(
            Role(node.name, asked_at, now(), reply.status, str(facts.get("role", "")), facts.get("timeline"))
        )

    def _look_at_key(self) -> None:
        with contextlib.suppress(OSError):
            key = self._trial.cluster.key("leader")
            self.seen.leaders.append(Leader(now(), key.value if key else ""))

    def _look_at_pages(self) -> None:
        for name, page in self._pages.items():
            at = now()  # before the look: what is in force after this instant may be longer, and is seen next time
            until = read_page(page)
            if until is not None:
                self.seen.permits.append(Permit(name, at, until))


def _pages(trial: Trial) -> dict[str, Path]:
    def page(node: Node) -> Path:
        asked = wait_until(lambda: node.sql("SELECT current_setting('haagent_fence.page')"), "PostgreSQL", RESTARTED_S)
        return Path(str(asked[0][0]))

    return {node.name: page(node) for node in trial.cluster.nodes}


def read_page(page: Path) -> float | None:
    """Until when it lets PostgreSQL commit; seconds of CLOCK_BOOTTIME; None while it cannot be read."""
    try:
        raw = page.read_bytes()[:PAGE_BYTES]
    except OSError:
        return None
    slots = [raw[number * SLOT_BYTES : (number + 1) * SLOT_BYTES] for number in range(SLOTS)]
    whole = [
        SLOT.unpack(slot[: SLOT.size]) for slot in slots if slot[SLOT.size :] == SUM.pack(fnv1a(slot[: SLOT.size]))
    ]
    if not whole:
        return None
    until_ns: int = max(whole, key=lambda slot: int(slot[1]))[2]
    return until_ns / 1e9
