"""Where histories part, against a naive second reading of the same tree of timelines."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haagent.core.facts import HistoryLine
from haagent.core.terms import Lsn, Timeline
from haagent.core.timelines import Fork, History, fork_of, history_of, needs_look, parse_history

END = 40


@dataclass(frozen=True)
class Tree:
    """Promotions: timeline n + 2 leaves ``promotions[n][0]`` at ``promotions[n][1]``."""

    promotions: tuple[tuple[int, int], ...]

    def history(self, timeline: int) -> History:
        lines: list[HistoryLine] = []
        at = timeline
        while at > 1:
            parent, lsn = self.promotions[at - 2]
            lines.insert(0, HistoryLine(Timeline(parent), Lsn(lsn), "test"))
            at = parent
        return History(Timeline(timeline), tuple(lines))


@st.composite
def trees(draw: st.DrawFn) -> Tree:
    began = {1: 0}
    promotions: list[tuple[int, int]] = []
    for new in range(2, draw(st.integers(1, 6)) + 1):
        parent = draw(st.integers(1, new - 1))
        lsn = draw(st.integers(began[parent], END - 1))
        promotions.append((parent, lsn))
        began[new] = lsn
    return Tree(tuple(promotions))


def owner(history: History, lsn: int) -> int:
    """The timeline to which the byte at ``lsn`` belongs in a history."""
    return next(int(timeline) for timeline, end in history.path() if end is None or lsn < end)


@given(trees(), st.data())
def test_histories_part_at_the_first_byte_that_differs(tree: Tree, data: st.DataObject) -> None:
    tips = st.integers(1, len(tree.promotions) + 1)
    own, other = tree.history(data.draw(tips)), tree.history(data.draw(tips))
    fork = fork_of(own, other)
    differing = [lsn for lsn in range(END + 1) if owner(own, lsn) != owner(other, lsn)]
    assert fork.lsn == (differing[0] if differing else None)
    assert fork == fork_of(other, own)


@given(trees(), st.data())
def test_a_history_never_parts_from_itself(tree: Tree, data: st.DataObject) -> None:
    own = tree.history(data.draw(st.integers(1, len(tree.promotions) + 1)))
    assert fork_of(own, own) == Fork(own.timeline, None)
    assert not needs_look(own, fork_of(own, own))


@given(trees())
def test_a_history_file_is_read_as_it_was_written(tree: Tree) -> None:
    history = tree.history(len(tree.promotions) + 1)
    text = "".join(f"{line.timeline}\t{line.lsn}\t{line.reason}\n\n" for line in history.lines)
    assert history_of(history.timeline, parse_history("# comment\n" + text)) == history


def test_the_old_primary_ends_on_the_timeline_that_was_left() -> None:
    old = History(Timeline(1))
    new = History(Timeline(2), (HistoryLine(Timeline(1), Lsn.parse("0/3000000"), ""),))
    fork = fork_of(old, new)
    assert fork == Fork(Timeline(1), Lsn.parse("0/3000000"))
    assert needs_look(old, fork)
    assert not needs_look(new, fork)


def test_histories_without_a_common_timeline_part_at_the_beginning() -> None:
    assert fork_of(History(Timeline(3)), History(Timeline(4))) == Fork(Timeline(0), Lsn(0))


def test_a_reason_keeps_its_blanks_and_may_be_missing() -> None:
    lines = parse_history("1\t0/5000000\tno recovery target specified\n\n2\t1/0\n")
    assert lines == (
        HistoryLine(Timeline(1), Lsn(0x5000000), "no recovery target specified"),
        HistoryLine(Timeline(2), Lsn(1 << 32), ""),
    )


@pytest.mark.parametrize("text", ["1", "x\t0/0\tr", "1\tnonsense\tr", "2\t0/1\tr\n1\t0/2\tr", "1\t0/1\tr\n1\t0/2\tr"])
def test_a_damaged_history_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_history(text)


def test_a_history_leads_to_a_newer_timeline() -> None:
    with pytest.raises(ValueError, match="timeline 2 cannot descend from timeline 2"):
        history_of(Timeline(2), (HistoryLine(Timeline(2), Lsn(1), ""),))
