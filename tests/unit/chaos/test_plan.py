"""Plans are drawn from the seed alone, within their bounds, and legal."""

from __future__ import annotations

from itertools import islice, pairwise

import pytest

from tests.chaos.faults import KINDS
from tests.chaos.plan import LEADER, LONGEST_S, MEMBERS, NODES, PRIMARY, Deed, draw, one_blind_at_a_time
from tests.chaos.run import Options

TTL = 5.0
SEEDS = range(60)


def test_the_same_seed_draws_the_same() -> None:
    assert draw(7, 3, KINDS, ttl=TTL) == draw(7, 3, KINDS, ttl=TTL)
    assert draw(7, 3, KINDS, ttl=TTL) != draw(7, 4, KINDS, ttl=TTL)
    assert draw(7, 3, KINDS, ttl=TTL) != draw(8, 3, KINDS, ttl=TTL)


@pytest.mark.parametrize("seed", SEEDS)
def test_deeds_are_in_order_in_time_and_aimed(seed: int) -> None:
    drawn = draw(seed, 1, KINDS, ttl=TTL)
    assert [deed.number for deed in drawn.deeds] == list(range(1, len(drawn.deeds) + 1))
    assert all(before.at_s <= after.at_s for before, after in pairwise(drawn.deeds))
    for deed in drawn.deeds:
        kind = KINDS[deed.fault]
        assert 0 <= deed.at_s < drawn.seconds
        assert deed.target in ((*MEMBERS, LEADER) if kind.aim == "member" else (*NODES, PRIMARY))
        assert deed.other in (kind.others or ("",))
        assert (deed.seconds > 0) is (kind.seconds[1] > 0)
        assert deed.seconds <= LONGEST_S


def test_every_fault_is_drawn_alone_and_overlapping() -> None:
    rounds = [draw(seed, 1, KINDS, ttl=TTL).deeds for seed in SEEDS]
    assert {deed.fault for deeds in rounds for deed in deeds} == set(KINDS)
    overlapping = sum(after.at_s < before.ends_s for deeds in rounds for before, after in pairwise(deeds))
    total = sum(map(len, rounds))
    assert 0.1 * total < overlapping < 0.9 * total


@pytest.mark.parametrize("seed", SEEDS)
def test_without_the_fence_agent_and_guard_are_never_missing_together(seed: int) -> None:
    blinding = [deed for deed in draw(seed, 1, KINDS, ttl=TTL, fence=False).deeds if KINDS[deed.fault].blinds]
    assert not any(KINDS[deed.fault].needs_fence for deed in blinding)
    assert all(before.ends_s < after.at_s for before, after in pairwise(blinding))


def test_a_second_blinding_deed_is_left_out() -> None:
    first, second, third, other = (
        Deed(1, 1.0, "freeze agent", "node1", 3.0),
        Deed(2, 2.0, "kill guard", "node1"),
        Deed(3, 30.0, "kill guard", "node1"),
        Deed(4, 2.5, "isolate", "node1", 1.0),
    )
    assert one_blind_at_a_time([first, second, other, third], KINDS, TTL) == [first, other, third]


@pytest.mark.parametrize("seed", SEEDS)
def test_in_synchronous_modes_nobody_asks_for_a_loss(seed: int) -> None:
    assert not any(KINDS[deed.fault].may_lose for deed in draw(seed, 1, KINDS, ttl=TTL, lossless=True).deeds)


def test_rounds_follow_one_another_until_the_minutes_are_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.chaos.run.time.monotonic", iter((100.0, 145.0, 219.9, 220.0)).__next__)
    assert [drawn.number for drawn in Options(5, 2).rounds(True)] == [1, 2, 3]


def test_one_round_of_a_run_is_the_same_alone() -> None:
    every, third = Options(5, 60).rounds(True), Options(5, 60, only=(3,)).rounds(True)
    assert list(third) == list(islice(every, 2, 3))


def test_the_command_names_all_that_matters() -> None:
    options = Options(5, 2.5, "quorum", strict=True, fence=False)
    assert options.command == "make chaos SEED=5 MINUTES=2.5 SYNC=quorum STRICT=1 NO_FENCE=1"
    mending = {"postgresql": {"remove_data_directory_on_diverged_timelines": True}}
    assert options.settings.dcs == {"synchronous_mode": "quorum", "synchronous_mode_strict": True, **mending}
    assert Options(5, 2.5).settings.dcs == mending
