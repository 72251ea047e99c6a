"""Requests to single nodes: to whom they go, with what, and what comes of it."""

from __future__ import annotations

from typing import Any

import pytest

from haagent.core.facts import FailoverKey
from haagent.core.terms import Revision
from haagent.ctl import nodes
from haagent.rest.client import Response
from tests.unit.ctl.world import World, answer, lines, standby_status

RESTART = ("POST", "/restart")
REINIT = ("POST", "/reinitialize")


def a_world(path: tuple[str, str] = RESTART, status: int = 200, text: str = "restarted successfully") -> World:
    world = World()
    world.agents.answers[path] = answer(status, text)
    return world


def asked(world: World) -> list[str]:
    return [host for host, *_ in world.agents.seen]


def test_restart_of_all_takes_the_leader_last() -> None:
    world = a_world()
    world.lead("b", 200)
    result = world.run("restart", "demo", "--force")
    assert result.exit_code == 0, result.output
    assert asked(world) == ["10.0.0.1", "10.0.0.3", "10.0.0.2"]
    assert "Success: restart for member a (restarted successfully)" in lines(result)


@pytest.mark.parametrize(
    ("words", "hosts"),
    [
        (("b",), ["10.0.0.2"]),
        (("--role", "leader"), ["10.0.0.1"]),
        (("--role", "primary"), ["10.0.0.1"]),
        (("--role", "replica"), ["10.0.0.2", "10.0.0.3"]),
        (("--role", "standby", "c"), ["10.0.0.3"]),
        (("--pending",), ["10.0.0.2"]),
    ],
)
def test_who_is_restarted(words: tuple[str, ...], hosts: list[str]) -> None:
    world = a_world()
    world.change_member("b", pending_restart={})
    assert world.run("restart", "demo", *words, "--force").exit_code == 0
    assert asked(world) == hosts


def test_any_means_one() -> None:
    world = a_world()
    assert world.run("restart", "demo", "--any", "--role", "replica", "--force").exit_code == 0
    assert len(asked(world)) == 1


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("z",), "no such member in cluster demo: z"),
        (("--role", "standby-leader"), "there is no standby-leader in cluster demo"),
        (("--pending", "a"), "there is no member that waits for a restart among a in cluster demo"),
    ],
)
def test_nobody_meant_is_a_failure(words: tuple[str, ...], why: str) -> None:
    world = a_world()
    result = world.run("restart", "demo", *words, "--force")
    assert result.exit_code == 1
    assert why in result.output
    assert world.agents.seen == []


def test_conditions_travel_with_the_request() -> None:
    world = a_world(status=202, text="Restart scheduled")
    at = "2033-09-12T17:17:00+00:00"
    words = ["--role", "replica", "--pg-version", "15.4", "--timeout", "30", "--scheduled", at, "--force"]
    result = world.run("restart", "demo", "b", *words)
    assert result.exit_code == 0, result.output
    body = {"postgres_version": "15.4", "timeout": "30", "schedule": at, "role": "replica"}
    assert world.agents.seen == [("10.0.0.2", "POST", "/restart", body)]


def test_one_failure_fails_the_command_and_the_rest_goes_on() -> None:
    world = a_world()
    world.agents.answers[RESTART] = lambda _body: (
        Response(503, "a restart is in progress already") if len(world.agents.seen) == 1 else Response(200, "ok")
    )
    world.agents.down = {"10.0.0.3"}
    result = world.run("restart", "demo", "--force")
    assert result.exit_code == 1
    assert "Failed: restart for member b, HTTP 503: a restart is in progress already" in lines(result)
    assert "Failed: restart for member c: POST /restart at http://10.0.0.3:8008: no connection" in lines(result)
    assert "restart failed on b, c" in result.output
    assert asked(world) == ["10.0.0.2", "10.0.0.1"]


def test_without_consent_nothing_is_restarted() -> None:
    world = a_world()
    assert world.run("restart", "demo", typed="now\nn\n").exit_code == 1
    assert world.run("restart", "demo", typed="").exit_code == 1
    assert world.agents.seen == []


def test_reload() -> None:
    world = a_world(("POST", "/reload"), 202, "reload scheduled")
    result = world.run("reload", "demo", "--role", "replica", "--force")
    assert result.exit_code == 0
    assert "Success: reload for member b (reload scheduled)" in lines(result)
    assert asked(world) == ["10.0.0.2", "10.0.0.3"]


# --- reinit ---


def a_rebuild(steps: list[dict[str, Any]]) -> World:
    """Each question after the request is answered by the next step; the last one stays."""
    world = a_world(REINIT, 200, "reinitialize started")
    world.agents.status["10.0.0.2"] = standby_status()
    remaining = iter(steps)

    class Stepping(dict[str, Any]):
        def __getitem__(self, host: str) -> Any:
            if world.agents.seen:
                self["10.0.0.2"] = next(remaining, super().__getitem__("10.0.0.2"))
            return super().__getitem__(host)

    world.agents.status = Stepping(world.agents.status)
    return world


def cloning(percent: int) -> dict[str, Any]:
    job = {"kind": "clone", "running_s": 1.0, "percent": percent, "mb_per_s": 80.0, "eta_s": 5.0}
    return {"state": "creating replica", "haagent": {"state": "cloning", "job": job}}


def test_reinit_waits_for_another_postmaster_and_shows_progress() -> None:
    world = a_rebuild(
        [standby_status(), cloning(10), cloning(10), cloning(60), standby_status(postmaster_start_time="2")]
    )
    result = world.run("reinit", "demo", "b", "--wait", "--from-leader", "--force")
    assert result.exit_code == 0, result.output
    assert world.agents.seen == [("10.0.0.2", "POST", "/reinitialize", {"from_leader": True, "force": True})]
    assert [line.strip() for line in lines(result)[-4:]] == [
        "Waiting for reinitialize to complete on: b",
        "b: clone for 1.0 s, 10 % at 80.0 MB/s, done in about 5.0 s",
        "b: clone for 1.0 s, 60 % at 80.0 MB/s, done in about 5.0 s",
        "Reinitialize is completed on: b",
    ]


def test_reinit_that_fails_says_why() -> None:
    failed = {"state": "start failed", "haagent": {"state": "failed", "since_s": 1.0, "why": "the disk is full"}}
    result = a_rebuild([cloning(10), failed]).run("reinit", "demo", "b", "--wait", "--force")
    assert result.exit_code == 1
    assert "b: failed for 1.0 s: the disk is full" in result.output


def test_reinit_of_a_silent_agent_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodes, "SILENCE_S", 0.05)
    world = a_world(REINIT, 200, "reinitialize started")
    result = world.run("reinit", "demo", "b", "--wait", "--force")
    assert result.exit_code == 1
    assert "b: its agent has not answered" in result.output


def test_reinit_of_a_busy_node_asks_before_it_begins_anew() -> None:
    world = a_world()
    world.agents.answers[REINIT] = lambda body: (
        Response(200, "reinitialize started") if body.get("force") else Response(503, "clone is in progress")
    )
    result = world.run("reinit", "demo", "b", typed="y\ny\n")
    assert result.exit_code == 0, result.output
    assert [seen[3] for seen in world.agents.seen] == [{}, {"force": True}]


def test_reinit_names_its_members() -> None:
    world = a_world(REINIT)
    result = world.run("reinit", "demo", "--force")
    assert result.exit_code == 1
    assert world.agents.seen == []


def test_reinit_of_the_leader_is_refused_by_its_agent() -> None:
    world = a_world(REINIT, 503, "I am the leader, can not reinitialize")
    result = world.run("reinit", "demo", "a", "--wait", "--force")
    assert result.exit_code == 1
    assert "Failed: reinitialize for member a, HTTP 503: I am the leader, can not reinitialize" in lines(result)


# --- flush ---


def test_flush_restart_goes_to_those_that_have_one() -> None:
    world = a_world(("DELETE", "/restart"), 200, "scheduled restart deleted")
    world.change_member("b", scheduled_restart={"schedule": "2033-09-12T17:17:00+00:00"})
    assert world.run("flush", "demo", "restart", "--force").exit_code == 0
    assert asked(world) == ["10.0.0.2"]
    assert world.run("flush", "demo", "c", "restart", "--force").exit_code == 1


def test_flush_switchover() -> None:
    world = a_world(("DELETE", "/switchover"), 200, "scheduled switchover deleted")
    assert world.run("flush", "demo", "switchover", "--force").exit_code == 1
    at = "2033-09-12T17:17:00+00:00"
    world.change(failover=FailoverKey(Revision(5), "a", "b", at, 2009812620.0))
    result = world.run("flush", "demo", "switchover", "--force")
    assert result.exit_code == 0
    assert lines(result)[-1] == "Success: scheduled switchover deleted"
    assert world.run("flush", "switchover", "--force").exit_code == 0, "the configuration names the cluster"
    assert world.opened[-1][1] is None
    assert world.run("flush", "demo", "nonsense", "--force").exit_code == 2
    assert world.run("flush", "demo", "b", "switchover", "--force").exit_code == 2
