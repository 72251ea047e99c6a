"""What a round must have been like; each check tells what was violated, with instants and numbers.

A commit lies somewhere between the start and the end of its attempt; what is told here is proven, not suspected.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from tests.chaos.observer import Permit, Role
from tests.real.checkers import one_node_at_a_time, refused_rows_are_absent
from tests.real.record import Attempt, Record

PAGE_UNSURE_S = 0.5
"""How far from an attempt a value of the page may have been seen and yet have been in force during it."""


@dataclass(frozen=True)
class Violation:
    """Something that must never be."""

    law: str
    text: str
    at: float | None = None

    def __str__(self) -> str:
        return f"{self.law}: {self.text}"


@dataclass(frozen=True)
class Silence:
    """A time in which a node could renew no permit, and why."""

    node: str
    since: float
    until: float
    why: str


def asserted(law: str, check: Callable[[], None]) -> Iterator[Violation]:
    """A checker of the integration tests."""
    try:
        check()
    except AssertionError as error:
        yield Violation(law, str(error))


def one_writer(record: Record) -> Iterator[Violation]:
    """Acknowledgements of two nodes do not overlap."""
    return asserted("one node at a time", lambda: one_node_at_a_time(record))


def refused_absent(record: Record, rows: Collection[int]) -> Iterator[Violation]:
    """A refused row is nowhere."""
    return asserted("refused is refused", lambda: refused_rows_are_absent(record, rows))


def nothing_after_silence(record: Record, silences: Iterable[Silence], fence_after: float) -> Iterator[Violation]:
    """Nothing that was begun after the longest permit a silenced node can have had is acknowledged by it."""
    acknowledged = record.acknowledged()
    for silence in silences:
        bound = silence.since + fence_after
        # An attempt that ends after the silence may have waited for it to end, and for a new term.
        late = [one for one in acknowledged if one.node == silence.node and _within(one, bound, silence.until)]
        if late:
            yield Violation(
                "nothing after the permit",
                f"{silence.node} could not renew ({silence.why}), its permit ended {fence_after:g} s later at most; it "
                f"acknowledged {len(late)} rows after that, the last begun {late[-1].started_at - bound:.3f} s after",
                late[0].started_at,
            )


def _within(one: Attempt, since: float, until: float) -> bool:
    return since < one.started_at and one.ended_at <= until


def nothing_after_permit(record: Record, permits: Sequence[Permit]) -> Iterator[Violation]:
    """Nothing is acknowledged that was begun when every permit seen about then had ended."""
    for node in sorted({permit.node for permit in permits}):
        seen = [permit for permit in permits if permit.node == node]
        instants = [permit.seen_at for permit in seen]
        late = [
            (one, until)
            for one in record.acknowledged()
            if one.node == node and (until := _latest_permit(seen, instants, one)) < one.started_at
        ]
        if late:
            worst, until = max(late, key=lambda pair: pair[0].started_at - pair[1])
            yield Violation(
                "nothing after the permit",
                f"{node} acknowledged {len(late)} rows begun after the end of its permit, the worst "
                f"(row {worst.number}) {worst.started_at - until:.3f} s after",
                worst.started_at,
            )


def _latest_permit(seen: Sequence[Permit], instants: Sequence[float], one: Attempt) -> float:
    first = bisect.bisect_right(instants, one.started_at - PAGE_UNSURE_S) - 1
    # The next value that was seen too: whoever looks may have been starved, and permits were longer meanwhile.
    last = bisect.bisect_right(instants, one.ended_at + PAGE_UNSURE_S) + 1
    return max((permit.until for permit in seen[max(first, 0) : last]), default=0.0)


def no_late_claim(record: Record, roles: Iterable[Role]) -> Iterator[Violation]:
    """Nobody answers 200 to /primary, asked after another node has acknowledged on a newer timeline."""
    first: dict[int, Attempt] = {}
    for one in record.acknowledged():
        if one.timeline is not None:
            first.setdefault(one.timeline, one)
    for role in roles:
        if role.status != 200 or role.timeline is None:
            continue
        newer = [
            one
            for line, one in first.items()
            if line > role.timeline and one.node != role.node and one.ended_at < role.asked_at
        ]
        if newer:
            by = min(newer, key=lambda one: one.ended_at)
            yield Violation(
                "no late claim",
                f"{role.node} answered 200 to /primary on timeline {role.timeline}, "
                f"{role.asked_at - by.ended_at:.3f} s after {by.node} had acknowledged on timeline {by.timeline}",
                role.asked_at,
            )
            return


def nothing_lost(missing: Collection[int], records: Iterable[Record]) -> Iterator[Violation]:
    """In a synchronous mode every acknowledged row is there."""
    if not missing:
        return
    lost = [one for record in records for one in record.acknowledged() if one.number in missing]
    where = sorted({f"{one.node} on timeline {one.timeline}" for one in lost})
    at = lost[0].started_at if lost else None
    yield Violation("nothing lost", f"{len(missing)} acknowledged rows are missing, written to {where}", at)
