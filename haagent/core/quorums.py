"""Sets of nodes that acknowledge commits, sets of nodes that elect, and the one step at a time between two such pairs.

Law: any set that may acknowledge a commit shares a node with any set that may elect, after every step and between any
two. ``Acknowledgers`` stand in PostgreSQL's ``synchronous_standby_names``, ``Electors`` in the ``sync`` key.

Why a step is safe. ``Electors`` may change when each of their new sets either contains one of the old, so that what
the old ones were sure to see the new ones see too; or holds a node that has flushed everything acknowledged before the
present ``Acknowledgers`` came into force. And in both cases they must overlap all ``Acknowledgers`` that may be in
force, for the commits to come. ``Acknowledgers`` may change when the present ``Electors`` overlap the new ones.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import lru_cache

_NAMES = re.compile(r"(?:(?P<any>ANY)\s+|FIRST\s+)?(?:(?P<count>\d+)\s*\((?P<listed>.*)\)|(?P<bare>.*))", re.I | re.S)
_NAME = re.compile(r'\s*(?:"((?:[^"]|"")+)"|([^\s",()*]+))\s*')


@dataclass(frozen=True, slots=True)
class Acknowledgers:
    """Any ``count`` of ``members`` acknowledge a commit; with a count of 0 the primary does so alone."""

    count: int = 0
    members: frozenset[str] = frozenset()
    any_will_do: bool = False
    """Written as ``ANY n (…)``; else every member is waited for."""

    def __str__(self) -> str:
        """As ``synchronous_standby_names`` has it: names quoted and sorted, a comma without blank between them."""
        names = ",".join('"' + name.replace('"', '""') + '"' for name in sorted(self.members))
        if self.count == 0:
            return ""
        if self.any_will_do:
            return f"ANY {self.count} ({names})"
        return names if len(self.members) == 1 else f"{self.count} ({names})"


@dataclass(frozen=True, slots=True)
class Electors:
    """One of ``members`` may lead when ``quorum`` others of them have no more WAL than it."""

    quorum: int = 0
    members: frozenset[str] = frozenset()

    @property
    def spare(self) -> int:
        """How many members may be missing while one can still be elected; negative when none ever can."""
        return len(self.members) - self.quorum - 1


ALONE = Acknowledgers()
"""The primary acknowledges commits by itself."""
NOBODY = Electors()
"""Nobody but the last leader itself may lead."""


def electors(quorum: int, members: Collection[str]) -> Electors:
    """Electors in their one form: those who can never elect are ``NOBODY``."""
    found = Electors(max(0, quorum), frozenset(members))
    return found if found.spare >= 0 else NOBODY


def counterpart(names: Acknowledgers) -> Electors:
    """The largest electorate that overlaps these acknowledgers."""
    return electors(len(names.members) - names.count, names.members)


def acknowledgers(of: Electors, *, any_will_do: bool) -> Acknowledgers:
    """The fewest acknowledgers that overlap this electorate."""
    count = len(of.members) - of.quorum
    return Acknowledgers(count, of.members, any_will_do) if count > 0 else ALONE


def overlap(names: Acknowledgers, of: Electors) -> bool:
    """Whether any set that may acknowledge shares a node with any set that may elect."""
    if of.spare < 0:
        return True
    shared = len(names.members & of.members)
    elect_from_shared = max(0, of.quorum + 1 - (len(of.members) - shared))
    acknowledge_from_shared = max(0, names.count - (len(names.members) - shared))
    return elect_from_shared + acknowledge_from_shared > shared


def inherits(new: Electors, old: Electors) -> bool:
    """Whether every electing set of the new electorate contains one of the old."""
    return new.spare < 0 or new.quorum - len(new.members - old.members) >= old.quorum


def may_become(new: Electors, old: Electors, names: Iterable[Acknowledgers], holders: frozenset[str]) -> bool:
    """Whether the electorate may be changed now.

    ``names`` are all that may be in force; ``holders`` have flushed all that was acknowledged before those were.
    """
    known = inherits(new, old) or len(new.members - holders) <= new.quorum
    return known and all(overlap(one, new) for one in names)


def next_step(
    present: Electors,
    names: Collection[Acknowledgers],
    holders: frozenset[str],
    wish: Acknowledgers,
    wished: Electors | None = None,
) -> Electors | Acknowledgers | None:
    """The one change to make now on the way to the wish; None when there is nothing to do or something to wait for.

    ``names`` are all ``Acknowledgers`` that may be in force: more than one while PostgreSQL takes in a new
    configuration. ``wished`` is the electorate that goes with the wish, by default the largest that may.
    """
    goal = counterpart(wish) if wished is None else wished
    if present != goal and may_become(goal, present, names, holders):
        return goal
    if set(names) != {wish}:
        return wish if overlap(wish, present) else _bridge(present, names, holders, wish)
    part = _part(goal, wish, holders)
    better = part.spare > present.spare and may_become(part, present, names, holders)
    return part if better else None


def _bridge(
    present: Electors, names: Collection[Acknowledgers], holders: frozenset[str], wish: Acknowledgers
) -> Electors:
    """An electorate between the present one and the wish that can lose as many nodes as possible."""
    quorum = len(wish.members) - wish.count
    common = present.members & wish.members
    ways = (
        electors(max(present.quorum, min(len(common), quorum)), common),
        electors(max(present.quorum + len(wish.members - present.members), quorum), wish.members),
    )
    fit = [way for way in ways if overlap(wish, way) and may_become(way, present, names, holders)]
    return max(fit, key=lambda way: way.spare, default=NOBODY)


def _part(goal: Electors, wish: Acknowledgers, holders: frozenset[str]) -> Electors:
    """Those of the goal that are known to hold all that was acknowledged."""
    members = goal.members & holders
    return electors(min(len(members), len(wish.members) - wish.count), members)


@lru_cache(maxsize=64)
def parse(text: str) -> Acknowledgers | None:
    """Read ``synchronous_standby_names``; None when it does not name every member, as ``*`` does.

    ``FIRST n (…)`` counts as any n: which ones those are depends on who is connected.
    """
    found = _NAMES.fullmatch(text.strip())
    if found is None or not text.strip():
        return ALONE if not text.strip() else None
    listed = found["listed"] if found["listed"] is not None else found["bare"]
    members: set[str] = set()
    for part in _split(listed):
        one = _NAME.fullmatch(part)
        if one is None or "*" in part:
            return None
        members.add(one[1].replace('""', '"') if one[1] else one[2])
    return Acknowledgers(int(found["count"] or 1), frozenset(members), found["any"] is not None)


def _split(listed: str) -> list[str]:
    """At commas that stand outside quotes."""
    return re.split(r',(?=(?:[^"]*"[^"]*")*[^"]*$)', listed)
