"""A timeline that other hands made ranks its node above nobody, until it has followed a leader."""

from __future__ import annotations

from dataclasses import replace

import pytest

from haagent.core import conditions as c
from haagent.core import stray
from haagent.core.actions import Promote, RememberStanding
from haagent.core.decide import decide
from haagent.core.facts import ClusterFacts, FailoverKey, LeaseFacts, Member, Standing, SyncKey, View
from haagent.core.states import State
from haagent.core.terms import Revision, Timeline
from tests.builders import (
    NOW,
    a_lease,
    a_member,
    a_memory,
    a_poll,
    a_primary,
    a_reply,
    a_snapshot,
    a_standby,
    a_view,
    some_settings,
    stopped,
)

STOOD = Standing(stood=True)
STRAY = Standing(stray=Timeline(2))


def seen(standing: Standing, **changes: object) -> View:
    """``b``, without a term, as it remembers itself."""
    state = changes.pop("state", State.STANDBY)
    return a_view(**{"lease": LeaseFacts(), "memory": a_memory(state, standing=standing), **changes})  # type: ignore[arg-type]


def now_remembered(v: View) -> Standing:
    return stray.standing(v, streams=c.streaming(v))


def test_a_standby_that_turns_writable_without_a_term_is_noted_on_disk_before_it_is_stopped() -> None:
    plan = decide(seen(STOOD, postgres=a_primary(timeline=2)))
    assert plan.row == 525
    assert plan.memory.standing == STRAY
    assert plan.actions[0] == RememberStanding(STRAY)


@pytest.mark.parametrize("state", ["in production", "shut down", "shutting down"])
def test_one_that_was_writable_while_the_agent_was_away_is_noted_by_its_control_file(state: str) -> None:
    down = stopped(cluster_state=state, timeline=Timeline(2))
    assert now_remembered(seen(STOOD, postgres=down, state=State.FENCED)) == STRAY
    assert now_remembered(seen(Standing(), postgres=down, state=State.FENCED)) == Standing()


def test_a_standby_that_ended_as_one_is_none() -> None:
    down = stopped(cluster_state="shut down in recovery")
    assert now_remembered(seen(STOOD, postgres=down, state=State.FENCED)) == STOOD


def test_in_a_pause_nothing_is_noted_and_a_term_clears_all() -> None:
    paused = seen(STOOD, postgres=a_primary(timeline=2), settings=some_settings(pause=True))
    assert now_remembered(paused) == STOOD
    for standing in (STOOD, STRAY):
        leading = seen(standing, postgres=a_primary(timeline=2), lease=a_lease(), state=State.PRIMARY)
        assert now_remembered(leading) == Standing()


def test_what_the_agent_itself_promotes_is_forgotten_before_it_is_done() -> None:
    promotion = Promote(a_lease().term, Timeline(1), Timeline(2))  # type: ignore[arg-type]
    found, actions = stray.remembered(seen(STOOD), (promotion,), STOOD)
    assert found == Standing()
    assert actions == (RememberStanding(Standing()), promotion)


def test_only_a_leader_on_the_same_timeline_clears_it() -> None:
    on = {timeline: a_snapshot(a_member("a", timeline=timeline)) for timeline in (1, 2)}
    view = seen(STRAY, postgres=a_standby(timeline=2))
    views = {timeline: replace(view, cluster=ClusterFacts(found, NOW)) for timeline, found in on.items()}
    assert stray.standing(views[1], streams=True) == replace(STRAY, stood=True)
    assert stray.standing(views[2], streams=False) == replace(STRAY, stood=True)
    assert stray.standing(views[2], streams=True) == STOOD


def leaderless(standing: Standing, **changes: object) -> View:
    return seen(standing, cluster=ClusterFacts(a_snapshot(leader=None, **changes), NOW), postgres=a_standby(timeline=2))


def test_it_is_barred_from_elections_and_says_so_unless_an_operator_names_it() -> None:
    assert c.why_not_me(leaderless(STOOD)) is None
    why = c.why_not_me(leaderless(STRAY))
    assert why is not None
    assert "without the leader key, to timeline 2" in why
    assert "failover" in why
    assert c.why_not_me(leaderless(STRAY, failover=FailoverKey(Revision(60), candidate="b"))) is None


def test_where_everybody_was_promoted_by_hand_the_usual_ranking_counts_again() -> None:
    extra = {stray.WIRE_FIELD: 2}
    strays = [a_member(name, extra=extra) for name in ("b", "c")]

    def barred(*members: Member, sync: SyncKey | None = None) -> bool:
        snapshot = a_snapshot(*members, leader=None, sync=sync)
        settings = some_settings(synchronous_mode="on" if sync else "off")
        view = replace(leaderless(STRAY), cluster=ClusterFacts(snapshot, NOW), settings=settings)
        return stray.objection(view) is not None

    assert barred(strays[0], a_member("c"))
    assert not barred(*strays)
    of_both = SyncKey(Revision(9), "c", standbys=("b",))
    assert not barred(*strays, sync=of_both)
    assert barred(*strays, sync=replace(of_both, leader="a"))


def test_the_last_leader_of_a_synchronous_mode_lacks_nothing() -> None:
    view = leaderless(STRAY, sync=SyncKey(Revision(9), "b", standbys=("c",)))
    assert stray.objection(view) is not None
    assert stray.objection(replace(view, settings=some_settings(synchronous_mode="on"))) is None


def test_peers_neither_wait_for_it_nor_take_its_timeline_for_a_later_primary() -> None:
    reply = a_reply("c", timeline=9, stray=True, unfit="promoted by hand")
    view = replace(leaderless(STOOD), peers=a_poll(reply))
    assert not c.outranked(view)
    assert not c.outdated(view)
    assert not c.overtaken(view)
    view = replace(view, peers=a_poll(replace(reply, stray=False, unfit="")))
    assert c.outranked(view)
    assert c.outdated(view)
    assert c.overtaken(view)


@pytest.mark.parametrize("standing", [Standing(), STOOD, STRAY, Standing(True, Timeline(3))])
def test_the_store_keeps_it(standing: Standing) -> None:
    timeline = None if standing.stray is None else int(standing.stray)
    assert stray.kept({"stood": standing.stood, "stray": timeline}) == standing
    assert stray.kept("nonsense") == Standing()
