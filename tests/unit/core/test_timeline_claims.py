"""A number names one timeline: it is claimed before a promotion, above all that anybody is known to have made."""

from __future__ import annotations

from dataclasses import replace

import pytest

from haagent.core.actions import ClaimTimeline, Promote, StartStandby, StopPostgres
from haagent.core.decide import check, decide
from haagent.core.facts import Divergence, Failure, HistoryLine, Outcome, Settings, View
from haagent.core.publish import led
from haagent.core.states import State
from haagent.core.terms import Lsn, Revision, Timeline, later
from haagent.core.timelines import newest_known
from tests.builders import (
    LSN,
    NOW,
    TERM,
    a_cluster,
    a_guard,
    a_lease,
    a_member,
    a_memory,
    a_poll,
    a_primary_view,
    a_reply,
    a_standby,
    a_view,
    some_data,
    stopped,
)


def a_winner(**changes: object) -> View:
    """Node b, a standby on timeline 4, has just won the leader key."""
    cluster = a_cluster(leader="b", claimed=Timeline(4), claimed_revision=Revision(7))
    view = a_view(lease=a_lease(), guard=a_guard(), cluster=cluster, postgres=a_standby(timeline=4))
    return replace(replace(view, memory=a_memory(State.CANDIDATE)), **changes)  # type: ignore[arg-type]


def promised(view: View) -> tuple[ClaimTimeline | None, Promote]:
    actions = decide(view).actions
    claims = [one for one in actions if isinstance(one, ClaimTimeline)]
    (promotion,) = [one for one in actions if isinstance(one, Promote)]
    assert not claims or actions.index(claims[0]) < actions.index(promotion)
    return (claims[0] if claims else None), promotion


def test_a_promotion_claims_its_number_first() -> None:
    claim, promotion = promised(a_winner())
    assert claim == ClaimTimeline(TERM, Timeline(5), Revision(7))
    assert promotion == Promote(TERM, Timeline(4), Timeline(5))


def test_the_number_of_a_dead_primary_is_not_made_again() -> None:
    dead = a_cluster(leader="b", claimed=Timeline(5), claimed_revision=Revision(9))
    claim, promotion = promised(a_winner(cluster=dead))
    assert claim == ClaimTimeline(TERM, Timeline(6), Revision(9))
    assert promotion == Promote(TERM, Timeline(4), Timeline(6))


BEYOND = {
    "its history": a_winner(cluster=a_cluster(leader="b", history=(HistoryLine(Timeline(8), LSN, "r"),))),
    "a member": a_winner(cluster=a_cluster(a_member("b"), a_member("c", timeline=9), leader="b")),
    "a peer": a_winner(peers=a_poll(a_reply("c", timeline=9))),
    "its own .history files": a_winner(
        postgres=replace(a_standby(timeline=4), data=some_data(timeline=Timeline(4), heard=Timeline(9)))
    ),
}


@pytest.mark.parametrize("view", BEYOND.values(), ids=BEYOND.keys())
def test_the_number_is_above_all_that_is_known(view: View) -> None:
    assert newest_known(view) == 9
    assert promised(view)[1].claimed == 10


def promoting(**changes: object) -> View:
    view = a_winner(memory=a_memory(State.PROMOTING, since=later(NOW, -2.0), promoted_at=later(NOW, -2.0)))
    return replace(view, **changes)  # type: ignore[arg-type]


def test_a_claim_of_this_term_is_used_again() -> None:
    done = Outcome("ClaimTimeline", result=(TERM, Timeline(5)))
    cluster = a_cluster(leader="b", claimed=Timeline(5), claimed_revision=Revision(8))
    claim, promotion = promised(promoting(outcomes=(done,), cluster=cluster))
    assert (claim, promotion.claimed) == (None, Timeline(5))


def test_a_claim_of_unknown_outcome_and_one_that_is_used_up_are_followed_by_another() -> None:
    unknown = Outcome("ClaimTimeline", Failure.UNKNOWN)
    cluster = a_cluster(leader="b", claimed=Timeline(5), claimed_revision=Revision(8))
    assert promised(promoting(outcomes=(unknown,), cluster=cluster))[1].claimed == 6
    crashed = replace(a_standby(timeline=4), data=some_data(timeline=Timeline(4), heard=Timeline(5)))
    memory = a_memory(State.PROMOTING, since=later(NOW, -2.0), promoted_at=later(NOW, -2.0), claim=(TERM, Timeline(5)))
    assert promised(promoting(memory=memory, cluster=cluster, postgres=crashed))[1].claimed == 6


def test_a_failed_claim_is_tried_again_at_once() -> None:
    failed = Outcome("ClaimTimeline", Failure.REFUSED, "haagent_timeline was changed by somebody else")
    plan = decide(
        promoting(memory=a_memory(State.PROMOTING, since=later(NOW, -2.0), promoted_at=NOW), outcomes=(failed,))
    )
    assert plan.row == 755


def test_no_plan_promotes_to_a_number_that_is_not_claimed() -> None:
    view = a_winner()
    plan = decide(view)
    without = tuple(one for one in plan.actions if not isinstance(one, ClaimTimeline))
    with pytest.raises(AssertionError, match="not claimed"):
        check(view, replace(plan, actions=without))


def test_a_primary_notes_the_timeline_that_it_is_on() -> None:
    view = a_primary_view()
    (note,) = [one for one in led(view) if isinstance(one, ClaimTimeline)]
    assert (note.timeline, note.expected) == (1, None)
    noted = replace(view, cluster=a_cluster(leader="b", claimed=Timeline(1), claimed_revision=Revision(3)))
    assert not [one for one in led(noted) if isinstance(one, ClaimTimeline)]


def test_a_standby_that_waits_for_a_dead_timeline_is_started_anew_less_and_less_often() -> None:
    same = Divergence("a", Timeline(6), Timeline(4), Lsn(LSN))
    leader = a_member("a", timeline=6)
    base = a_view(cluster=a_cluster(leader, a_member("b"), leader="a"), postgres=a_standby(timeline=4, receiver=None))
    for rejoins, waited_s, restarted in ((0, 5.0, False), (0, 11.0, True), (1, 11.0, False), (1, 21.0, True)):
        memory = a_memory(State.STANDBY, divergence=same, since=later(NOW, -waited_s), rejoins=rejoins)
        plan = decide(replace(base, memory=memory))
        assert (plan.row == 577) is restarted, (rejoins, waited_s, plan.row)
        if restarted:
            assert any(isinstance(one, StopPostgres) for one in plan.actions)
            assert plan.memory.rejoins == rejoins + 1


def test_a_standby_that_is_bound_for_a_dead_timeline_is_started_anew_before_it_is_promoted() -> None:
    bound = replace(a_standby(timeline=4), data=some_data(timeline=Timeline(4), heard=Timeline(5), bound=Timeline(5)))
    plan = decide(a_winner(postgres=bound))
    assert StopPostgres("fast") in plan.actions
    assert not any(isinstance(one, Promote) for one in plan.actions)
    down = stopped(cluster_state="shut down in recovery", timeline=Timeline(4), heard=Timeline(5))
    again = decide(a_winner(postgres=down, memory=plan.memory))
    assert any(isinstance(one, StartStandby) for one in again.actions)
    back = replace(a_standby(timeline=4), data=some_data(timeline=Timeline(4), heard=Timeline(5)))
    assert promised(a_winner(postgres=back, memory=again.memory))[1].claimed == 6
    archived = a_winner(postgres=bound, settings=Settings(recovery={"restore_command": "cp /a/%f %p"}))
    assert promised(archived)[1].claimed == 6
