"""Asking all members while renewals fail: when, whom, and what comes of their answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from haagent.agent.consents import Consents
from haagent.core.facts import Consent, LeaseFacts, Mandate
from haagent.core.lease import timing
from haagent.core.terms import Instant, LeaseId, Term, later
from haagent.ports import Peers, Refused, Unknown
from tests.unit.agent.test_keeper import TEN, TERM, Bench, bench

__all__ = ["bench"]

TWO = Mandate({"b": "http://b", "c": "http://c"}, {"name": "a"})
ONE = Mandate({"b": "http://b"}, {"name": "a"})


@dataclass
class FakePeers:
    """Answers as told; each round takes ``latency`` on the clock."""

    bench: Bench
    latency: float = 0.0
    against: set[str] = field(default_factory=set)
    asked: list[tuple[str, ...]] = field(default_factory=list)
    meanwhile: Callable[[], None] = lambda: None

    async def consent(self, mandate: Mandate, timeout: float) -> tuple[Consent, ...]:
        self.asked.append(tuple(mandate.members))
        self.bench.clock.at += self.latency
        self.meanwhile()
        return tuple(Consent(name, name not in self.against, "no") for name in mandate.members)


async def leading(bench: Bench) -> LeaseFacts:
    """The keeper holds the key, and its last renewal failed."""
    bench.keeper.hold(later(bench.clock.now(), TEN.hold), TEN)
    await bench.keeper.campaign()
    bench.dcs.failure = Unknown("no answer")
    await bench.turn(TEN, 3)
    assert bench.keeper.unrenewed.is_set()
    return bench.keeper.facts()


def asking(bench: Bench, mandate: Mandate | None = TWO, **how: Any) -> tuple[Consents, FakePeers]:
    peers = FakePeers(bench, **how)
    consents = Consents(bench.keeper, cast(Peers, peers), bench.clock)
    consents.hold(mandate, TEN)
    return consents, peers


async def test_the_permit_counts_from_when_all_were_asked(bench: Bench) -> None:
    before = await leading(bench)
    consents, peers = asking(bench, latency=2.0)
    assert before.permit_until is not None
    sent_at = bench.clock.now()
    assert await consents._ask()
    after = bench.keeper.facts()
    assert after.permit_until == later(sent_at, TEN.fence_after)
    assert after.demote_at == later(sent_at, TEN.demote_after)
    assert after.vouched_until == after.permit_until
    assert bench.guard.permits[-1] == (TERM, after.permit_until)
    assert peers.asked == [("b", "c")]


@pytest.mark.parametrize("against", [{"b"}, {"c"}, {"b", "c"}])
async def test_one_that_does_not_consent_is_enough(bench: Bench, against: set[str]) -> None:
    before = await leading(bench)
    consents, _ = asking(bench, against=against)
    assert not await consents._ask()
    assert bench.keeper.facts() == before
    asked = consents.facts()
    assert asked is not None
    assert {one.name for one in asked.replies if not one.accepted} == against


async def test_nobody_is_asked_without_a_mandate_a_term_or_the_loop_s_word(bench: Bench) -> None:
    await leading(bench)
    consents, peers = asking(bench, None)
    assert not await consents._ask()
    consents, peers = asking(bench)
    bench.clock.at += TEN.hold
    assert not await consents._ask()
    assert peers.asked == []


async def test_answers_of_those_who_are_no_longer_all_count_for_nothing(bench: Bench) -> None:
    before = await leading(bench)
    consents, peers = asking(bench, ONE)
    peers.meanwhile = lambda: consents.hold(TWO, TEN)
    assert not await consents._ask()
    assert bench.keeper.facts() == before
    peers.meanwhile = lambda: consents.hold(None, TEN)
    consents.hold(TWO, TEN)
    assert not await consents._ask()
    assert bench.keeper.facts() == before


async def test_a_renewal_ends_it_and_a_key_that_is_lost_meanwhile_leaves_the_permit(bench: Bench) -> None:
    await leading(bench)
    consents, _ = asking(bench)
    assert await consents._ask()
    vouched = bench.keeper.facts()
    bench.dcs.failure = Refused("the key is gone")
    await bench.turn(TEN, 1)
    lost = bench.keeper.facts()
    assert (lost.lost, lost.permit_until) == ("the key is gone", vouched.permit_until)
    assert not bench.keeper.unrenewed.is_set()
    assert not await consents._ask()
    bench.dcs.failure = None
    await bench.keeper.campaign()
    assert bench.keeper.facts().lost is None
    assert bench.keeper.facts().vouched_until is None


async def test_a_renewal_puts_the_permit_on_etcd_again(bench: Bench) -> None:
    await leading(bench)
    consents, _ = asking(bench)
    assert await consents._ask()
    bench.dcs.failure = None
    await bench.turn(TEN, 1)
    assert bench.keeper.facts().vouched_until is None
    assert consents.facts() is None


async def test_a_permit_of_etcd_that_is_shorter_still_rests_on_the_promises(bench: Bench) -> None:
    """The ttl was raised, and the key still hangs on the lease of the shorter one."""
    await leading(bench)
    thirty = timing(30, 10, 10)
    bench.keeper.hold(later(bench.clock.now(), thirty.hold), thirty)
    bench.keeper._granted_ttl = 30
    assert bench.keeper.vouched(TERM, bench.clock.now())
    far = bench.keeper.facts().vouched_until
    bench.keeper._granted_ttl = 10
    bench.keeper._prove(LeaseId(1), TERM, later(bench.clock.now(), 1), thirty)
    assert bench.keeper.facts().vouched_until == far


async def test_another_term_or_an_older_question_extends_nothing(bench: Bench) -> None:
    facts = await leading(bench)
    assert facts.renewed_at is not None
    assert not bench.keeper.vouched(Term(TERM + 1), bench.clock.now())
    assert not bench.keeper.vouched(TERM, facts.renewed_at)
    assert not bench.keeper.vouched(TERM, Instant(0))
    bench.keeper.open_end(True)
    assert not bench.keeper.vouched(TERM, bench.clock.now())


async def test_it_asks_by_itself_when_renewals_fail_and_only_then(bench: Bench) -> None:
    consents, peers = asking(bench)
    running = asyncio.get_running_loop().create_task(consents.run())
    await asyncio.sleep(0.01)
    assert peers.asked == []
    await leading(bench)
    await asyncio.sleep(0.01)
    assert peers.asked == [("b", "c")]
    running.cancel()
