"""Ports in, facts out: everything that a View needs, each within its time."""

from __future__ import annotations

import asyncio
import logging

from haagent.agent.lasting import Lasting
from haagent.core.facts import ClusterFacts, LeaseFacts, PostgresFacts, Settings
from haagent.core.states import WRITABLE, State
from haagent.core.terms import Instant
from haagent.ports import Clock, Dcs, PortError, Postgres

log = logging.getLogger(__name__)

PROBE_TIMEOUT_S = 1.0
FRESH_S, IDLE_FRESH_S = 0.1, 1.0
"""A snapshot this young, with no sign of a change since, need not be read again: at any time, and while PostgreSQL is
waited for, which wakes the loop many times a second."""
LOST_PATIENCE_S = 1.0
"""So long etcd is waited for once the lease is lost: it can tell that the key only vanished, else PostgreSQL stops."""
MAY_WRITE = WRITABLE | {State.DEMOTING}
AWAITING_POSTGRES = frozenset({State.STARTING, State.PROMOTING, State.DEMOTING, State.FENCED})


class Observer:
    """Remembers what was last seen, so that silence can be dated."""

    def __init__(self, dcs: Dcs, postgres: Postgres, clock: Clock) -> None:
        self._dcs, self._postgres, self._clock = dcs, postgres, clock
        self._cluster = ClusterFacts()
        self._stale = True
        self._reading: asyncio.Timeout | None = None
        self._silence = Lasting(log, clock, "etcd answers again")

    def mark_stale(self) -> None:
        """The cluster's keys may have changed: the next look reads them anew."""
        self._stale = True

    def hurry(self) -> None:
        """The lease was lost: a read that is under way ends soon."""
        if self._reading is not None and self._reading.when() is None:
            self._reading.reschedule(asyncio.get_running_loop().time() + LOST_PATIENCE_S)

    async def look(self, settings: Settings, lease: LeaseFacts, state: State) -> tuple[PostgresFacts, ClusterFacts]:
        """PostgreSQL and the cluster, looked at side by side.

        PostgreSQL once more when etcd was waited for: an operator may have started it meanwhile.
        """
        fresh_s = IDLE_FRESH_S if state in AWAITING_POSTGRES else FRESH_S
        reading = self._look_at_cluster(fresh_s, self._patience(settings, lease, state))
        (postgres, probed_at), cluster = await asyncio.gather(self._probe(), reading)
        if self._clock.now() - probed_at > PROBE_TIMEOUT_S:
            postgres, _ = await self._probe()
        return postgres, cluster

    async def _probe(self) -> tuple[PostgresFacts, Instant]:
        return await self._postgres.probe(PROBE_TIMEOUT_S), self._clock.now()

    async def _look_at_cluster(self, fresh_s: float, patience_s: float) -> ClusterFacts:
        now, seen_at = self._clock.now(), self._cluster.seen_at
        fresh = seen_at is not None and now - seen_at < fresh_s and self._cluster.silent_since is None
        if not (fresh and not self._stale):
            self._stale = False
            await self._read(now, patience_s)
        self._cluster = ClusterFacts(
            self._cluster.snapshot,
            self._cluster.seen_at,
            self._cluster.silent_since,
            self._cluster.silent_why,
            self._dcs.heartbeat(),
        )
        return self._cluster

    async def _read(self, now: Instant, timeout: float) -> None:
        try:
            async with asyncio.timeout(None) as self._reading:
                snapshot = await self._dcs.snapshot(timeout)
        except (PortError, TimeoutError) as error:
            why = str(error) or f"the lease was lost, and it had {LOST_PATIENCE_S:g} s more for its answer"
            since = self._cluster.silent_since
            self._cluster = ClusterFacts(
                self._cluster.snapshot, self._cluster.seen_at, now if since is None else since, why
            )
            self._silence.goes_on(f"etcd does not answer: {why}")
        else:
            self._silence.is_over()
            self._cluster = ClusterFacts(snapshot, now)
        finally:
            self._reading = None

    def _patience(self, settings: Settings, lease: LeaseFacts, state: State) -> float:
        """A leader waits for the DCS no longer than until it must stop PostgreSQL."""
        if lease.lost is not None and state in MAY_WRITE and not settings.pause:
            return min(settings.retry_timeout, LOST_PATIENCE_S)
        if lease.demote_at is None:
            return settings.retry_timeout
        return min(settings.retry_timeout, max(0.2, lease.demote_at - self._clock.now()))
