"""Each checker passes a hand-made good history and names what is wrong in a bad one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from haagent.core.terms import Lsn
from tests.sim.checkers.all import all_checkers
from tests.sim.checkers.base import Checker
from tests.sim.checkers.by_the_table import ByTheTable
from tests.sim.checkers.copies import AnotherCopy
from tests.sim.checkers.durability import SynchronousCommitsLast
from tests.sim.checkers.follows import Follows
from tests.sim.checkers.goes_on import OUTAGE, GoesOn
from tests.sim.checkers.histories import OneHistory
from tests.sim.checkers.identity import OneCluster
from tests.sim.checkers.leader_key import LeaderKeyPassesOn
from tests.sim.checkers.liveness import HEALED, QUIET, Liveness
from tests.sim.checkers.one_promoter import OnePromoter
from tests.sim.checkers.one_timeline import OneTimeline
from tests.sim.checkers.one_writer import OneWriter
from tests.sim.checkers.overlap import SetsOverlap
from tests.sim.checkers.pause import PauseIsKept
from tests.sim.checkers.permit import WithinPermit
from tests.sim.checkers.proof import PermitIsProven
from tests.sim.checkers.quiet import Quiet
from tests.sim.checkers.refusals import RefusalsAreObeyed
from tests.sim.checkers.routing import OneRoute
from tests.sim.checkers.strays import StraysEnd
from tests.sim.checkers.under_lease import UnderLease
from tests.sim.world.events import (
    STARTS,
    Acked,
    Committed,
    Corrupted,
    Crashed,
    DataGone,
    Event,
    Fault,
    GivesUp,
    Judged,
    KeyWritten,
    LeaderKeyChanged,
    Note,
    Permit,
    Readonly,
    Routed,
    StateChanged,
    Told,
    Writable,
)


def commit(at: float, node: str, promotion: int, permit: float | None = 1e9, number: int = 1) -> Committed:
    return Committed(at, node, number, number, 1, Lsn(number), promotion, False, permit)


def acked(at: float, node: str, promotion: int, number: int = 1, *, sync: bool = False) -> Acked:
    return Acked(at, node, number, number, promotion, sync, 1e9)


def writable(at: float, node: str, promotion: int, timeline: int = 1, holds: Sequence[int] = ()) -> Writable:
    return Writable(at, node, timeline, Lsn(0), promotion, True, set(holds).__contains__)


def sync_key(leader: str) -> KeyWritten:
    return KeyWritten(0, "etcd", "sync", leader, f'{{"leader":"{leader}","quorum":0,"sync_standby":null}}')


def on_timeline(at: float, node: str, timeline: int) -> Acked:
    return replace(acked(at, node, 1, int(at)), timeline=timeline)


def waited(at: float, node: str, names: str) -> Acked:
    return replace(acked(at, node, 1), names=names)


def listing(standbys: str, quorum: int = 0) -> KeyWritten:
    value = f'{{"leader":"a","quorum":{quorum},"sync_standby":"{standbys}"}}'
    return KeyWritten(0, "etcd", "sync", "a", value)


def forced(candidate: str) -> KeyWritten:
    return KeyWritten(0, "etcd", "failover", "b", f'{{"member":"{candidate}"}}')


def key(at: float, name: str | None, cause: str, term: int = 5, ttl: float = 10) -> LeaderKeyChanged:
    return LeaderKeyChanged(at, "etcd", name, term, 9, cause, ttl)


def identity(by: str, value: str) -> KeyWritten:
    return KeyWritten(0, "etcd", "initialize", by, value)


A_LEADS = key(0, "a", "campaign")
WHOLE = Judged(9, "run", ("a",), ("b", "c"), ("a", "b", "c"))
HALF = Judged(9, "run", ("a",), ("b",), ("a", "b", "c"))

DEMOTED = StateChanged(10, "a", "primary", "demoting", 820)

CASES: list[tuple[Checker, list[Event], list[Event], str]] = [
    (
        OneWriter(),
        [commit(1, "a", 1), acked(1, "a", 1), commit(5, "b", 2)],
        [commit(6, "a", 1)],
        "a made commit 1 after b",
    ),
    (OneWriter(), [commit(1, "a", 1), commit(5, "b", 2)], [acked(6, "a", 1)], "a acknowledged"),
    (WithinPermit(0.3), [commit(1, "a", 1, 1.5), commit(1.7, "a", 1, 1.5)], [commit(1.9, "a", 1, 1.5)], "0.400 s"),
    (WithinPermit(0.3), [], [commit(1, "a", 1, None)], "without a permit"),
    (UnderLease(), [A_LEADS, commit(1, "a", 1)], [commit(2, "b", 2)], "while a held"),
    (UnderLease(), [A_LEADS, key(3, None, "expiry")], [commit(4, "a", 1)], "while nobody held"),
    (
        UnderLease(failsafe_mode=True),
        [A_LEADS, key(3, None, "expiry"), commit(4, "a", 1), key(5, "b", "campaign", 9)],
        [commit(6, "a", 1)],
        "while b held",
    ),
    (
        GoesOn(failsafe_mode=True),
        [
            *(Fault(1, "b", "cut c"), Fault(5, "b", "cut c", over=True)),
            *(Fault(9, "etcd", OUTAGE), DEMOTED, Fault(30, "etcd", OUTAGE, over=True)),
            *(Fault(31, "a", "restart"), Fault(31, "a", "restart", over=True)),
            *(Fault(100, "etcd", OUTAGE), Fault(110, "b", "cut c"), DEMOTED, Fault(111, "b", "cut c", over=True)),
            *(Fault(120, "etcd", OUTAGE, over=True), Fault(200, "etcd", OUTAGE)),
        ],
        [StateChanged(290, "a", "primary", "demoting", 820)],
        "a was demoted by row 820, 90.0 s after",
    ),
    (GoesOn(failsafe_mode=False), [Fault(100, "etcd", OUTAGE), DEMOTED], [], ""),
    (OnePromoter(), [writable(1, "a", 1, 2), writable(2, "b", 2, 3)], [writable(3, "c", 3, 3)], "c made timeline 3"),
    (
        SetsOverlap(),
        [listing("b"), waited(1, "a", '"b"'), listing("b,c", 1), waited(2, "a", 'ANY 1 ("b","c")'), waited(3, "b", "")],
        [waited(4, "a", "")],
        "a acknowledged a commit by ''",
    ),
    (OneHistory(), [], [Corrupted(1, "b", "a", Lsn(5))], "b streams from a"),
    (
        LeaderKeyPassesOn(),
        [A_LEADS, writable(1, "a", 1), Readonly(5, "a", 1, "fast stop"), key(6, None, "resign"), key(7, "b", "x", 8)],
        [],
        "",
    ),
    (LeaderKeyPassesOn(), [A_LEADS, writable(1, "a", 1)], [key(6, None, "resign")], "while its PostgreSQL was writ"),
    (
        LeaderKeyPassesOn(),
        [A_LEADS, GivesUp(1, "a"), replace(writable(2, "a", 1), by_hand=True), key(3, None, "resign")],
        [],
        "",
    ),
    (
        LeaderKeyPassesOn(),
        [A_LEADS, replace(writable(1, "a", 1), by_hand=True), GivesUp(2, "a")],
        [key(3, None, "resign")],
        "while its PostgreSQL was writ",
    ),
    (LeaderKeyPassesOn(), [A_LEADS, key(1, "a", "renewal"), key(11, None, "depose"), A_LEADS], [key(5, None, "depose")],
     "5.000 s after its last write"),
    (LeaderKeyPassesOn(), [A_LEADS], [key(1, "b", "campaign", 7)], "b wrote the leader key of a over"),
    (LeaderKeyPassesOn(), [A_LEADS], [key(1, None, "foreign")], "ended by foreign"),
    (
        OneWriter(),
        [commit(1, "a", 1), replace(commit(5, "b", 2), void="paused"), commit(6, "a", 1), commit(7, "c", 3)],
        [commit(8, "a", 1)],
        "a made commit 1 after c",
    ),
    (
        WithinPermit(0.3),
        [replace(commit(1, "a", 1, None), void="paused")],
        [replace(commit(2, "a", 1, 1.5), fenced=True, void="made writable by hand")],
        "0.500 s",
    ),
    (
        UnderLease(),
        [A_LEADS, key(1, None, "revoke"), commit(2, "a", 1), key(3, "b", "campaign", 7)],
        [commit(4, "a", 1)],
        "while b held",
    ),
    (
        StraysEnd(20),
        [replace(commit(1, "a", 1), void="made writable by hand", void_s=19.0)],
        [replace(commit(1, "a", 1), void="made writable by hand", void_s=21.0)],
        "21.0 s after it was made writable",
    ),
    (
        PauseIsKept(),
        [
            *(replace(writable(1, "a", 1)), forced("b"), replace(writable(9, "b", 2), paused=True)),
            *(StateChanged(300, "c", "demoting", "promoting", 905), replace(writable(303, "c", 3), paused=True)),
            StateChanged(303, "c", "promoting", "primary", 710),
        ],
        [replace(writable(500, "c", 4), paused=True)],
        "c was promoted in a pause",
    ),
    (
        OneCluster(),
        [
            *(identity("a", ""), identity("a", "7"), identity("by hand", "9"), identity("b", "7")),
            *(Note(1, "c", STARTS), identity("c", "8"), identity("c", "7"), A_LEADS, Note(1, "b", STARTS)),
        ],
        [identity("b", "8")],
        "b published 8",
    ),
    (
        OneRoute(),
        [Routed(1, "proxy", ("a", "b"), ("a",))],
        [Routed(3, "proxy", ("a", "b", "c"), ("a",))],
        "b and c answer",
    ),
    (
        PermitIsProven(),
        [A_LEADS, Permit(1, "a", 5, 9.5), key(3, "a", "renewal"), Permit(3, "a", 5, 12.5)],
        [Permit(4, "a", 5, 13.4), Permit(4, "b", 5, 5)],
        "outlasts its last proof",
    ),
    (PermitIsProven(), [A_LEADS, KeyWritten(1, "etcd", "sync", "wipe"), Permit(2, "a", 9, 60)], [], ""),
    (
        RefusalsAreObeyed(),
        [
            *(A_LEADS, Told(0, "a", "leader", 5, done=True), Permit(1, "a", 5, 8)),
            *(Told(3, "a", "leader", 5, done=False), Permit(3.1, "a", 5, 12), Told(4, "b", "leader", 0, done=False)),
        ],
        [Permit(14, "a", 5, 14), Permit(14, "b", 5, 15)],
        "has a permit for term 5",
    ),
    (
        RefusalsAreObeyed(),
        [
            *(Told(1, "a", "claimed", 2, done=False), Told(2, "a", "claimed", 2, done=True), writable(3, "a", 1, 2)),
            *(Told(4, "b", "claimed", 3, done=False), replace(writable(5, "b", 2, 3), by_hand=True)),
        ],
        [writable(6, "b", 2, 3)],
        "refused it that number",
    ),
    (LeaderKeyPassesOn(), [A_LEADS, key(1, "b", "restore", 3)], [key(2, "c", "campaign", 9)], "of b over"),
    (
        SynchronousCommitsLast(),
        [
            *(sync_key("a"), acked(1, "a", 1, 1), KeyWritten(2, "etcd", "sync", "wipe", "(deleted)")),
            *(writable(3, "b", 2, 2), sync_key("b"), acked(4, "b", 2, 5)),
        ],
        [replace(writable(5, "c", 3, 3), promoted=False, adopted=True)],
        "c leads without 1",
    ),
    (OneRoute(), [Routed(1, "proxy", ()), Routed(2, "proxy", ("a",))], [Routed(3, "proxy", ("a", "b"))], "a and b"),
    (ByTheTable(), [StateChanged(1, "a", "standby", "candidate", 560)], [Crashed(2, "a", "KeyError('x')")], "KeyError"),
    (ByTheTable(), [], [StateChanged(1, "a", "standby", "primary", 560)], "leads from"),
    (ByTheTable(), [], [StateChanged(1, "a", "standby", "primary", 7)], "not in the table"),
    (
        AnotherCopy(),
        [DataGone(1, "a", "valid moved aside", ("b",)), DataGone(2, "b", "unfinished moved aside", ())],
        [DataGone(3, "a", "valid moved aside: diverged", ())],
        "no other node holds a copy",
    ),
    (
        SynchronousCommitsLast(),
        [
            *(KeyWritten(0, "etcd", "sync", "restore"), sync_key("a"), acked(1, "a", 1, 1)),
            *(Corrupted(2, "b", "a", Lsn(5)), writable(3, "b", 2, 2)),
            *(sync_key("a"), acked(4, "a", 3, 2)),
        ],
        [writable(5, "c", 4, 4)],
        "c leads without 1",
    ),
    (
        SynchronousCommitsLast(),
        [acked(0, "a", 1, 8), sync_key("a"), acked(1, "a", 1, 1), writable(3, "b", 2, 2, [1])],
        [writable(4, "c", 3, 3, [8])],
        "c leads without 1",
    ),
    (
        SynchronousCommitsLast(),
        [sync_key("a"), acked(1, "a", 1, 1), forced("c"), writable(4, "c", 3, 3, [8]), sync_key("b"), acked(6, "b", 4)],
        [writable(7, "c", 5, 5, [8])],
        "c leads without 1",
    ),
    (
        SynchronousCommitsLast(),
        [sync_key("a"), acked(1, "b", 2, 1), writable(2, "c", 3, 3, [1])],
        [writable(3, "a", 4, 4)],
        "a leads without 1",
    ),
    (
        Follows(10),
        [
            writable(1, "a", 1),
            KeyWritten(2, "etcd", "config", "a", '{"ttl": 10}'),
            KeyWritten(3, "etcd", "config", "a", '{"standby_cluster": {"host": "x"}}'),
            commit(4, "a", 1),
            replace(writable(20, "b", 2), by_hand=True),
            replace(commit(21, "b", 2), void="made writable by hand"),
        ],
        [writable(30, "c", 3), commit(31, "c", 3)],
        "the cluster follows another",
    ),
    (Liveness(5), [HALF, Note(1, "run", HEALED), WHOLE], [], ""),
    (Liveness(5), [Note(1, "run", HEALED)], [HALF], "not well ['c']"),
    (
        Quiet(),
        [
            StateChanged(0, "a", "standby", "candidate", 560),
            KeyWritten(1, "etcd", "members/a", "a", "1"),
            Note(2, "run", QUIET),
            KeyWritten(3, "etcd", "members/a", "a", "2"),
            KeyWritten(3, "etcd", "leader", "a", "a"),
            KeyWritten(4, "etcd", "leader", "a", "a"),
            key(5, "a", "renewal"),
        ],
        [KeyWritten(6, "etcd", "members/a", "a", "2")],
        "a wrote the key members/a again",
    ),
    (Quiet(), [Note(2, "run", QUIET)], [key(5, None, "expiry")], "changed by expiry"),
    (Quiet(), [Note(2, "run", QUIET), Fault(3, "a", "freeze"), key(5, None, "expiry")], [], ""),
    (Quiet(), [Note(2, "run", QUIET)], [StateChanged(3, "a", "standby", "fenced", 520)], "without any fault a went"),
]  # fmt: skip


@pytest.mark.parametrize(("checker", "good", "bad", "said"), CASES)
def test_a_checker_passes_the_good_and_names_the_bad(
    checker: Checker, good: list[Event], bad: list[Event], said: str
) -> None:
    assert [found for event in good if (found := checker.see(event))] == []
    named = [text for event in bad if (text := checker.see(event))]
    assert [said in text for text in named] == [True] * len(bad)


def test_a_history_that_ends_before_the_cluster_is_whole_is_no_success() -> None:
    checker = Liveness(100)
    assert checker.see(Note(1, "run", HEALED)) is None
    assert checker.see(HALF) is None
    assert "at the end" in (checker.finish() or "")


PAUSED = replace(on_timeline(2, "b", 1), void="paused")


@pytest.mark.parametrize(
    ("good", "bad", "said"),
    [
        (
            [on_timeline(1, "a", 1), on_timeline(3, "b", 2)],
            on_timeline(4, "a", 1),
            "a acknowledged row 4 on timeline 1",
        ),
        ([on_timeline(1, "a", 1), PAUSED], on_timeline(3, "b", 1), "timeline 1 was written by ['a', 'b']"),
    ],
)
def test_timelines_are_judged_when_the_history_has_ended_and_before_etcd_is_set_back(
    good: list[Acked], bad: Acked, said: str
) -> None:
    checker = OneTimeline()
    assert [checker.see(event) for event in good] == [None] * len(good)
    assert checker.finish() is None
    assert checker.see(bad) is None
    assert said in (checker.finish() or "")
    assert checker.see(KeyWritten(9, "etcd", "leader", "restore")) is None
    assert said in (checker.finish() or ""), "it is not forgotten"


def test_every_checker_has_a_name_of_its_own() -> None:
    names = [checker.name for checker in all_checkers(bound_s=60)]
    assert len(set(names)) == len(names)
