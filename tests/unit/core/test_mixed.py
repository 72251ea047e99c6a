"""A Patroni leader's end is believed only of a fresh answer, and settings that its kin would not take are refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from haagent.core import conditions as c
from haagent.core import mixed
from haagent.core.actions import AskPeers, PutConfig, Reply
from haagent.core.decide import decide
from haagent.core.facts import ClusterFacts, FailoverKey, Handover, Heartbeat, Intent, PeerReply, View
from haagent.core.states import State
from haagent.core.terms import Instant, Lsn, Revision, Term, later
from tests.builders import (
    NOW,
    TERM,
    a_cluster,
    a_leader_key,
    a_member,
    a_memory,
    a_poll,
    a_reply,
    a_silent_peer,
    a_snapshot,
    a_view,
    with_config,
)

PATRONI = a_member("a", patroni=True, version="4.1.5")
OTHERS = (a_member("b"), a_member("c"))
ASKED = FailoverKey(Revision(9), leader="a", candidate="b")
STOPPED = a_reply("a", running=False, demoted=True, lsn=Lsn(0))
STANDS_BY = a_reply("a")


def vanished(
    reply: PeerReply | None = None, *, asked_s: float = -0.1, known: Handover | None = None, **snapshot: Any
) -> View:
    """Patroni's ``a`` took the key three seconds ago, and half a second ago it vanished; what ``a`` says since."""
    found = a_snapshot(PATRONI, *OTHERS, leader=None, **{"failover": ASKED} | snapshot)
    beat = Heartbeat(TERM, Revision(TERM), later(NOW, -3.0), 20.0, "a")
    memory = a_memory(
        State.STANDBY,
        leaderless_since=later(NOW, -0.5),
        handover=known or Handover(TERM, led=True),
    )
    polled = None if reply is None else a_poll(reply, a_reply("c"), asked_at=later(NOW, asked_s))
    return a_view(cluster=ClusterFacts(found, NOW, heartbeat=beat), memory=memory, peers=polled)


# --- a leader of Patroni hands over ---


def test_whoever_held_the_vanished_key_is_asked_and_its_end_ends_the_wait() -> None:
    plan = decide(vanished())
    assert plan.row == 559
    assert [m.name for one in plan.actions if isinstance(one, AskPeers) for m in one.members] == ["a", "c"]
    assert plan.wake_in <= 0.1
    for reply in (STOPPED, STANDS_BY):
        after = decide(vanished(reply))
        assert after.memory.state is State.CANDIDATE
        assert after.memory.handover == Handover(TERM, led=True, over=True)


@pytest.mark.parametrize(
    "reply",
    [
        a_silent_peer("a"),
        a_reply("a", running=False, lsn=Lsn(0)),
        a_reply("a", in_recovery=False),
        a_reply("a", running=False, in_recovery=False),
        a_reply("a", leads=True),
        a_reply("a", lsn=Lsn(0)),
    ],
    ids=["silent", "down, by itself", "primary", "primary that stops", "leads", "tells no position"],
)
def test_any_other_answer_ends_no_wait(reply: PeerReply) -> None:
    view = vanished(reply)
    plan = decide(view)
    assert plan.row == 559
    assert not c.let_go(replace(view, memory=plan.memory))


@pytest.mark.parametrize("reply", [STOPPED, STANDS_BY], ids=["stopped", "in recovery"])
def test_an_answer_from_before_the_key_vanished_says_nothing(reply: PeerReply) -> None:
    assert decide(vanished(reply, asked_s=-0.6)).row == 559
    assert decide(vanished(reply, asked_s=-0.5)).memory.state is State.CANDIDATE


@pytest.mark.parametrize(
    "view",
    [
        vanished(STANDS_BY, known=Handover(TERM, led=False)),
        vanished(STANDS_BY, failover=None),
        vanished(STANDS_BY, failover=FailoverKey(Revision(9))),
        vanished(STANDS_BY, failover=replace(ASKED, candidate=None, scheduled_at="2033-01-01", scheduled_epoch=2e9)),
    ],
    ids=["about to be promoted for the first time", "nobody asked it to leave", "the request is done", "asked later"],
)
def test_in_recovery_it_may_be_about_to_be_promoted_under_the_key_that_vanished(view: View) -> None:
    assert decide(view).row == 559


def test_a_failover_to_the_member_itself_does_not_ask_it_to_leave() -> None:
    view = vanished(STANDS_BY, failover=FailoverKey(Revision(9), candidate="a"))
    assert decide(view).memory.handover == Handover(TERM, led=True)


def test_what_it_stopped_by_its_own_will_is_down_without_a_request() -> None:
    assert decide(vanished(STOPPED, failover=None)).memory.state is State.CANDIDATE
    assert decide(vanished(STOPPED, known=Handover(TERM, led=False), failover=None)).memory.state is State.CANDIDATE


def test_the_end_of_one_term_is_not_the_end_of_the_next() -> None:
    over = Handover(TERM, led=True, over=True)
    assert c.let_go(vanished(known=over))
    later_term = Heartbeat(Term(TERM + 5), Revision(TERM + 5), NOW, 20.0, "a")
    view = vanished(known=over)
    view = replace(view, cluster=replace(view.cluster, heartbeat=later_term))
    assert not c.let_go(view)
    assert decide(view).memory.handover is None


def test_an_end_once_told_stays_told_while_etcd_or_the_member_is_silent() -> None:
    over = Handover(TERM, led=True, over=True)
    silent = vanished(a_silent_peer("a"), known=over)
    assert decide(silent).memory.handover == over
    assert decide(replace(silent, cluster=replace(silent.cluster, silent_since=NOW))).memory.handover == over


def test_of_a_leader_it_is_remembered_whether_it_was_a_primary_and_of_haagent_s_nothing() -> None:
    def standing(**changes: Any) -> Handover | None:
        view = a_view(cluster=a_cluster(replace(PATRONI, **changes), *OTHERS))
        return decide(view).memory.handover

    assert standing() == Handover(TERM, led=True)
    assert standing(role="replica") == Handover(TERM, led=False)
    assert standing(role="promoted") == Handover(TERM, led=False)
    assert standing(state="stopping") == Handover(TERM, led=True)
    assert standing(patroni=False) is None
    assert decide(a_view(cluster=a_cluster(*OTHERS))).memory.handover is None


def test_a_leader_of_haagent_that_did_not_release_is_waited_for_whatever_it_says() -> None:
    view = vanished(STOPPED)
    view = replace(view, memory=replace(view.memory, handover=None))
    assert decide(view).row != 559
    assert not c.let_go(view)


def test_the_candidate_that_was_named_goes_first_when_the_key_has_just_vanished() -> None:
    """Patroni writes its leader key once: that its last sighting is old tells nothing of how long it is gone."""
    view = vanished(STOPPED, failover=replace(ASKED, candidate="c"))
    old = replace(a_leader_key(), revision=Revision(TERM))
    beat = Heartbeat(TERM, old.revision, Instant(NOW - 900.0), 20.0, "a")
    view = replace(view, cluster=replace(view.cluster, heartbeat=beat))
    assert "c is under way" in (c.why_not_me(view) or "")


# --- settings that Patroni would not take ---


def wrong(document: dict[str, Any], present: dict[str, Any] | None = None, *, alone: bool = False) -> str | None:
    members = (a_member("a"), *OTHERS) if alone else (PATRONI, *OTHERS)
    usual = {"ttl": 30, "loop_wait": 10, "retry_timeout": 10}
    return mixed.objection(a_snapshot(*members, config=with_config(present or usual)), document)


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({"ttl": 10}, "ttl 10 is below Patroni's minimum of 20"),
        ({"ttl": "15s"}, "ttl 15 is below Patroni's minimum of 20"),
        ({"ttl": 30, "retry_timeout": 2}, "retry_timeout 2 is below Patroni's minimum of 3"),
        ({"ttl": 30, "loop_wait": 0.5}, "loop_wait 0.5 is not a whole number of seconds"),
        ({"ttl": "soon"}, "ttl 'soon' is not a whole number of seconds"),
        ({"ttl": 20, "loop_wait": 10, "retry_timeout": 10}, "loop_wait 10 + 2 * retry_timeout 10 is more than ttl 20"),
    ],
)
def test_what_patroni_would_not_take_is_refused_with_the_member_that_would_not(
    document: dict[str, Any], said: str
) -> None:
    told = wrong(document)
    assert told is not None
    assert told.startswith(said)
    assert "a (Patroni 4.1.5)" in told
    assert wrong(document, alone=True) is None


@pytest.mark.parametrize(
    ("document", "present"),
    [
        ({"ttl": 20, "loop_wait": 2, "retry_timeout": 5}, None),
        ({"maximum_lag_on_failover": 1}, None),
        ({"ttl": 5, "pause": True}, {"ttl": 5}),
    ],
    ids=["at the minimum", "another setting", "it stood there before"],
)
def test_what_is_in_bounds_or_was_there_before_is_written(
    document: dict[str, Any], present: dict[str, Any] | None
) -> None:
    assert wrong(document, present) is None


@pytest.mark.parametrize("kind", ["patch_config", "put_config"])
def test_a_request_for_such_a_setting_is_refused_and_nothing_is_written(kind: str) -> None:
    snapshot = a_cluster(PATRONI, *OTHERS, config=with_config({"ttl": 30}))
    plan = decide(a_view(cluster=snapshot, intents=(Intent(1, kind, {"ttl": 8}, NOW),)))
    replies = [one for one in plan.actions if isinstance(one, Reply)]
    assert [one.status for one in replies] == [400]
    assert "a (Patroni 4.1.5)" in str(replies[0].body)
    assert not any(isinstance(one, PutConfig) for one in plan.actions)
    fine = decide(a_view(cluster=snapshot, intents=(Intent(1, kind, {"ttl": 25}, NOW),)))
    assert any(isinstance(one, PutConfig) for one in fine.actions)
