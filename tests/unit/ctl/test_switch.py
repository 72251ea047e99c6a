"""Changes of leader: what is asked, what is shown, and what refuses."""

from __future__ import annotations

import pytest

from haagent.core.terms import Lsn
from haagent.ctl import switch
from haagent.rest.client import RequestError, Response
from tests.builders import LSN
from tests.unit.ctl.world import Answerer, World, answer, lines, primary_status, standby_status

SWITCH = ("POST", "/switchover")
FAIL = ("POST", "/failover")


def a_world(path: tuple[str, str] = SWITCH, reply: Answerer | None = None) -> World:
    """A healthy cluster whose agents agree; nothing else happens yet."""
    world = World()
    world.agents.status = {"10.0.0.1": primary_status(), "10.0.0.2": standby_status(), "10.0.0.3": standby_status()}
    world.agents.answers[path] = reply or answer(200, 'Successfully switched over to "b"')
    return world


def moves_to(world: World, winner: str, old: str = "a") -> None:
    """From the third look at etcd on things happen, one a look: stopped, key taken, writable, back as a standby."""
    looks = 0
    host = {"a": "10.0.0.1", "b": "10.0.0.2", "c": "10.0.0.3"}

    def step() -> None:
        nonlocal looks
        looks += 1
        if looks == 3:
            world.agents.status[host[old]] = {"state": "stopping", "role": "primary"}
        elif looks == 5:
            world.lead(winner, 300)
        elif looks == 7:
            world.agents.status[host[winner]] = primary_status(timeline=2)
            world.change_member(winner, timeline=2, role="primary")
        elif looks == 9:
            world.agents.status[host[old]] = standby_status(timeline=2)

    world.dcs.on_read = step


def test_a_switchover_shows_its_phases_and_the_total() -> None:
    world = a_world()
    moves_to(world, "b")
    result = world.run("switchover", "--candidate", "b", "--force")
    assert result.exit_code == 0, result.output
    phases = [line.split(" s  ", 1)[1] for line in lines(result) if " s  " in line]
    assert phases == [
        "requested",
        "old primary a has stopped accepting writes",
        "leader key taken by b",
        "b accepts writes",
        "a streams from b, timeline 2",
    ]
    assert lines(result)[-1].startswith('Successfully switched over to "b" in ')
    assert world.agents.seen == [("10.0.0.1", "POST", "/switchover", {"leader": "a", "candidate": "b"})]


def test_the_plan_names_leader_candidate_and_lag() -> None:
    world = a_world()
    world.change_member("b", receive_lsn=Lsn(LSN - 4096), lsn=Lsn(LSN - 4096))
    result = world.run("switchover", "--candidate", "b", "--leader", "a", "--scheduled", "now", typed="n\n")
    assert result.exit_code == 1
    assert "  leads now:     a (10.0.0.1:5432; running, timeline 1)" in lines(result)
    assert "  leads after:   b (10.0.0.2:5432; streaming, timeline 1, 4096 bytes behind)" in lines(result)
    assert "PostgreSQL on a is stopped in good order" in result.output
    assert world.agents.seen == [], "nothing is asked of anybody before it is confirmed"


def test_questions_in_the_order_of_habit() -> None:
    world = a_world()
    moves_to(world, "c")
    result = world.run("switchover", typed="\n\n\ny\n")
    assert result.exit_code == 0, result.output
    order = [result.output.index(text) for text in ("Primary [a]", "Candidate ['b', 'c']", "When (", "[y/N]")]
    assert order == sorted(order)
    assert world.agents.seen[0][3] == {"leader": "a"}


def test_a_refusal_is_told_with_its_reasons() -> None:
    why = "switchover is not possible: b is 20971520 bytes behind; maximum_lag_on_failover is 1048576"
    world = a_world(reply=answer(412, why))
    result = world.run("switchover", "--candidate", "b", "--force")
    assert result.exit_code == 1
    assert f"a refused the switchover (HTTP 412): {why}" in result.output


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--leader", "b", "--candidate", "c"), "b does not lead cluster demo; a does"),
        (("--candidate", "z"), "z is no member of cluster demo; members are a, b, c"),
    ],
)
def test_what_makes_no_sense_is_not_sent(words: tuple[str, ...], why: str) -> None:
    world = a_world()
    result = world.run("switchover", *words, "--force")
    assert result.exit_code == 1
    assert why in result.output
    assert world.agents.seen == []


def test_without_a_leader_there_is_failover() -> None:
    world = a_world()
    world.change(leader=None)
    result = world.run("switchover", "--candidate", "b", "--force")
    assert result.exit_code == 1
    assert "haagent-ctl failover --candidate NAME" in result.output


def test_a_scheduled_switchover_waits_for_nothing() -> None:
    world = a_world(reply=answer(202, "Switchover scheduled"))
    at = "2033-09-12T17:17:00+00:00"
    result = world.run("switchover", "--candidate", "b", "--scheduled", at, "--force")
    assert result.exit_code == 0
    assert lines(result)[-1] == "Switchover scheduled"
    assert world.agents.seen[0][3] == {"leader": "a", "candidate": "b", "scheduled_at": at}


def test_a_dead_leaders_agent_is_passed_over_for_another() -> None:
    world = a_world()
    world.agents.down = {"10.0.0.1"}
    moves_to(world, "b")
    world.agents.down = {"10.0.0.1"}
    streams = switch.STREAMS_WITHIN_S
    switch.STREAMS_WITHIN_S = 0.05
    try:
        result = world.run("switchover", "--candidate", "b", "--force")
    finally:
        switch.STREAMS_WITHIN_S = streams
    assert result.exit_code == 0, result.output
    assert "a (10.0.0.1:5432; running, timeline 1, ITS AGENT DOES NOT ANSWER)" in result.output
    assert world.agents.seen[0][:3] == ("10.0.0.2", "POST", "/switchover")
    assert "a does not stream from b" in result.output


def test_with_no_agent_at_all_the_request_goes_into_etcd(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(switch, "TAKEN_WITHIN_S", 0.1)
    world = a_world()
    world.agents.down = {"10.0.0.1", "10.0.0.2", "10.0.0.3"}
    result = world.run("switchover", "--candidate", "b", "--force")
    assert world.dcs.asked == [("a", "b", None)]
    assert result.exit_code == 1
    assert "No other member accepts writes after" in result.output


def lost(_body: object) -> Response:
    raise RequestError("POST /switchover at http://10.0.0.1:8008: no answer within 130 s") from TimeoutError()


def test_a_lost_answer_is_no_failure_when_the_cluster_moves() -> None:
    world = a_world(reply=lost)
    moves_to(world, "b")
    result = world.run("switchover", "--candidate", "b", "--force")
    assert result.exit_code == 0, result.output
    assert [seen[0] for seen in world.agents.seen] == ["10.0.0.1"], "it is never sent twice"


def test_a_failover_warns_of_loss_and_of_a_leader_that_is_there() -> None:
    world = a_world(FAIL)
    result = world.run("failover", "--candidate", "b", typed="n\n")
    assert result.exit_code == 1
    assert "commits that the candidate has not received are lost" in result.output
    assert "haagent-ctl switchover would lose nothing" in result.output
    assert world.agents.seen == []


def test_a_failover_without_a_leader_asks_the_candidate() -> None:
    world = a_world(FAIL)
    world.change(leader=None)
    moves_to(world, "b")
    result = world.run("failover", "--candidate", "b", "--force")
    assert result.exit_code == 0, result.output
    assert world.agents.seen == [("10.0.0.2", "POST", "/failover", {"candidate": "b"})]
    assert lines(result)[-1].startswith('Successfully failed over to "b" in ')


@pytest.mark.parametrize(
    ("words", "why"),
    [((), "only to a specific candidate"), (("--candidate", "a"), "a leads cluster demo already")],
)
def test_a_failover_needs_another_candidate(words: tuple[str, ...], why: str) -> None:
    world = a_world(FAIL)
    result = world.run("failover", *words, "--force")
    assert result.exit_code == 1
    assert why in result.output
    assert world.agents.seen == []
