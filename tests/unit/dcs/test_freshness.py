"""Answers that are older than one already seen."""

from __future__ import annotations

import pytest

from haagent.dcs.freshness import DOUBTFUL_S, REBUILT_AFTER_S, Floor, Freshness
from haagent.dcs.kv import RangeReply
from tests.unit.dcs.a_clock import AClock


def judge(fresh: Freshness, revision: int, raft_term: int = 2) -> str | None:
    return fresh.judge(RangeReply(revision, raft_term), fresh.floor)


def test_revision_and_raft_term_may_stay_and_grow() -> None:
    fresh = Freshness(AClock())
    assert [judge(fresh, 5), judge(fresh, 5), judge(fresh, 6, 3)] == [None] * 3
    assert fresh.floor == Floor(6, 3)


@pytest.mark.parametrize(("revision", "raft_term"), [(4, 2), (9, 1)])
def test_neither_may_go_back(revision: int, raft_term: int) -> None:
    fresh = Freshness(AClock())
    judge(fresh, 5)
    said = judge(fresh, revision, raft_term)
    assert said is not None
    assert f"revision {revision} after 5, raft term {raft_term} after 2" in said
    assert fresh.floor == Floor(5, 2)


def test_what_was_written_since_the_question_does_not_make_its_answer_stale() -> None:
    fresh = Freshness(AClock())
    asked = fresh.floor
    fresh.learn(8, 2)
    assert fresh.judge(RangeReply(7, 2), asked) is None
    assert fresh.floor == Floor(8, 2)


def test_a_store_that_only_ever_answers_from_the_past_was_set_back() -> None:
    clock = AClock()
    fresh = Freshness(clock)
    judge(fresh, 50)
    assert judge(fresh, 10) is not None
    clock.at += REBUILT_AFTER_S - 1
    assert judge(fresh, 11) is not None
    assert not fresh.rebuilt()
    clock.at += 1
    assert judge(fresh, 12) is None
    assert fresh.rebuilt()
    assert not fresh.rebuilt()
    assert fresh.floor == Floor(12, 2)


def test_one_true_answer_ends_the_suspicion() -> None:
    clock = AClock()
    fresh = Freshness(clock)
    judge(fresh, 50)
    judge(fresh, 10)
    clock.at += REBUILT_AFTER_S - 1
    assert judge(fresh, 51) is None
    clock.at += 1
    assert judge(fresh, 12) is not None


def test_a_store_that_was_set_back_may_catch_up_before_it_is_believed() -> None:
    """Else a leader key would seem to stand still that has the revision of one seen before the store was set back."""
    clock = AClock()
    fresh = Freshness(clock)
    judge(fresh, 100)
    judge(fresh, 90)
    clock.at += DOUBTFUL_S
    assert judge(fresh, 100) is None
    assert fresh.rebuilt()
    assert not fresh.rebuilt()
