"""From any safe pair of sets to any other: always safe, wherever it is interrupted, and it arrives.

The second implementation here knows nothing of counting: it writes out every subset of up to six nodes.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from haagent.core.quorums import (
    ALONE,
    NOBODY,
    Acknowledgers,
    Electors,
    acknowledgers,
    counterpart,
    electors,
    next_step,
    overlap,
    parse,
)

NODES = "bcdefg"
Sets = set[frozenset[str]]


def subsets(members: Iterable[str]) -> Sets:
    names = sorted(members)
    return {frozenset(some) for n in range(len(names) + 1) for some in itertools.combinations(names, n)}


def acknowledging(names: Acknowledgers) -> Sets:
    """Every set of standbys whose word is enough."""
    return {some for some in subsets(names.members) if len(some) >= names.count}


def electing(of: Electors) -> Sets:
    """Every set of standbys that may elect: a candidate, and as many others as the quorum asks for."""
    return {some for some in subsets(of.members) if len(some) >= of.quorum + 1}


def meet(some: Sets, others: Sets) -> bool:
    return all(one & other for one in some for other in others)


@dataclass
class Cluster:
    """A primary that commits as unluckily as it may: each commit is held by the fewest that suffice."""

    names: list[Acknowledgers] = field(default_factory=lambda: [ALONE])
    """In force, in one process or another."""
    of: Electors = NOBODY
    commits: Sets = field(default_factory=set)
    """Who holds them, for each acknowledged commit."""
    before: Sets = field(default_factory=set)
    """Those that were acknowledged before the names came into force."""

    def commit(self) -> None:
        for names in self.names:
            self.commits |= acknowledging(names)

    def catch_up(self, nodes: Iterable[str]) -> None:
        """Some standbys have flushed all that there is."""
        self.commits = {held | frozenset(nodes) for held in self.commits}
        self.before = {held | frozenset(nodes) for held in self.before}

    def settle(self) -> None:
        """The last names written are in force everywhere."""
        if len(self.names) > 1:
            self.names = self.names[-1:]
            self.before = set(self.commits)

    def holders(self) -> frozenset[str]:
        if len(self.names) > 1:
            return frozenset()
        return frozenset(node for node in NODES if all(node in held for held in self.before))

    def assert_safe(self) -> None:
        every = electing(self.of)
        assert meet(self.commits, every), (self.of, self.names)
        for names in self.names:
            assert meet(acknowledging(names), every), (self.of, names)

    def step(self, wish: Acknowledgers, wished: Electors | None = None) -> bool:
        """Take one step; whether there was one."""
        found = next_step(self.of, self.names, self.holders(), wish, wished)
        if found is None or found == self.names[-1]:
            return False
        if isinstance(found, Electors):
            self.of = found
        else:
            self.names.append(found)
        return True


members = st.frozensets(st.sampled_from(NODES), max_size=6)


@st.composite
def wishes(draw: st.DrawFn) -> Acknowledgers:
    some = draw(members)
    if not some:
        return ALONE
    any_will_do = draw(st.booleans())
    return Acknowledgers(draw(st.integers(1, len(some))) if any_will_do else len(some), some, any_will_do)


@given(first=wishes(), then=wishes(), quorum=st.integers(0, 6), voters=members)
def test_counting_agrees_with_every_subset(
    first: Acknowledgers, then: Acknowledgers, quorum: int, voters: frozenset[str]
) -> None:
    of = electors(quorum, voters)
    assert overlap(first, of) == meet(acknowledging(first), electing(of))
    assert meet(acknowledging(then), electing(counterpart(then)))
    assert overlap(acknowledgers(of, any_will_do=True), of)


@settings(max_examples=600, deadline=None)
@given(data=st.data(), rounds=st.lists(wishes(), min_size=1, max_size=4))
def test_every_step_is_safe_wherever_it_is_interrupted_and_the_wish_is_reached(
    data: st.DataObject, rounds: list[Acknowledgers]
) -> None:
    cluster = Cluster()
    for wish in rounds:
        for _ in range(data.draw(st.integers(0, 6), label="steps before it changes its mind")):
            cluster.commit()
            cluster.assert_safe()
            cluster.step(wish)
            cluster.assert_safe()
            cluster.commit()
            if data.draw(st.booleans(), label="the configuration is in force"):
                cluster.settle()
            cluster.catch_up(data.draw(members, label="caught up"))
            cluster.assert_safe()
    wish = rounds[-1]
    for _ in range(6):
        cluster.commit()
        cluster.settle()
        cluster.catch_up(wish.members)
        cluster.step(wish)
        cluster.assert_safe()
    assert cluster.names == [wish]
    assert cluster.of == counterpart(wish)


def test_no_way_between_two_sizes_of_a_quorum_leaves_nobody_electable() -> None:
    """While a quorum grows or shrinks by a node there is always somebody who can be elected."""
    for size, count in itertools.product(range(2, 6), (1, 2)):
        for before, after in ((size, size + 1), (size + 1, size)):
            start, wish = (Acknowledgers(count, frozenset(NODES[:n]), True) for n in (before, after))
            if counterpart(start).spare < 0 or counterpart(wish).spare < 0:
                continue
            cluster = Cluster([start], counterpart(start))
            while cluster.step(wish):
                cluster.settle()
                cluster.catch_up(wish.members)
                cluster.assert_safe()
                assert cluster.of.spare >= 0
            assert cluster.of == counterpart(wish)


def test_a_lost_synchronous_standby_is_replaced_in_three_steps() -> None:
    b, c = (Acknowledgers(1, frozenset(name)) for name in "bc")
    cluster = Cluster([b], counterpart(b))
    taken: list[Electors | Acknowledgers] = []
    while cluster.step(c):
        taken.append(cluster.of if cluster.of not in taken and cluster.names == [b] else cluster.names[-1])
        cluster.settle()
        cluster.catch_up("c")
    assert taken[:2] == [NOBODY, c]
    assert cluster.of == counterpart(c)


def test_an_electorate_waits_until_the_newcomer_holds_all_that_was_acknowledged() -> None:
    b = Acknowledgers(1, frozenset("b"))
    assert next_step(NOBODY, [b], frozenset(), b) is None
    assert next_step(NOBODY, [b], frozenset("b"), b) == Electors(0, frozenset("b"))
    assert next_step(NOBODY, [ALONE, b], frozenset("b"), b) == b


def test_a_strict_cluster_that_names_nobody_elects_nobody() -> None:
    placeholder = Acknowledgers(1, frozenset({"nobody"}))
    assert next_step(NOBODY, [ALONE], frozenset(), placeholder, NOBODY) == placeholder
    assert next_step(NOBODY, [placeholder], frozenset(), placeholder, NOBODY) is None


@pytest.mark.parametrize(
    ("names", "text"),
    [
        (ALONE, ""),
        (Acknowledgers(1, frozenset("b")), '"b"'),
        (Acknowledgers(2, frozenset("cb")), '2 ("b","c")'),
        (Acknowledgers(1, frozenset("b"), True), 'ANY 1 ("b")'),
        (Acknowledgers(2, frozenset({"b,1", 'c"2', "d"}), True), 'ANY 2 ("b,1","c""2","d")'),
    ],
)
def test_names_are_written_as_postgresql_reads_them(names: Acknowledgers, text: str) -> None:
    assert str(names) == text
    assert parse(text) == names


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("b", Acknowledgers(1, frozenset("b"))),
        ("b, c", Acknowledgers(1, frozenset("bc"))),
        ("FIRST 1 (b, c)", Acknowledgers(1, frozenset("bc"))),
        ("any 2 (b,c , d)", Acknowledgers(2, frozenset("bcd"), True)),
        ("*", None),
        ('FIRST 1 (b, "*")', None),
        ("2 (b", None),
    ],
)
def test_what_operators_may_have_written_is_read(text: str, found: Acknowledgers | None) -> None:
    assert parse(text) == found
