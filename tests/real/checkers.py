"""What must be true of every trial, whatever was broken in it."""

from __future__ import annotations

from collections.abc import Iterable

from tests.real.record import Outcome, Record


def one_node_at_a_time(record: Record) -> None:
    """No two nodes acknowledge in one timeline, and none in an old one once a newer one has acknowledged.

    A commit lies somewhere between the start and the end of its attempt; what fails here is proven, not suspected.
    """
    nodes: dict[int, set[str | None]] = {}
    first_answer: dict[int, float] = {}
    acknowledged = record.acknowledged()
    for attempt in acknowledged:
        assert attempt.timeline is not None
        nodes.setdefault(attempt.timeline, set()).add(attempt.node)
        first_answer.setdefault(attempt.timeline, attempt.ended_at)
    for timeline, writers in nodes.items():
        assert len(writers) == 1, f"timeline {timeline} was written by {sorted(map(str, writers))}"
    for attempt in acknowledged:
        newer = [(at, line) for line, at in first_answer.items() if line > (attempt.timeline or 0)]
        if newer:
            at, line = min(newer)
            late_s = attempt.started_at - at
            assert late_s <= 0, (
                f"{attempt.node} acknowledged row {attempt.number} on timeline {attempt.timeline}, begun "
                f"{late_s:.3f} s after timeline {line} had acknowledged its first"
            )


def silent_after(record: Record, node: str, instant: float) -> None:
    """The node acknowledges nothing that was begun after the instant."""
    late = [
        attempt
        for attempt in record.acknowledged(since=instant)
        if attempt.node == node and attempt.started_at > instant
    ]
    assert not late, (
        f"{node} acknowledged {len(late)} rows after it had to be silent, "
        f"the last begun {late[-1].started_at - instant:.3f} s after"
    )


def refused_rows_are_absent(record: Record, on_disk: Iterable[int]) -> None:
    """A row that was refused is nowhere."""
    refused = {attempt.number for attempt in list(record.attempts) if attempt.outcome is Outcome.REFUSED}
    assert not refused & set(on_disk), f"refused, yet on disk: {sorted(refused & set(on_disk))[:10]}"


def lost_rows(record: Record, on_disk: Iterable[int]) -> list[int]:
    """Acknowledged rows that are not there."""
    return sorted({attempt.number for attempt in record.acknowledged()} - set(on_disk))
