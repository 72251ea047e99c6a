"""The ``Dcs`` over an etcd cluster: what each question and each write means in keys, leases and transactions.

Laws: every write that matters is a transaction whose failure branch reads back what tells its own success, so that a
copy of it that was carried out unheard does no harm; an answer older than one already seen is none.
"""

from __future__ import annotations

import asyncio
import logging
import math
import uuid
from collections.abc import Callable, Mapping, Sequence

from haagent.core.facts import Document, Grounds, Heartbeat, HistoryLine, Member, Snapshot
from haagent.core.terms import LeaseId, Lsn, Revision, SystemId, Term, Timeline
from haagent.dcs import keys
from haagent.dcs.freshness import Freshness
from haagent.dcs.kv import Batch, Compacted, Compare, Delete, KeyValue, Kv, Put, Target, TxnReply, Write
from haagent.dcs.sightings import Sightings
from haagent.ports import Clock, PortError, Refused, Unknown, Unreachable

log = logging.getLogger(__name__)

SILENCE_LEAST_S, SILENCE_MOST_S = 1.0, 5.0
"""How long a watch may be silent: half of the leader's ttl, who renews several times within it, between these two."""
READ_TIMEOUT_S = 3.0
"""For what is asked in the background."""
AGAIN_LEAST_S, AGAIN_MOST_S = 0.1, 1.0
"""Pauses before a broken watch is begun again."""
LOOK_AGAIN_S = 0.05
"""Pause after a stale answer, before another endpoint is asked."""


def _some_mark() -> str:
    return uuid.uuid4().hex


class EtcdDcs:
    """One cluster's keys below ``prefix`` (``/service/SCOPE/``).

    ``mark`` gives a text that nobody else has, by which this node recognises what it created.
    """

    def __init__(self, kv: Kv, prefix: str, clock: Clock, mark: Callable[[], str] = _some_mark) -> None:
        self._kv = kv
        self._prefix = prefix.rstrip("/") + "/"
        self._clock = clock
        self._mark = mark
        self._fresh = Freshness(clock)
        self._sightings = Sightings(self._prefix, clock, self._ask_ttl)
        self._asking: dict[LeaseId, asyncio.Task[None]] = {}
        self._watched_to: int | None = None
        self._broken_config: int | None = None

    # --- reading ---

    async def snapshot(self, timeout: float) -> Snapshot:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        stale: str | None = None
        while True:
            floor = self._fresh.floor
            try:
                reply = await self._kv.range(self._prefix, max(0.0, deadline - loop.time()), prefix=True)
            except Unreachable as error:
                raise Unreachable(stale or str(error)) from error
            stale = self._fresh.judge(reply, floor)
            if stale is None:
                break
            self._kv.distrust()
            if loop.time() + LOOK_AGAIN_S >= deadline:
                raise Unreachable(stale)
            await asyncio.sleep(LOOK_AGAIN_S)
        if self._fresh.rebuilt():
            self._sightings.forget()
            self._watched_to = reply.revision
        self._sightings.read(reply)
        if self._watched_to is None:
            self._watched_to = reply.revision
        snapshot = keys.snapshot(reply, self._prefix)
        self._complain_of_config(snapshot, reply.kvs)
        return snapshot

    def heartbeat(self) -> Heartbeat | None:
        return self._sightings.heartbeat()

    async def granted_ttl(self, lease: LeaseId, timeout: float) -> float:
        return await self._kv.granted_ttl(lease, timeout)

    # --- the lease and the leader key ---

    async def open_lease(self, ttl: float, timeout: float) -> LeaseId:
        return LeaseId((await self._kv.grant(math.ceil(ttl), timeout)).lease)

    async def keepalive(self, lease: LeaseId, timeout: float) -> None:
        await self._kv.keepalive(lease, timeout)

    async def campaign(self, name: str, lease: LeaseId, timeout: float, grounds: Grounds | None = None) -> Term:
        leader, until = self._key(keys.LEADER), _now() + timeout
        value = name.encode()
        when = [_absent(leader)]
        if grounds is not None:
            read = {keys.FAILSAFE: grounds.failsafe, keys.SYNC: grounds.sync, keys.CLAIMED: grounds.claimed}
            when += [_as_it_was(self._key(key), revision or None) for key, revision in read.items()]
        reply = await self._txn(when, [Put(leader, value, lease)], [leader], timeout)
        if reply.succeeded:
            return Term(reply.revision)
        held = reply.key(leader)
        if held is None and grounds is not None:
            raise Refused(
                f"the leader key is free, but another has led, or who may lead has changed, since this was decided "
                f"(failsafe revision {grounds.failsafe}, sync {grounds.sync}, claimed {grounds.claimed})"
            )
        if held is not None and held.value == value and held.lease == lease:
            term = Term(held.create_revision)
            await self._rewrite(name, term, lease, lease, until - _now())
            return term
        raise Refused(f"the leader key was not to be had: {_holder(held)}")

    async def renew(
        self, name: str, term: Term, lease: LeaseId, timeout: float, moved_from: LeaseId | None = None
    ) -> Revision:
        proof = asyncio.ensure_future(self._rewrite(name, term, lease, moved_from or lease, timeout))
        alive = asyncio.ensure_future(self._kv.keepalive(lease, timeout))
        failed: PortError | None = None
        try:
            for ended in asyncio.as_completed((proof, alive)):
                try:
                    await ended
                except Refused:
                    raise
                except PortError as error:
                    failed = error if failed is None or isinstance(error, Unknown) else failed
        finally:
            _abandon(proof)
            _abandon(alive)
        if failed is not None:
            raise failed
        return proof.result()

    async def _rewrite(self, name: str, term: Term, lease: LeaseId, present: LeaseId, timeout: float) -> Revision:
        """Write the leader key, surely in this call: standbys count from the last write, whoever reads it and when."""
        leader, until = self._key(keys.LEADER), _now() + timeout
        ours = [Compare(leader, Target.CREATE, term), Compare(leader, Target.LEASE, present)]
        reply = await self._txn(ours, [Put(leader, name.encode(), lease)], [leader], timeout)
        there = reply.key(leader)
        if reply.succeeded:
            return Revision(reply.revision)
        if lease != present and there is not None and (there.create_revision, there.lease) == (term, lease):
            return await self._rewrite(name, term, lease, lease, until - _now())
        raise Refused(f"the leader key of term {term} under lease {present:x} is lost: {_holder(there)}")

    async def resign(self, term: Term, timeout: float) -> None:
        leader = self._key(keys.LEADER)
        note = Put(self._key(keys.RELEASED), str(int(term)).encode())
        await self._delete(Compare(leader, Target.CREATE, term), f"the leader key is not of term {term}", timeout, note)

    async def depose(self, revision: Revision, timeout: float, released: Term | None = None) -> None:
        leader = self._key(keys.LEADER)
        why = f"the leader key is not of revision {revision}"
        notes = () if released is None else (Put(self._key(keys.RELEASED), str(int(released)).encode()),)
        await self._delete(Compare(leader, Target.MOD, revision), why, timeout, *notes)

    # --- this node ---

    async def put_member(self, member: Member, lease: LeaseId, timeout: float) -> None:
        key = self._key(keys.MEMBERS + member.name)
        await self._txn([], [Put(key, keys.member_value(member), lease)], [], timeout)

    # --- bootstrap ---

    async def begin_initialize(self, timeout: float) -> Revision:
        key, beside = self._key(keys.INITIALIZE), self._key(keys.INITIALIZER)
        mark = self._mark().encode()
        reply = await self._txn([_absent(key)], [Put(key, b""), Put(beside, mark)], [key, beside], timeout)
        if reply.succeeded:
            return Revision(reply.revision)
        there, by = reply.key(key), reply.key(beside)
        if there is not None and by is not None and by.value == mark and there.mod_revision == by.mod_revision:
            return Revision(there.mod_revision)
        raise Refused(_initialized(there))

    async def finish_initialize(self, system_id: SystemId, begun: Revision | None, timeout: float) -> None:
        key = self._key(keys.INITIALIZE)
        value = system_id.encode()
        writes: list[Write] = [Put(key, value), Delete(self._key(keys.INITIALIZER))]
        reply = await self._txn([_as_it_was(key, begun)], writes, [key], timeout)
        there = reply.key(key)
        if not reply.succeeded and (there is None or there.value != value):
            raise _lost_race(reply, f"{_initialized(there)}; this node's system identifier is {system_id}")

    async def abandon_initialize(self, begun: Revision, timeout: float) -> None:
        key = self._key(keys.INITIALIZE)
        why = f"initialize is not as it was at revision {begun}"
        await self._delete(Compare(key, Target.MOD, begun), why, timeout, Delete(self._key(keys.INITIALIZER)))

    # --- what operators ask ---

    async def put_config(self, document: Document, expected: Revision | None, timeout: float) -> None:
        await self._replace(self._key(keys.CONFIG), keys.compact(document), expected, timeout)

    async def remove_all(self, timeout: float) -> int:
        """Delete every key of this cluster in one transaction; how many there were."""
        found = await self._kv.range(self._prefix, timeout, prefix=True)
        await self._txn([], [Delete(kv.key) for kv in found.kvs], [], timeout)
        return len(found.kvs)

    async def put_failover(
        self,
        leader: str | None,
        candidate: str | None,
        scheduled_at: str | None,
        expected: Revision | None,
        timeout: float,
    ) -> None:
        value = keys.failover_value(leader, candidate, scheduled_at)
        await self._replace(self._key(keys.FAILOVER), value, expected, timeout)

    # --- what a leader publishes ---

    async def put_status(
        self, optime: Lsn, slots: Mapping[str, Lsn], retain: Sequence[str], term: Term, timeout: float
    ) -> None:
        await self._publish(keys.STATUS, keys.status_value(optime, slots, retain), term, timeout)

    async def put_history(self, lines: Sequence[HistoryLine], term: Term, timeout: float) -> None:
        await self._publish(keys.HISTORY, keys.history_value(lines), term, timeout)

    async def claim_timeline(
        self, timeline: Timeline, expected: Revision | None, term: Term, timeout: float
    ) -> Revision:
        return await self._replace(self._key(keys.CLAIMED), str(int(timeline)).encode(), expected, timeout, term)

    async def put_failsafe(
        self, members: Mapping[str, str] | None, expected: Revision, term: Term, timeout: float
    ) -> None:
        key = self._key(keys.FAILSAFE)
        if members is None:
            await self._drop(key, expected, term, timeout)
        else:
            await self._replace(key, keys.compact(dict(members)), expected or None, timeout, term)

    async def put_sync(
        self,
        leader: str | None,
        quorum: int,
        standbys: Sequence[str],
        expected: Revision | None,
        term: Term,
        timeout: float,
    ) -> Revision:
        value = keys.sync_value(leader, quorum, standbys)
        return await self._replace(self._key(keys.SYNC), value, expected, timeout, term)

    async def drop_sync(self, expected: Revision, term: Term, timeout: float) -> None:
        await self._drop(self._key(keys.SYNC), expected, term, timeout)

    async def _drop(self, key: str, expected: Revision, term: Term, timeout: float) -> None:
        leader = self._key(keys.LEADER)
        when = [Compare(leader, Target.CREATE, term), Compare(key, Target.MOD, expected)]
        reply = await self._txn(when, [Delete(key)], [leader, key], timeout)
        if reply.succeeded or (reply.repeated and reply.key(key) is None):
            return
        raise _lost_race(reply, self._why_not(reply, key, expected, term))

    # --- watching ---

    async def watch(self, wake: Callable[[str], None]) -> None:
        loop = asyncio.get_running_loop()
        pause = AGAIN_LEAST_S
        while True:
            begun_at = loop.time()
            try:
                await self._watch_on(wake)
            except Compacted as error:
                log.warning("the watch on %s begins anew, all keys are read again: %s", self._prefix, error)
                self._watched_to = None
                wake("the watch had to begin anew")
            except PortError as error:
                log.debug("the watch on %s is begun again: %s", self._prefix, error)
            lived = loop.time() - begun_at > AGAIN_MOST_S
            pause = AGAIN_LEAST_S if lived else min(pause * 2, AGAIN_MOST_S)
            await asyncio.sleep(pause)

    async def _watch_on(self, wake: Callable[[str], None]) -> None:
        if self._watched_to is None:
            reply = await self._kv.range(self._prefix, READ_TIMEOUT_S, prefix=True)
            self._sightings.read(reply)
            self._watched_to = reply.revision

        def heard(batch: Batch) -> None:
            self._watched_to = max(self._watched_to or 0, batch.revision)
            for reason in dict.fromkeys(self._sightings.changed(event) for event in batch.events):
                if reason is not None:
                    wake(reason)

        await self._kv.watch(self._prefix, self._watched_to + 1, self._silence, heard)

    def _silence(self) -> float:
        beat = self._sightings.heartbeat()
        if beat is None or beat.granted_ttl is None or int(beat.revision) == int(beat.term):
            return SILENCE_MOST_S
        return min(SILENCE_MOST_S, max(SILENCE_LEAST_S, beat.granted_ttl / 2))

    async def use(self, kv: Kv) -> None:
        """Go on over another client; what the old one has under way may still be answered for a moment."""
        old, self._kv = self._kv, kv
        try:
            await asyncio.sleep(READ_TIMEOUT_S)
        finally:
            await old.close()

    async def close(self) -> None:
        asking = list(self._asking.values())
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
        await self._kv.close()

    # --- inside ---

    def _key(self, name: str) -> str:
        return self._prefix + name

    async def _txn(
        self, when: Sequence[Compare], then: Sequence[Write], read_back: Sequence[str], timeout: float
    ) -> TxnReply:
        reply = await self._kv.txn(when, then, read_back, timeout)
        self._fresh.learn(reply.revision, reply.raft_term)
        return reply

    async def _delete(self, when: Compare, why_not: str, timeout: float, *also: Write) -> None:
        reply = await self._txn([when], [Delete(when.key), *also], [when.key], timeout)
        there = reply.key(when.key)
        if reply.succeeded or (reply.repeated and there is None):
            return
        raise Refused(f"{why_not}: {_holder(there) if when.key == self._key(keys.LEADER) else _initialized(there)}")

    async def _publish(self, name: str, value: bytes, term: Term, timeout: float) -> None:
        leader = self._key(keys.LEADER)
        when = [Compare(leader, Target.CREATE, term)]
        reply = await self._txn(when, [Put(self._key(name), value)], [leader], timeout)
        if not reply.succeeded:
            raise _lost_race(reply, f"{name} is for the leader of term {term} to write: {_holder(reply.key(leader))}")

    async def _replace(
        self, key: str, value: bytes, expected: Revision | None, timeout: float, term: Term | None = None
    ) -> Revision:
        leader = self._key(keys.LEADER)
        when = [_as_it_was(key, expected)]
        if term is not None:
            when.append(Compare(leader, Target.CREATE, term))
        reply = await self._txn(when, [Put(key, value)], [key, leader], timeout)
        if reply.succeeded:
            return Revision(reply.revision)
        there = reply.key(key)
        if reply.repeated and there is not None and there.value == value and there.mod_revision != (expected or 0):
            return Revision(there.mod_revision)
        raise _lost_race(reply, self._why_not(reply, key, expected, term))

    def _why_not(self, reply: TxnReply, key: str, expected: Revision | None, term: Term | None) -> str:
        leader = reply.key(self._key(keys.LEADER))
        if term is not None and (leader is None or leader.create_revision != term):
            return f"{key} is for the leader of term {term} to write: {_holder(leader)}"
        there = reply.key(key)
        now = "it is gone" if there is None else f"it is of revision {there.mod_revision} now"
        return f"{key} was changed by somebody else: expected {_revision(expected)}, {now}"

    def _ask_ttl(self, lease: LeaseId) -> None:
        if lease not in self._asking:
            task = asyncio.get_running_loop().create_task(self._learn_ttl(lease))
            self._asking[lease] = task
            task.add_done_callback(lambda _: self._asking.pop(lease, None))

    async def _learn_ttl(self, lease: LeaseId) -> None:
        try:
            self._sightings.granted(lease, await self._kv.granted_ttl(lease, READ_TIMEOUT_S))
        except PortError as error:
            log.debug("what etcd granted to lease %x is not known yet: %s", lease, error)

    def _complain_of_config(self, snapshot: Snapshot, kvs: Sequence[KeyValue]) -> None:
        if snapshot.config is not None:
            return
        broken = next((kv.mod_revision for kv in kvs if kv.key == self._key(keys.CONFIG)), None)
        if broken is not None and broken != self._broken_config:
            log.error("%s is no JSON object; write it anew: haagent-ctl edit-config", self._key(keys.CONFIG))
        self._broken_config = broken


def _now() -> float:
    return asyncio.get_running_loop().time()


def _absent(key: str) -> Compare:
    return Compare(key, Target.CREATE, 0)


def _as_it_was(key: str, expected: Revision | None) -> Compare:
    return _absent(key) if expected is None else Compare(key, Target.MOD, expected)


def _revision(expected: Revision | None) -> str:
    return "no such key" if expected is None else f"revision {expected}"


def _holder(kv: KeyValue | None) -> str:
    """Who holds the leader key now."""
    if kv is None:
        return "nobody holds it"
    name = keys.leader_key(kv).name
    return f"{name} holds it, term {kv.create_revision}, revision {kv.mod_revision}, lease {kv.lease:x}"


def _initialized(kv: KeyValue | None) -> str:
    if kv is None:
        return "there is no initialize key"
    text = kv.value.decode(errors="replace")
    state = f"names system identifier {text}" if text else "says that a bootstrap is under way"
    return f"initialize {state} (revision {kv.mod_revision})"


def _lost_race(reply: TxnReply, why: str) -> PortError:
    """The conditions do not hold; after an unheard copy nobody knows whether it was the first to change them."""
    return (
        Unknown(f"{why}; an earlier copy of this request may have been carried out") if reply.repeated else Refused(why)
    )


def _abandon(task: asyncio.Future[object] | asyncio.Future[Revision] | asyncio.Future[float]) -> None:
    """Nobody waits for it any more."""
    if not task.done():
        task.cancel()
    elif not task.cancelled():
        task.exception()
