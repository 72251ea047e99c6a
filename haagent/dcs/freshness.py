"""Whether an answer of etcd can be true: revision and raft term never go back.

A member that rejoined with old data may serve it; such an answer is ignored. When nothing else was heard for
``REBUILT_AFTER_S`` the store itself was set back (restored from a snapshot), and is taken for what it is. One that was
set back may catch up sooner, and then has other keys under the same revisions.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from haagent.core.terms import Instant
from haagent.dcs.kv import RangeReply
from haagent.ports import Clock

log = logging.getLogger(__name__)

REBUILT_AFTER_S = 30.0
DOUBTFUL_S = 1.0
"""After answers from the past for so long, a true one may be of a store that was set back and has caught up."""


@dataclass(frozen=True, slots=True)
class Floor:
    """The latest revision and raft term heard of."""

    revision: int = 0
    raft_term: int = 0


class Freshness:
    """Keeps the floor, and judges answers by the floor that was known when the question was asked."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.floor = Floor()
        self._stale_since: Instant | None = None
        self._rebuilt = False

    def learn(self, revision: int, raft_term: int) -> None:
        """An answer that cannot be stale showed these."""
        self.floor = Floor(max(self.floor.revision, revision), max(self.floor.raft_term, raft_term))

    def judge(self, reply: RangeReply, floor: Floor) -> str | None:
        """None when the answer can be true, else why not."""
        if reply.revision >= floor.revision and reply.raft_term >= floor.raft_term:
            since, self._stale_since = self._stale_since, None
            self._rebuilt = self._rebuilt or (since is not None and self._clock.now() - since >= DOUBTFUL_S)
            self.learn(reply.revision, reply.raft_term)
            return None
        now = self._clock.now()
        if self._stale_since is None:
            self._stale_since = now
        went_back = (
            f"etcd's answer is older than an earlier one: revision {reply.revision} after {floor.revision}, "
            f"raft term {reply.raft_term} after {floor.raft_term}"
        )
        if now - self._stale_since < REBUILT_AFTER_S:
            return f"{went_back}; the answer is ignored, another endpoint is asked"
        log.error(
            "%s; no other answer came for %.0f s: etcd was set back, which is now believed",
            went_back,
            now - self._stale_since,
        )
        self.floor, self._stale_since, self._rebuilt = Floor(reply.revision, reply.raft_term), None, True
        return None

    def rebuilt(self) -> bool:
        """Whether the store was set back, or may have been, since this was last asked."""
        rebuilt, self._rebuilt = self._rebuilt, False
        return rebuilt
