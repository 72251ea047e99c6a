"""Every request of operators: what it is answered, and what is asked of the ports for it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from haagent.core.actions import Action, PutConfig, PutFailover, ReloadSettings, Reply
from haagent.core.conditions import start_overdue
from haagent.core.durations import parse_seconds
from haagent.core.facts import FailoverKey, Failure, Intent, LeaseFacts, Outcome, Pending, View
from haagent.core.intents import admit, merged, verdict
from haagent.core.publish import led
from haagent.core.states import State
from haagent.core.terms import Instant, Lsn, Revision, later
from tests.builders import (
    NOW,
    WALL,
    a_cluster,
    a_member,
    a_memory,
    a_node,
    a_poll,
    a_primary_view,
    a_reply,
    a_silent_dcs,
    a_standby,
    a_view,
    some_data,
    some_settings,
)


def at(seconds: float) -> str:
    return (datetime.fromtimestamp(WALL, UTC) + timedelta(seconds=seconds)).isoformat()


SOON, PAST = at(600), at(-600)
PAUSED = some_settings(pause=True)
ALONE = a_cluster(a_member("a"))
MOUNTED = replace(a_standby(), data=some_data(mount_point=True))
LEADERLESS = a_cluster(a_member("b"), a_member("c"), leader=None)
REQUESTED = FailoverKey(Revision(150), leader="a", scheduled_at=SOON, scheduled_epoch=WALL + 600)
SCHEDULED = a_memory(State.PRIMARY, scheduled_restart={"schedule": SOON})


def handled(
    view: View, kind: str, body: dict[str, Any]
) -> tuple[Reply | None, tuple[Action, ...], tuple[Pending, ...]]:
    """The reply, the other actions, and what is under way."""
    actions, memory = admit(replace(view, intents=(Intent(7, kind, body, NOW),)))
    replies = [action for action in actions if isinstance(action, Reply)]
    assert len(replies) <= 1
    others = tuple(action for action in actions if not isinstance(action, Reply))
    return (replies[0] if replies else None), others, memory.pending


A_TO_B = {"leader": "a", "candidate": "b"}
REFUSALS: list[tuple[str, dict[str, Any], dict[str, Any], int, str]] = [
    ("switchover", {}, {}, 400, "Switchover could be performed only from a specific leader"),
    ("switchover", {"leader": "a", "candidate": "a"}, {}, 400, "Switchover target and source are the same"),
    ("switchover", {"leader": "b"}, {}, 412, "leader name does not match"),
    ("switchover", A_TO_B, {"cluster": LEADERLESS}, 412, "leader name does not match"),
    (
        "switchover",
        {"leader": "a"},
        {"cluster": ALONE},
        412,
        "switchover is not possible: cluster does not have members except leader",
    ),
    ("switchover", {"leader": "a", "candidate": "z"}, {}, 412, "candidate does not exists"),
    (
        "switchover",
        {"leader": "a"},
        {"settings": PAUSED},
        400,
        "Switchover is possible only to a specific candidate in a paused state",
    ),
    ("switchover", A_TO_B, {"cluster": a_silent_dcs()}, 503, "etcd does not answer"),
    ("switchover", {**A_TO_B, "scheduled_at": PAST}, {}, 422, "Cannot schedule in the past"),
    ("switchover", {**A_TO_B, "scheduled_at": "soon"}, {}, 422, "Unable to parse scheduled timestamp"),
    ("switchover", {**A_TO_B, "scheduled_at": "2040-01-01T00:00"}, {}, 400, "Timezone information is mandatory"),
    ("switchover", {**A_TO_B, "scheduled_at": SOON}, {"settings": PAUSED}, 400, "in the paused state"),
    ("switchover", A_TO_B, {"cluster": a_cluster(failover=REQUESTED)}, 409, "was requested already"),
    ("failover", {}, {}, 400, "Failover could be performed only to a specific candidate"),
    ("failover", {"candidate": "z"}, {}, 412, "candidate does not exists"),
    ("failover", {"candidate": "a"}, {}, 412, "failover is not possible: a is the leader already"),
    ("failover", {"candidate": "b"}, {"cluster": a_silent_dcs()}, 503, "etcd does not answer"),
    ("delete_switchover", {}, {}, 404, "no switchover is scheduled"),
    ("delete_restart", {}, {}, 404, "no restarts are scheduled"),
    ("restart", {"when": "now"}, {}, 400, "Unknown filter for the restart request: when"),
    ("restart", {"role": "king"}, {}, 400, "role is 'king'"),
    ("restart", {"timeout": "soon"}, {}, 400, "timeout must be a positive span of time such as 30s"),
    ("restart", {"timeout": "0s"}, {}, 400, "timeout must be a positive span of time such as 30s"),
    ("restart", {"postgres_version": "new"}, {}, 400, "postgres_version like 15.4"),
    ("restart", {"role": "replica"}, {}, 503, "restart conditions are not satisfied: this node is a primary"),
    ("restart", {"restart_pending": True}, {}, 503, "restart conditions are not satisfied: no restart is pending"),
    ("restart", {"postgres_version": "15.2"}, {}, 503, "restart conditions are not satisfied: PostgreSQL is 150014"),
    ("restart", {"schedule": PAST}, {}, 422, "Cannot schedule in the past"),
    ("restart", {"schedule": "2040-01-01"}, {}, 400, "Timezone information is mandatory"),
    ("restart", {"schedule": SOON}, {"settings": PAUSED}, 500, "Can't schedule restart in the paused state"),
    ("restart", {"schedule": SOON}, {"memory": SCHEDULED}, 409, "Another restart is already scheduled"),
    ("reinitialize", {}, {}, 503, "I am the leader, can not reinitialize"),
    ("patch_config", {}, {}, 400, "the patch is empty"),
    ("patch_config", {"ttl": 30}, {"cluster": a_cluster(config=None)}, 503, "there is no dynamic configuration"),
    ("put_config", {}, {}, 400, "the configuration is empty"),
    ("put_config", {"ttl": 30}, {"cluster": a_silent_dcs()}, 503, "etcd does not answer"),
    (
        "reinitialize",
        {},
        {"lease": LeaseFacts(), "memory": a_memory(), "me": a_node("b"), "postgres": MOUNTED},
        503,
        "the data directory is a mount point, which can't be moved aside: nothing was stopped",
    ),
    ("dance", {}, {}, 400, "dance is not a request that this agent knows"),
]


@pytest.mark.parametrize(("kind", "body", "view", "status", "text"), REFUSALS)
def test_what_cannot_be_done_is_refused_and_nothing_else_happens(
    kind: str, body: dict[str, Any], view: dict[str, Any], status: int, text: str
) -> None:
    """Faults 86, 87 and 90: the codes and words of the wire, with no other action and nothing left under way."""
    reply, others, pending = handled(a_primary_view(**view), kind, body)
    assert reply is not None
    assert (reply.status, others, pending) == (status, (), ())
    assert text in str(reply.body)


UNFIT = [
    ({"state": "stopped"}, "b is stopped"),
    ({"tags": {"nofailover": True}}, "b has the tag nofailover"),
    ({"lsn": Lsn(0)}, "maximum_lag_on_failover is 1048576"),
]


@pytest.mark.parametrize("kind", ["switchover", "failover"])
@pytest.mark.parametrize(("change", "text"), UNFIT)
def test_a_candidate_that_is_not_fit_is_refused_with_the_reason(kind: str, change: dict[str, Any], text: str) -> None:
    """Fault 84: down, nofailover or lagging: 412, and nothing is stopped."""
    cluster = a_cluster(a_member("a"), a_member("b", **change))
    body = {"candidate": "b"} | ({"leader": "a"} if kind == "switchover" else {})
    reply, others, _ = handled(a_primary_view(cluster=cluster), kind, body)
    assert reply is not None
    assert (reply.status, others) == (412, ())
    assert f"{kind} is not possible: no good candidates have been found" in str(reply.body)
    assert text in str(reply.body)


def test_any_node_takes_a_request_for_another_leader() -> None:
    """Patroni's documentation: switchover and failover may be sent to any member."""
    reply, orders, pending = handled(a_view(), "switchover", A_TO_B)
    assert reply is None
    assert orders == (PutFailover("a", "b", None, None),)
    assert (pending[0].leader, pending[0].candidate, pending[0].phase) == ("a", "b", "asked")
    reply, orders, _ = handled(a_view(cluster=LEADERLESS), "failover", {"candidate": "c"})
    assert reply is None
    assert orders == (PutFailover(None, "c", None, None),)


@pytest.mark.parametrize(
    ("kinds", "bodies"),
    [
        (("switchover", "switchover"), ({"leader": "a", "candidate": "b"}, {"leader": "a", "candidate": "c"})),
        (("switchover", "failover"), ({"leader": "a", "candidate": "b"}, {"candidate": "c"})),
        (("patch_config", "patch_config"), ({"ttl": 20}, {"loop_wait": 5})),
    ],
)
def test_of_two_requests_in_one_moment_the_second_is_told_that_nothing_was_done(
    kinds: tuple[str, str], bodies: tuple[dict[str, Any], dict[str, Any]]
) -> None:
    """Fault 86, both at one agent: each was answered by the outcome of whichever was written first."""
    asked = tuple(Intent(7 + i, kind, body, NOW) for i, (kind, body) in enumerate(zip(kinds, bodies, strict=True)))
    actions, memory = admit(replace(a_primary_view(), intents=asked))
    assert [(one.intent_id, one.status) for one in actions if isinstance(one, Reply)] == [(8, 409)]
    assert len([one for one in actions if isinstance(one, PutConfig | PutFailover)]) == 1
    assert [one.intent.id for one in memory.pending] == [7]


def test_the_second_of_two_operators_is_told() -> None:
    """Fault 86: the key changed between reading and writing: 409, and the other request stays."""
    waiting = Pending(Intent(7, "switchover", A_TO_B, NOW), "a", "b", later(NOW, 60), "asked")
    lost = Outcome("PutFailover", Failure.REFUSED, "somebody else asked for a change of leader")
    actions, memory = admit(a_view(memory=a_memory(pending=(waiting,)), outcomes=(lost,)))
    assert actions == (Reply(7, 409, "somebody else asked for a change of leader"),)
    assert memory.pending == ()


def test_a_change_of_leader_at_a_time_to_come() -> None:
    _, orders, pending = handled(a_primary_view(), "switchover", {"leader": "a", "scheduled_at": SOON})
    assert orders == (PutFailover("a", None, SOON, None),)
    done = a_memory(State.PRIMARY, pending=pending)
    actions, _ = admit(a_primary_view(memory=done, outcomes=(Outcome("PutFailover"),)))
    assert actions == (Reply(7, 202, "Switchover scheduled"),)
    there = a_primary_view(cluster=a_cluster(failover=REQUESTED))
    _, orders, pending = handled(there, "delete_switchover", {})
    assert orders == (PutFailover(None, None, None, Revision(150)),)
    actions, _ = admit(a_primary_view(memory=a_memory(pending=pending), outcomes=(Outcome("PutFailover"),)))
    assert actions == (Reply(7, 200, "scheduled switchover deleted"),)


def _asked_to_hand_over(asked_at: float, became_primary_at: float) -> View:
    request = FailoverKey(Revision(150), candidate="c")
    memory = replace(a_memory(State.PRIMARY), since=Instant(became_primary_at))
    stopped = a_poll(a_reply("b"), a_reply("c", running=False), asked_at=Instant(asked_at))
    return a_primary_view(cluster=a_cluster(failover=request), memory=memory, peers=stopped)


def test_what_was_heard_before_it_led_does_not_count_against_a_candidate() -> None:
    """A member that was stopped when this node was elected may stream by now: it is asked again."""
    assert verdict(_asked_to_hand_over(NOW - 0.5, NOW - 0.2)) == ("ask", "")
    assert verdict(_asked_to_hand_over(NOW - 0.1, NOW - 0.2))[0] == "refuse"


def test_a_restart_is_taken_up_or_written_down() -> None:
    reply, _, pending = handled(a_primary_view(), "restart", {"timeout": "30s", "role": "primary"})
    assert reply is None
    assert pending[0].intent.kind == "restart"
    reply, _, _ = handled(a_primary_view(memory=a_memory(State.PRIMARY, pending=pending)), "restart", {})
    assert reply == Reply(7, 503, "a restart is in progress already")
    actions, memory = admit(a_primary_view(intents=(Intent(7, "restart", {"schedule": SOON}, NOW),)))
    assert actions == (Reply(7, 202, "Restart scheduled"),)
    assert memory.scheduled_restart is not None
    assert memory.scheduled_restart["schedule"] == SOON
    actions, memory = admit(a_primary_view(memory=memory, intents=(Intent(8, "delete_restart", {}, NOW),)))
    assert actions == (Reply(8, 200, "scheduled restart deleted"),)
    assert memory.scheduled_restart is None


@pytest.mark.parametrize(("passed_s", "overdue"), [(29.0, False), (30.5, True)])
def test_a_restart_that_takes_longer_than_allowed_fails_and_counts_as_overdue(passed_s: float, overdue: bool) -> None:
    """patronictl restart --timeout: an error, and a failover when the primary does not come back in time."""
    asked = Intent(7, "restart", {"timeout": "30s"}, later(NOW, -passed_s))
    pending = Pending(asked, until=later(NOW, 90), phase="begun")
    view = a_primary_view(memory=replace(a_memory(State.STARTING, pending=(pending,)), since=later(NOW, -1)))
    actions, _ = admit(view)
    assert [isinstance(one, Reply) and one.status == 503 for one in actions] == [True] * overdue
    assert start_overdue(view) is overdue


def test_a_copy_is_built_anew_only_beside_a_running_leader() -> None:
    """Fault 87: without a leader this may be the last good copy."""
    reply, _, _ = handled(a_view(cluster=LEADERLESS), "reinitialize", {})
    assert reply is not None
    assert (reply.status, "last good copy" in str(reply.body)) == (503, True)
    reply, _, pending = handled(a_view(), "reinitialize", {"from-leader": True})
    assert reply == Reply(7, 200, "reinitialize started")
    assert len(pending) == 1


def test_reload_is_answered_at_once() -> None:
    reply, orders, _ = handled(a_view(), "reload", {})
    assert reply == Reply(7, 202, "reload scheduled")
    assert orders == (ReloadSettings(),)


@pytest.mark.parametrize(
    ("patch", "result"),
    [
        ({"ttl": 30}, {"ttl": 30, "slots": {"old": {"type": "physical"}}}),
        ({"ttl": None}, {"slots": {"old": {"type": "physical"}}}),
        ({"slots": {"old": None}}, {"ttl": 10, "slots": {}}),
        ({"slots": {"new": None}}, {"ttl": 10, "slots": {"old": {"type": "physical"}}}),
        ({"tags": {"new": None}}, {"ttl": 10, "slots": {"old": {"type": "physical"}}, "tags": {"new": None}}),
        ({"slots": 5}, {"ttl": 10, "slots": 5}),
    ],
)
def test_a_patch_merges_maps_and_null_removes(patch: dict[str, Any], result: dict[str, Any]) -> None:
    """A map that was not there before is stored as sent, with its nulls."""
    assert merged({"ttl": 10, "slots": {"old": {"type": "physical"}}}, patch) == result


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        (Outcome("PutConfig", result={"ttl": 30}), 200),
        (Outcome("PutConfig", Failure.REFUSED, "somebody else wrote"), 409),
        (Outcome("PutConfig", Failure.REFUSED, "ttl must be a number", result="invalid"), 400),
        (Outcome("PutConfig", Failure.UNKNOWN, "no answer"), 503),
    ],
)
def test_a_configuration_is_written_against_its_revision(outcome: Outcome, status: int) -> None:
    """Fault 81: what is not valid is refused whole."""
    _, orders, pending = handled(a_view(), "put_config", {"ttl": 30})
    assert orders == (PutConfig({"ttl": 30}, Revision(3)),)
    actions, _ = admit(a_view(memory=a_memory(pending=pending), outcomes=(outcome,)))
    assert [isinstance(one, Reply) and one.status for one in actions] == [status]


def test_keys_that_were_removed_come_back_as_they_were() -> None:
    """Fault 88: the primary puts back the configuration in force, not the one that the cluster began with."""
    settings = some_settings(bootstrap_document={"ttl": 30}, known_document={"ttl": 20})
    view = a_primary_view(cluster=a_cluster(config=None, initialize=None), settings=settings)
    assert PutConfig({"ttl": 20}, None) in led(view)
    fresh = replace(view, settings=replace(settings, known_document={}))
    assert PutConfig({"ttl": 30}, None) in led(fresh)


@pytest.mark.parametrize(("text", "seconds"), [(30, 30), ("30", 30), ("30s", 30), ("1500ms", 1.5), ("2 min", 120)])
def test_spans_of_time(text: object, seconds: float) -> None:
    assert parse_seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "s", "-1", "1 week", True, None, "1e3", "9" * 40, {}])
def test_what_is_no_span_of_time(text: object) -> None:
    with pytest.raises(ValueError, match="no span of time"):
        parse_seconds(text)
