"""What would happen if the leader died now, by the same rules as elections and deadlines."""

from __future__ import annotations

from dataclasses import replace

import pytest

from haagent.core.facts import PeerReply, Settings, Snapshot, SyncKey
from haagent.core.forecast import PROMOTE_S, Forecast, forecast
from haagent.core.lease import DRIFT, timing
from haagent.core.terms import Lsn, Revision
from tests.builders import LSN, a_reply, a_silent_peer, a_snapshot, some_tags

LEADER = a_reply("a", in_recovery=False, leads=True)
SYNC = SyncKey(Revision(5), "a", 0, ("c",))


def foreseen(
    *replies: PeerReply, snapshot: Snapshot | None = None, settings: Settings | None = None, told: str = ""
) -> Forecast:
    known = {one.name: one for one in (LEADER, *replies)}
    found = forecast(snapshot or a_snapshot(), settings or Settings(), known, {"b": told} if told else {})
    assert found is not None
    return found


def objections(found: Forecast) -> dict[str, str | None]:
    return {one.name: one.objection for one in found.candidates}


def winner(found: Forecast) -> str | None:
    return found.winner.name if found.winner else None


def test_the_one_with_more_wal_takes_over_and_what_it_lacks_is_counted() -> None:
    found = foreseen(a_reply("b", lsn=Lsn(LSN - 500)), a_reply("c", lsn=Lsn(LSN - 100)))
    assert winner(found) == "c"
    assert {one.name: one.lost for one in found.candidates} == {"b": 500, "c": 100}


def test_equals_are_told_apart_as_in_an_election() -> None:
    assert winner(foreseen(a_reply("b"), a_reply("c"))) == "b"


def test_whoever_may_not_lead_says_why() -> None:
    found = foreseen(a_reply("b", tags=some_tags(nofailover=True)), a_silent_peer("c"))
    assert winner(found) is None
    assert objections(found) == {
        "b": "b has the tag nofailover",
        "c": "its agent does not answer: no answer within 0.5 s",
    }
    assert {one.id: one.taker for one in found.faults if one.seconds is not None} == {}


def test_one_too_far_behind_and_one_whose_disk_is_full() -> None:
    found = foreseen(a_reply("b", lsn=Lsn(LSN - 3_000_000)), a_reply("c", unfit="its disk is full"))
    assert "b is 3000000 bytes behind" in str(objections(found)["b"])
    assert objections(found)["c"] == "c is not fit to lead: its disk is full"


def test_what_an_agent_says_of_itself_counts() -> None:
    found = foreseen(a_reply("b"), a_reply("c"), told="postgresql.commit_fence is required")
    assert (winner(found), objections(found)["b"]) == ("c", "postgresql.commit_fence is required")


def test_in_synchronous_mode_only_who_holds_every_acknowledged_commit() -> None:
    settings = Settings(synchronous_mode="on")
    found = foreseen(
        a_reply("b", lsn=Lsn(LSN)), a_reply("c", lsn=Lsn(LSN - 9)), snapshot=a_snapshot(sync=SYNC), settings=settings
    )
    assert winner(found) == "c"
    assert "by the sync key a or c may lead" in str(objections(found)["b"])
    assert found.winner is not None
    assert (found.winner.behind, found.winner.lost) == (9, 0)


def test_in_quorum_mode_enough_voters_must_answer() -> None:
    snapshot = a_snapshot(sync=SyncKey(Revision(5), "a", 1, ("b", "c")))
    settings = Settings(synchronous_mode="quorum")
    assert winner(foreseen(a_reply("b"), a_reply("c"), snapshot=snapshot, settings=settings)) == "b"
    found = foreseen(a_reply("b"), a_silent_peer("c"), snapshot=snapshot, settings=settings)
    assert "0 of 1 votes needed from c" in str(objections(found)["b"])


def test_nobody_takes_over_in_maintenance_mode() -> None:
    found = foreseen(a_reply("b"), settings=Settings(pause=True))
    assert objections(found)["b"] == "the cluster is paused"


def test_the_worst_case_follows_from_the_deadlines() -> None:
    t, settings = timing(10, 3, 3), Settings()
    seconds = {one.id: one.seconds for one in foreseen(a_reply("b"), a_reply("c")).faults}
    takeover = settings.peer_timeout + PROMOTE_S
    free = 10 * (1 + DRIFT)
    assert seconds == {
        "host": pytest.approx(free + takeover),
        "postgresql": pytest.approx(settings.primary_start_timeout + takeover),
        "agent": pytest.approx(free - t.fence_after + takeover),
        "etcd-access": pytest.approx(free - t.demote_after + takeover),
        "etcd": None,
    }


def test_what_is_left_to_replay_makes_a_promotion_longer() -> None:
    """Fault 61: how long is told before anybody needs it."""
    late = foreseen(a_reply("b", replayed_lsn=Lsn(LSN - 50_000_000)), a_silent_peer("c")).faults[0].seconds
    soon = foreseen(a_reply("b"), a_silent_peer("c")).faults[0].seconds
    assert late is not None
    assert soon is not None
    assert late - soon == pytest.approx(1.0)


def test_settings_that_change_who_goes_on() -> None:
    eager = Settings(primary_start_timeout=0, failsafe_mode=True)
    faults = {one.id: one for one in foreseen(a_reply("b"), settings=eager).faults}
    assert (faults["postgresql"].taker, faults["etcd"].taker) == ("b", "a")
    assert faults["etcd"].seconds == 0


def test_where_nobody_leads_there_is_nothing_to_foresee() -> None:
    assert forecast(a_snapshot(leader=None), Settings(), {}, {}) is None
    assert forecast(replace(a_snapshot(), members=()), Settings(), {"a": LEADER}, {}) is not None
