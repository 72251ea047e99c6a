"""The keeper: what counts as a renewal, and from when."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field, replace
from typing import Any, cast
from unittest.mock import AsyncMock

import pytest

from haagent.agent.keeper import UNHEARD, Keeper, KeeperPorts
from haagent.core.facts import Grounds, GuardFacts, Timing
from haagent.core.lease import timing
from haagent.core.terms import Instant, LeaseId, Revision, Term, later
from haagent.ports import NoFence, NoWatchdog, Refused, Unknown, Unreachable

TEN, THIRTY = timing(10, 3, 3), timing(30, 10, 10)
TERM = Term(7)


@dataclass
class FakeClock:
    at: float = 100.0

    def now(self) -> Instant:
        return Instant(self.at)

    def wall(self) -> float:
        return 0.0


@dataclass
class FakeDcs:
    """Answers as told; each renewal takes ``latency`` on the clock."""

    clock: FakeClock
    latency: float = 0.0
    failure: Exception | None = None
    renewals: list[tuple[LeaseId, LeaseId | None]] = field(default_factory=list)
    opened: list[float] = field(default_factory=list)
    dead: set[LeaseId] = field(default_factory=set)

    async def open_lease(self, ttl: float, timeout: float) -> LeaseId:
        self.opened.append(ttl)
        return LeaseId(len(self.opened))

    async def keepalive(self, lease: LeaseId, timeout: float) -> None:
        if lease in self.dead:
            raise Refused("the lease is dead")

    async def campaign(self, name: str, lease: LeaseId, timeout: float, grounds: Grounds | None = None) -> Term:
        self.clock.at += self.latency
        if self.failure is not None:
            raise self.failure
        return Term(TERM + len(self.opened) - 1)

    async def granted_ttl(self, lease: LeaseId, timeout: float) -> float:
        return self.opened[lease - 1]

    async def resign(self, term: Term, timeout: float) -> None:
        if self.failure is not None:
            raise self.failure

    async def renew(
        self, name: str, term: Term, lease: LeaseId, timeout: float, moved_from: LeaseId | None = None
    ) -> Revision:
        self.clock.at += self.latency
        if self.failure is not None:
            raise self.failure
        self.renewals.append((lease, moved_from))
        return Revision(1)


class FakeFence(NoFence):
    """The end of the newest permit; None before any."""

    def __init__(self) -> None:
        self.until: float | None = None

    def permit(self, term: Term, until: Instant) -> None:
        self.until = until

    def refuse(self, term: Term) -> None:
        self.until = 0.0

    def without_end(self) -> bool:
        return self.until == float("inf")


class FakeWatchdog(NoWatchdog):
    def __init__(self) -> None:
        self.fed: list[tuple[Instant, float]] = []

    def feed(self, until: Instant, ttl: float) -> None:
        self.fed.append((until, ttl))


@dataclass
class FakeGuard:
    permits: list[tuple[Term, Instant]] = field(default_factory=list)

    def facts(self) -> GuardFacts:
        return GuardFacts(alive=True, armed=True, term=TERM)

    def extend(self, term: Term, until: Instant) -> None:
        self.permits.append((term, until))


@dataclass
class Bench:
    clock: FakeClock
    dcs: FakeDcs
    guard: FakeGuard
    keeper: Keeper
    woken: list[str]
    watchdog: FakeWatchdog
    fence: FakeFence

    async def turn(self, deadlines: Any, after: float) -> None:
        """Let so much time pass, and the keeper renew once if it is let."""
        self.clock.at += after
        self.keeper.hold(later(self.clock.now(), deadlines.hold), deadlines)
        await self.keeper._renew_once()


@pytest.fixture
async def bench() -> Bench:
    clock = FakeClock()
    dcs, guard, woken = FakeDcs(clock), FakeGuard(), list[str]()

    class Ports:
        pass

    ports, watchdog, fence = Ports(), FakeWatchdog(), FakeFence()
    vars(ports).update(dcs=dcs, guard=guard, clock=clock, watchdog=watchdog, fence=fence)
    keeper = Keeper("a", cast(KeeperPorts, ports), woken.append, lambda: woken.append("lease lost"))
    return Bench(clock, dcs, guard, keeper, woken, watchdog, fence)


async def test_a_renewal_counts_from_when_it_was_sent(bench: Bench) -> None:
    bench.keeper.hold(later(bench.clock.now(), 10), TEN)
    await bench.keeper.campaign()
    bench.dcs.latency = 2.0
    await bench.turn(TEN, after=1.0)
    facts = bench.keeper.facts()
    assert facts.renewed_at == 101.0
    assert facts.permit_until == 101.0 + TEN.fence_after
    assert bench.guard.permits[-1] == (TERM, facts.permit_until)


async def test_an_unanswered_renewal_counts_for_nothing(bench: Bench) -> None:
    bench.keeper.hold(later(bench.clock.now(), 10), TEN)
    await bench.keeper.campaign()
    before = bench.keeper.facts()
    bench.dcs.failure = Unknown("the answer was lost")
    await bench.turn(TEN, after=1.0)
    assert bench.keeper.facts() == before
    assert bench.keeper.failures == 1


async def test_a_refused_renewal_is_the_end_of_the_term_and_wakes_the_loop(bench: Bench) -> None:
    bench.keeper.hold(later(bench.clock.now(), 10), TEN)
    await bench.keeper.campaign()
    bench.dcs.failure = Refused("somebody else leads")
    await bench.turn(TEN, after=1.0)
    assert bench.keeper.facts().lost == "somebody else leads"
    assert "lease lost" in bench.woken
    renewed = len(bench.dcs.renewals)
    bench.dcs.failure = None
    await bench.turn(TEN, after=1.0)
    assert len(bench.dcs.renewals) == renewed, "a lost term is never renewed again"


async def test_a_loop_that_hangs_lets_the_lease_lapse(bench: Bench) -> None:
    """Fault 11: without a new hold the keeper stops renewing."""
    bench.keeper.hold(later(bench.clock.now(), TEN.hold), TEN)
    await bench.keeper.campaign()
    bench.clock.at += TEN.hold
    task = asyncio.create_task(bench.keeper.run())
    await asyncio.sleep(0.05)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert bench.dcs.renewals == []


async def test_a_longer_ttl_moves_the_key_to_a_new_lease_at_once(bench: Bench) -> None:
    bench.keeper.hold(later(bench.clock.now(), 10), TEN)
    await bench.keeper.campaign()
    await bench.turn(THIRTY, after=1.0)
    assert bench.dcs.opened == [10, 30]
    assert bench.dcs.renewals == [(LeaseId(2), LeaseId(1))]
    assert bench.keeper.facts().permit_until == 101.0 + THIRTY.fence_after


async def test_a_longer_ttl_gives_no_longer_permit_before_the_key_has_moved(bench: Bench) -> None:
    bench.keeper.hold(later(bench.clock.now(), 10), TEN)
    await bench.keeper.campaign()
    bench.dcs.failure = Unknown("the answer was lost")
    await bench.turn(THIRTY, after=1.0)
    assert bench.keeper.facts().permit_until == 100.0 + TEN.fence_after
    assert bench.fence.until == 100.0 + TEN.fence_after


async def test_a_pause_leaves_no_permit_without_end_on_a_node_that_gave_the_key_up_in_it(bench: Bench) -> None:
    """Whoever promotes its PostgreSQL by hand later would commit beside the leader for ever."""
    bench.keeper.hold(later(bench.clock.now(), 10), TEN)
    await bench.keeper.campaign()
    bench.keeper.open_end(True)
    assert bench.fence.without_end()
    await bench.keeper.resign(TERM)
    bench.keeper.open_end(True)
    assert bench.fence.without_end(), "the operator's, as long as the pause lasts"
    bench.keeper.open_end(False)
    assert bench.fence.until == 0.0


async def test_a_permit_without_end_of_an_earlier_agent_ends_with_the_pause(bench: Bench) -> None:
    bench.fence.permit(TERM, Instant(float("inf")))
    bench.keeper.open_end(True)
    assert bench.fence.without_end()
    bench.keeper.open_end(False)
    assert bench.fence.until == 0.0


async def test_a_finite_permit_of_an_earlier_agent_is_left_alone(bench: Bench) -> None:
    """Its PostgreSQL goes on while the agent that was started anew proves the lease."""
    bench.fence.permit(TERM, Instant(107.0))
    bench.keeper.open_end(False)
    assert bench.fence.until == 107.0


async def test_when_a_pause_ends_after_the_key_was_lost_the_fence_refuses_at_once(bench: Bench) -> None:
    bench.keeper.hold(later(bench.clock.now(), 10), TEN)
    await bench.keeper.campaign()
    bench.keeper.open_end(True)
    bench.dcs.failure = Refused("another holds it")
    await bench.turn(TEN, after=1.0)
    assert (bench.keeper.facts().lost is not None, bench.fence.without_end()) == (True, True)
    bench.keeper.open_end(False)
    assert bench.fence.until == 0.0


async def test_a_shorter_ttl_waits_for_the_end_of_the_longer_permit(bench: Bench) -> None:
    """Standbys count by the key's lease: it may not be shorter than a permit that somebody still enforces."""
    bench.keeper.hold(later(bench.clock.now(), 30), THIRTY)
    await bench.keeper.campaign()
    longest = 100.0 + THIRTY.fence_after
    while bench.clock.at < 140.0:
        await bench.turn(TEN, after=1.0)
        moved = bench.dcs.renewals[-1][0] != LeaseId(1)
        assert moved == (bench.clock.at + TEN.fence_after >= longest) or moved
        assert not moved or bench.clock.at + TEN.fence_after >= longest
    assert bench.dcs.renewals[-1][0] == LeaseId(2)


async def test_a_resign_without_an_answer_keeps_the_term_to_be_given_up_but_never_to_lead_in(bench: Bench) -> None:
    bench.keeper.hold(later(bench.clock.now(), 10), TEN)
    await bench.keeper.campaign()
    bench.dcs.failure = Unreachable("nobody listens")
    with pytest.raises(Unreachable):
        await bench.keeper.resign(TERM)
    assert (bench.keeper.facts().term, bench.keeper.facts().lost) == (TERM, None), "surely not given up"
    bench.dcs.failure = Unknown("the answer was lost")
    with pytest.raises(Unknown):
        await bench.keeper.resign(TERM)
    assert (bench.keeper.facts().term, bench.keeper.facts().lost) == (TERM, UNHEARD)
    bench.dcs.failure = None
    await bench.turn(TEN, after=1.0)
    assert bench.dcs.renewals == []
    bench.dcs.failure = Refused("it is not yours")
    await bench.keeper.resign(TERM)
    assert bench.keeper.facts().term is None


async def test_in_a_paused_cluster_the_permit_has_no_end(bench: Bench) -> None:
    bench.keeper.hold(later(bench.clock.now(), 10), TEN)
    await bench.keeper.campaign()
    bench.keeper.open_end(True)
    assert bench.keeper.facts().permit_until == float("inf")
    bench.keeper.open_end(False)
    assert bench.keeper.facts().permit_until == 100.0 + TEN.fence_after


async def test_the_watchdog_device_is_fed_by_proven_renewals_alone(bench: Bench) -> None:
    bench.keeper.hold(later(bench.clock.now(), 10), TEN)
    await bench.keeper.campaign()
    bench.dcs.latency = 2.0
    await bench.turn(TEN, after=1.0)
    assert bench.watchdog.fed == [(110.0, 10), (111.0, 10)], "counted from the sending, not from the answer"
    bench.dcs.failure = Unknown("the answer was lost")
    await bench.turn(TEN, after=1.0)
    assert len(bench.watchdog.fed) == 2


async def test_the_watchdog_device_is_given_no_longer_ttl_than_the_lease_has(bench: Bench) -> None:
    bench.keeper.hold(later(bench.clock.now(), 30), THIRTY)
    await bench.keeper.campaign()
    await bench.turn(TEN, after=1.0)
    await bench.turn(THIRTY, after=1.0)
    assert bench.watchdog.fed == [(130.0, 30), (111.0, 10), (132.0, 30)]


async def test_failing_renewals_are_told_with_what_they_lead_to(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """Faults 25 and 41: whoever is woken reads etcd's own words, and how long there is."""
    caplog.set_level("INFO", "haagent.agent.keeper")
    bench.keeper.hold(later(bench.clock.now(), 10), TEN)
    await bench.keeper.campaign()
    bench.dcs.failure = Unknown("http://etcd1:2379 after 0.01 s: alarm NOSPACE")
    await bench.turn(TEN, after=1.0)
    await bench.turn(TEN, after=1.0)
    bench.dcs.failure = None
    await bench.turn(TEN, after=1.0)
    left = TEN.demote_after - 1.0
    assert [record.getMessage() for record in caplog.records] == [
        (
            "the lease is not renewed: http://etcd1:2379 after 0.01 s: alarm NOSPACE; "
            f"PostgreSQL is stopped in {left:.1f} s unless a renewal succeeds"
        ),
        "the lease is renewed again after 2.0 s (2 times)",
    ]


async def test_slow_renewals_are_told_before_they_fail(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """Faults 27 and 45."""
    caplog.set_level("INFO", "haagent.agent.keeper")
    bench.keeper.hold(later(bench.clock.now(), 10), TEN)
    await bench.keeper.campaign()
    bench.dcs.latency = 1.5
    await bench.turn(TEN, after=1.0)
    bench.dcs.latency = 0.1
    await bench.turn(TEN, after=1.0)
    slow, over = (record.getMessage() for record in caplog.records)
    assert slow.startswith(
        f"renewing the leader key took 1.50 s, and PostgreSQL is stopped when none succeeds for "
        f"{TEN.demote_after:.1f} s"
    )
    assert "etcd_disk_wal_fsync_duration_seconds" in slow
    assert over.startswith("the lease is renewed in good time again")


async def test_a_permit_that_rests_on_promises_outlives_a_campaign_that_fails(bench: Bench) -> None:
    """Faults 23 and 34: etcd comes back without the key, and goes away again before it is taken anew."""
    bench.keeper.hold(later(bench.clock.now(), 10), TEN)
    await bench.keeper.campaign()
    bench.clock.at += 3
    assert bench.keeper.vouched(TERM, bench.clock.now())
    bench.dcs.failure = Refused("the key is gone")
    await bench.turn(TEN, after=0.5)
    before = bench.keeper.facts()
    assert (before.lost, before.vouched_until) == ("the key is gone", 103.0 + TEN.fence_after)
    bench.dcs.dead, bench.dcs.failure = {LeaseId(1)}, Unreachable("etcd is gone again")
    with pytest.raises(Unreachable):
        await bench.keeper.campaign()
    assert bench.keeper.facts() == replace(before, lease_id=LeaseId(2))
    bench.dcs.failure = None
    assert await bench.keeper.campaign() == TERM + 1
    after = bench.keeper.facts()
    assert (after.term, after.lost, after.lease_id) == (TERM + 1, None, LeaseId(2))


@pytest.mark.parametrize(
    ("granted", "deadlines", "permit_s"),
    [(30.0, TEN, TEN.fence_after), (10.0, THIRTY, THIRTY.fence_after - 20)],
    ids=["longer", "shorter"],
)
async def test_a_resumed_term_is_counted_by_what_its_lease_was_granted(
    bench: Bench, granted: float, deadlines: Timing, permit_s: float
) -> None:
    """The ttl was changed while no agent ran: the permit is that of the shorter one, from sending the renewal."""
    lease, sent_at = await bench.dcs.open_lease(granted, 1), bench.clock.at
    bench.dcs.latency = 0.5
    bench.keeper.hold(later(bench.clock.now(), deadlines.hold), deadlines)
    await bench.keeper.resume(TERM, lease)
    assert bench.keeper.facts().permit_until == pytest.approx(sent_at + permit_s)
    assert bench.fence.until == bench.keeper.facts().permit_until


async def test_a_resumed_lease_of_unknown_ttl_gives_no_permit(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.keeper.hold(later(bench.clock.now(), TEN.hold), TEN)
    monkeypatch.setattr(FakeDcs, "granted_ttl", AsyncMock(side_effect=Unreachable("no answer")))
    with pytest.raises(Unreachable):
        await bench.keeper.resume(TERM, LeaseId(1))
    assert bench.keeper.facts().permit_until is None
    assert bench.fence.until is None
