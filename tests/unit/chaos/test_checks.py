"""Each check stays quiet over a sound history and tells of the one that it is there for."""

from __future__ import annotations

from dataclasses import replace

from tests.chaos import checks
from tests.chaos.checks import Silence
from tests.chaos.observer import Permit, Role
from tests.real.record import Attempt, Outcome, Record

FENCE_AFTER = 4.6


def _acked(number: int, node: str, timeline: int, began: float, took: float = 0.01) -> Attempt:
    return Attempt(number, f"direct {node}", began, began + took, Outcome.ACKNOWLEDGED, node, timeline)


def _sound() -> Record:
    """node1 writes until 10, node2 from 12 on."""
    early = [_acked(number, "node1", 1, float(number)) for number in range(11)]
    return Record([*early, *(_acked(number, "node2", 2, float(number)) for number in range(12, 20))])


def _permits() -> list[Permit]:
    """What a page that is renewed each second until 7 shows."""
    return [Permit("node1", at / 10, min(at // 10, 7) + FENCE_AFTER) for at in range(200)]


def test_two_writers_one_after_the_other_are_sound() -> None:
    assert list(checks.one_writer(_sound())) == []


def test_an_acknowledgement_after_the_next_ones_first_is_told() -> None:
    record = _sound()
    record.attempts.append(_acked(99, "node1", 1, 12.5))
    (violation,) = checks.one_writer(record)
    assert "node1 acknowledged row 99" in str(violation)


def test_two_writers_on_one_timeline_are_told() -> None:
    record = _sound()
    record.attempts.append(_acked(99, "node3", 2, 13))
    (violation,) = checks.one_writer(record)
    assert "timeline 2 was written by ['node2', 'node3']" in str(violation)


def test_silence_is_kept_until_the_permit_ends() -> None:
    silences = [Silence("node1", 6.0, 20.0, "isolate"), Silence("node2", 0.0, 11.9, "power off")]
    assert list(checks.nothing_after_silence(_sound(), silences, FENCE_AFTER)) == []


def test_a_silenced_node_that_writes_on_is_told_by_how_much() -> None:
    (violation,) = checks.nothing_after_silence(_sound(), [Silence("node1", 4.0, 20.0, "isolate")], FENCE_AFTER)
    assert "acknowledged 2 rows after that, the last begun 1.400 s after" in str(violation)
    assert violation.at == 9.0


def test_what_is_written_after_the_end_of_a_silence_is_not_told() -> None:
    assert list(checks.nothing_after_silence(_sound(), [Silence("node1", 1.0, 5.0, "x")], FENCE_AFTER)) == []


def test_an_attempt_that_outlasts_a_silence_is_not_told() -> None:
    record = _sound()
    record.attempts.append(replace(_acked(99, "node1", 3, 19.9), ended_at=20.6))
    silences = [Silence("node1", 12.0, 20.0, "isolate")]
    assert list(checks.nothing_after_silence(record, silences, FENCE_AFTER)) == []
    record.attempts.append(_acked(100, "node1", 3, 19.0))
    assert len(list(checks.nothing_after_silence(record, silences, FENCE_AFTER))) == 1


def test_commits_within_the_permit_are_sound() -> None:
    assert list(checks.nothing_after_permit(_sound(), _permits())) == []


def test_a_commit_after_the_permit_is_told() -> None:
    record = _sound()
    record.attempts.append(_acked(99, "node1", 1, 11.75))
    (violation,) = checks.nothing_after_permit(record, _permits())
    assert "node1 acknowledged 1 rows begun after the end of its permit" in str(violation)
    assert "(row 99) 0.150 s after" in str(violation)


def test_a_page_that_refuses_everything_permits_nothing() -> None:
    (violation,) = checks.nothing_after_permit(_sound(), [Permit("node1", 0.0, 0.0)])
    assert "11 rows" in str(violation) or "10 rows" in str(violation)


def test_who_answers_primary_while_nobody_else_writes_is_sound() -> None:
    assert list(checks.no_late_claim(_sound(), [Role("node1", 11.9, 12.1, 200, "primary", 1)])) == []
    assert list(checks.no_late_claim(_sound(), [Role("node1", 15.0, 15.1, 503, "primary", 1)])) == []


def test_a_late_claim_is_told() -> None:
    (violation,) = checks.no_late_claim(_sound(), [Role("node1", 12.51, 12.6, 200, "primary", 1)])
    assert "node1 answered 200 to /primary on timeline 1, 0.500 s after node2" in str(violation)


def test_rows_that_were_refused_must_be_absent() -> None:
    record = Record([Attempt(5, "haproxy 1", 0, 1, Outcome.REFUSED)])
    assert list(checks.refused_absent(record, {4, 6})) == []
    (violation,) = checks.refused_absent(record, {4, 5})
    assert "refused, yet on disk: [5]" in str(violation)


def test_a_lost_row_is_told_with_its_writer() -> None:
    assert list(checks.nothing_lost([], [_sound()])) == []
    (violation,) = checks.nothing_lost([3, 13], [_sound()])
    assert "2 acknowledged rows are missing, written to ['node1 on timeline 1', 'node2 on timeline 2']" in str(
        violation
    )
