"""The keeper renews this node's lease, and with it the leader key; it judges nothing.

The loop lets it renew until ``hold_until``; a loop that hangs lets the lease lapse. A renewal counts from when it was
sent, and only once the guarded write on the leader key was confirmed. The lease path touches no file, runs no SQL,
resolves no names and writes no log that can block.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from haagent.agent.lasting import Lasting
from haagent.agent.latency import Latency
from haagent.core.facts import Grounds, LeaseFacts, Timing
from haagent.core.lease import proven
from haagent.core.terms import Instant, LeaseId, Term, later
from haagent.ports import Clock, Dcs, Fence, Guard, PortError, Refused, Unknown, Watchdog

log = logging.getLogger(__name__)

RETRY_S = 0.2
SLOW_PART = 0.1
"""A renewal that takes more than this part of the time until PostgreSQL must be stopped is worth a word."""
UNHEARD = "it was given up, and whether etcd took it is unknown"
FOREVER = Instant(float("inf"))


class KeeperPorts(Protocol):
    """What of the ports the keeper uses."""

    @property
    def dcs(self) -> Dcs: ...
    @property
    def guard(self) -> Guard: ...
    @property
    def fence(self) -> Fence: ...
    @property
    def watchdog(self) -> Watchdog: ...
    @property
    def clock(self) -> Clock: ...


class Keeper:
    """Holds the one lease of this node."""

    def __init__(self, name: str, ports: KeeperPorts, wake: Callable[[str], None], lost: Callable[[], None]) -> None:
        self._name, self._wake, self._lost = name, wake, lost
        self._dcs, self._guard, self._fence, self._clock = ports.dcs, ports.guard, ports.fence, ports.clock
        self._watchdog = ports.watchdog
        self._facts = LeaseFacts()
        self._timing: Timing | None = None
        self._granted_ttl = 0.0
        self._told_until = Instant(0.0)
        """The latest permit that anybody was told."""
        self._next_lease: tuple[LeaseId, float] | None = None
        self._hold_until = Instant(0.0)
        self._poked = asyncio.Event()
        self._next_at = Instant(0.0)
        self._renewing = asyncio.Lock()
        self.renewals = self.failures = 0
        self.latency = Latency()
        self._failing = Lasting(log, ports.clock, "the lease is renewed again")
        self._slow = Lasting(log, ports.clock, "the lease is renewed in good time again")
        self.unrenewed = asyncio.Event()
        """The last renewal of the leader key was not confirmed, and nothing says that the key is lost."""
        self._open_ended = False
        """While the cluster is paused the permit has no end: PostgreSQL is the operator's."""
        self._read_only = False
        """The commit fence is told of no permit: the cluster follows a primary elsewhere."""

    def facts(self) -> LeaseFacts:
        """The lease as proven so far; an answer on its way counts for nothing."""
        if self._open_ended and self._facts.term is not None and self._facts.lost is None:
            return replace(self._facts, permit_until=FOREVER, demote_at=FOREVER)
        return self._facts

    @property
    def may_extend(self) -> bool:
        """Whether the loop lets this lease go on, and its permit has an end."""
        return self._clock.now() < self._hold_until and not self._open_ended

    def hold(self, until: Instant, timing: Timing) -> None:
        """Let the keeper renew until an instant, with these deadlines."""
        first = self._timing is None
        self._hold_until, self._timing = until, timing
        if first:
            self._poked.set()

    async def run(self) -> None:
        """Renew for ever."""
        while True:
            await self._wait()
            if self._timing is None or self._clock.now() >= self._hold_until:
                self._next_at = later(self._clock.now(), RETRY_S)
                continue
            async with self._renewing:
                await self._renew_once()

    async def _wait(self) -> None:
        delay = self._next_at - self._clock.now()
        self._poked.clear()
        if delay > 0:
            try:
                async with asyncio.timeout(delay):
                    await self._poked.wait()
            except TimeoutError:
                pass

    async def _renew_once(self) -> None:
        timing = self._deadlines()
        sent_at = self._clock.now()
        self._next_at = later(sent_at, timing.renew_every)
        try:
            if self._facts.lease_id is None:
                await self._open()
            elif self._facts.term is not None and self._facts.lost is None:
                await self._renew_leader_key(sent_at, timing)
            elif self._facts.term is None and self._granted_ttl != timing.ttl:
                await self._open()
            elif self._facts.term is None:
                self._next_at = later(sent_at, timing.ttl / 3)
                await self._keep_alive(self._facts.lease_id, timing)
        except PortError as error:
            self.failures += 1
            self._next_at = later(self._clock.now(), RETRY_S)
            self._failing.goes_on(f"the lease is not renewed: {error}{self._consequence()}")
            if self._facts.term is not None and self._facts.lost is None:
                self.unrenewed.set()
        else:
            self._failing.is_over()

    async def _renew_leader_key(self, sent_at: Instant, timing: Timing) -> None:
        term, lease = self._facts.term, self._facts.lease_id
        if term is None or lease is None:
            return
        fresh, ttl = await self._lease_for(lease, sent_at, timing)
        try:
            await self._dcs.renew(self._name, term, fresh, timing.renew_timeout, None if fresh == lease else lease)
        except Refused as why:
            self._facts = replace(self._facts, lost=str(why))
            self.unrenewed.clear()
            # A permit that rests on promises outlives the key: nobody takes it before the permit ends.
            if not self._open_ended and self._facts.vouched_until is None:
                self._fence.refuse(term)
            self._lost()
            return
        self._next_lease, self._granted_ttl = None, ttl
        self.unrenewed.clear()
        self.renewals += 1
        took_s = self._clock.now() - sent_at
        self.latency.took(took_s)
        self._weigh(took_s, timing)
        if self._facts.term == term and self._facts.lost is None:
            self._prove(fresh, term, sent_at, timing)

    def _consequence(self) -> str:
        demote_at = self._facts.demote_at
        if demote_at is None or self._facts.lost is not None or self._open_ended:
            return ""
        left = demote_at - self._clock.now()
        return f"; PostgreSQL is stopped in {left:.1f} s unless a renewal succeeds" if left > 0 else ""

    def _weigh(self, took_s: float, timing: Timing) -> None:
        """Say so when renewals take long, as they do before they fail."""
        if took_s <= SLOW_PART * timing.demote_after:
            self._slow.is_over()
            return
        self._slow.goes_on(
            f"renewing the leader key took {took_s:.2f} s, and PostgreSQL is stopped when none succeeds for "
            f"{timing.demote_after:.1f} s: the network to etcd or etcd's disk is slow; see `etcdctl endpoint status "
            f"--cluster -w table` and etcd's metric etcd_disk_wal_fsync_duration_seconds"
        )

    async def _lease_for(self, present: LeaseId, sent_at: Instant, timing: Timing) -> tuple[LeaseId, float]:
        """The lease to renew under, and its ttl: a new one when the ttl was changed.

        Not to a shorter one while a permit of the longer one may still be enforced: standbys count by what the key's
        lease was granted.
        """
        outlived = later(sent_at, timing.fence_after) >= self._told_until
        if self._granted_ttl == timing.ttl or (timing.ttl < self._granted_ttl and not outlived):
            return present, self._granted_ttl
        if self._next_lease is None or self._next_lease[1] != timing.ttl:
            self._next_lease = (await self._dcs.open_lease(timing.ttl, timing.renew_timeout), timing.ttl)
        return self._next_lease

    def _prove(self, lease: LeaseId, term: Term, sent_at: Instant, timing: Timing) -> None:
        if self._facts.term == term and self._facts.renewed_at is not None and sent_at <= self._facts.renewed_at:
            return
        shorter_by = max(0.0, timing.ttl - self._granted_ttl)
        vouched = self._facts.vouched_until
        self._facts = replace(proven(lease, term, later(sent_at, -shorter_by), timing), renewed_at=sent_at)
        if vouched is not None and self._facts.permit_until is not None and vouched > self._facts.permit_until:
            self._facts = replace(self._facts, vouched_until=vouched)
        self._told_until = max(self._told_until, self._facts.permit_until or self._told_until)
        self._show_fence()
        guard = self._guard.facts()
        if self._facts.permit_until is not None and guard.armed and guard.term == term:
            self._guard.extend(term, self._facts.permit_until)
        ttl = timing.ttl - shorter_by
        self._watchdog.feed(later(sent_at, ttl), ttl)

    async def _keep_alive(self, lease: LeaseId, timing: Timing) -> None:
        try:
            await self._dcs.keepalive(lease, timing.renew_timeout)
        except Refused:
            self._facts = LeaseFacts()
            self._next_at = self._clock.now()

    async def _open(self) -> LeaseId:
        timing = self._deadlines()
        lease = await self._dcs.open_lease(timing.ttl, timing.renew_timeout)
        self._granted_ttl = timing.ttl
        # What else is known stays: a term that rests on promises is over only when the next one is won.
        self._facts = replace(self._facts, lease_id=lease)
        self._wake("lease opened")
        return lease

    def _deadlines(self) -> Timing:
        if self._timing is None:
            raise AssertionError("the loop has not ticked yet")
        return self._timing

    def _show_fence(self) -> None:
        facts = self.facts()
        if self._read_only or facts.lost is not None:
            return
        if facts.term is not None and facts.permit_until is not None:
            self._fence.permit(facts.term, facts.permit_until)

    def vouched(self, term: Term, sent_at: Instant) -> bool:
        """Every other member consented, asked at that instant: as good as a renewal; whether it extended the permit."""
        facts = self._facts
        if self._timing is None or facts.lease_id is None or facts.term != term or facts.lost is not None:
            return False
        if not self.may_extend or (facts.renewed_at is not None and sent_at <= facts.renewed_at):
            return False
        self._prove(facts.lease_id, term, sent_at, self._timing)
        self._facts = replace(self._facts, vouched_until=self._facts.permit_until)
        return True

    # --- on the loop's order ---

    def doubt(self) -> None:
        """etcd said that the lease is dead: ask it now, not when the next renewal is due."""
        self._next_at = self._clock.now()
        self._poked.set()

    def open_end(self, paused: bool) -> None:
        """Pause begins or ends: the permit then has no end, or the one that was last proven."""
        if paused != self._open_ended:
            self._open_ended = paused
            self._show_fence()
        if not paused and self._fence.without_end():
            self._end_open_permit()

    def _end_open_permit(self) -> None:
        """A pause is over, and with it the permit of a term that this node, or its previous agent, held in it."""
        facts = self._facts
        if facts.vouched_until is not None and facts.term is not None:
            self._fence.permit(facts.term, facts.vouched_until)
        elif facts.term is None or facts.lost is not None:
            self._fence.refuse(facts.term or Term(0))

    def read_only(self, follows: bool) -> None:
        """Whether nothing here may be committed, whoever leads; when that ends the fence is told of the permit."""
        if follows != self._read_only:
            self._read_only = follows
            self._show_fence()

    async def campaign(self, grounds: Grounds | None = None) -> Term:
        """Try for the leader key; the permit counts from the keepalive sent before. Refused when somebody holds it.

        ``grounds``: the revisions of the keys by which this node may lead.
        """
        timing = self._deadlines()
        async with self._renewing:
            sent_at = self._clock.now()
            lease = self._facts.lease_id
            if lease is not None:
                try:
                    await self._dcs.keepalive(lease, timing.renew_timeout)
                except Refused:
                    lease = None
            if lease is None:
                sent_at = self._clock.now()
                lease = await self._open()
            term = await self._dcs.campaign(self._name, lease, timing.renew_timeout, grounds)
            self.unrenewed.clear()
            self._prove(lease, term, sent_at, timing)
            self._next_at = later(sent_at, timing.renew_every)
            self._poked.set()
            return term

    async def resume(self, term: Term, lease: LeaseId) -> None:
        """Go on with the lease of this node's previous agent, once a renewal proves it."""
        timing = self._deadlines()
        async with self._renewing:
            sent_at = self._clock.now()
            await self._dcs.renew(self._name, term, lease, timing.renew_timeout)
            self._granted_ttl = await self._dcs.granted_ttl(lease, timing.renew_timeout)
            self._told_until = later(sent_at, self._granted_ttl)
            self._prove(lease, term, sent_at, timing)
            self._next_at = later(sent_at, timing.renew_every)
            self._poked.set()

    async def resign(self, term: Term) -> None:
        """Give the leader key up; afterwards this node holds no term."""
        timing = self._deadlines()
        async with self._renewing:
            if self._facts.term != term:
                return
            lost = self._facts.lost is not None and self._facts.lost != UNHEARD
            if not self._open_ended:
                self._fence.refuse(term)
            try:
                if not lost:
                    await self._dcs.resign(term, timing.renew_timeout)
            except Refused:
                lost = True
            except Unknown:
                self._facts = replace(self._facts, lost=UNHEARD)
                raise
            self._facts = LeaseFacts(lease_id=None if lost else self._facts.lease_id)
            self._next_at = self._clock.now()
            self._poked.set()
