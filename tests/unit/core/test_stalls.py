"""A standby that neither streams nor gets any further: when the leader is asked why, and what follows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from haagent.core import answers
from haagent.core.actions import Compare, MoveAside, StopPostgres
from haagent.core.decide import decide
from haagent.core.facts import Divergence, Failure, Goal, JobFacts, Settings, Stalled, View
from haagent.core.states import State
from haagent.core.terms import Instant, Timeline, later
from tests.builders import LSN, NOW, a_cluster, a_memory, a_primary_view, a_silent_dcs, a_standby, a_view, stopped

GONE = "this standby ends at 0/5000000, and a has removed the WAL from there on"


def a_stalled_view(since_s: float = 20.0, asked_s: float | None = None, **changes: Any) -> View:
    asked_at = None if asked_s is None else later(NOW, -asked_s)
    memory = changes.pop("memory", a_memory(stalled=Stalled(LSN, later(NOW, -since_s), asked_at)))
    return a_view(**{"postgres": a_standby(receiver=None), "memory": memory} | changes)


def a_verdict(wal_gone: str = "") -> Divergence:
    return Divergence("a", Timeline(1), Timeline(1), LSN, reason=wal_gone, wal_gone=wal_gone)


def compared(**changes: Any) -> JobFacts:
    return replace(JobFacts("compare", later(NOW, -1), done=True), **changes)


def test_the_leader_is_asked_once_it_lasts() -> None:
    """Fault 73."""
    plan = decide(a_stalled_view())
    assert plan.row == 582
    assert any(isinstance(action, Compare) for action in plan.actions)
    assert plan.memory.stalled == Stalled(LSN, later(NOW, -20), NOW)
    assert decide(a_stalled_view(since_s=2)).row == 599
    assert decide(a_stalled_view(asked_s=5)).row == 599


def test_a_standby_that_streams_replays_or_moves_does_not_stall() -> None:
    blink = decide(a_stalled_view(postgres=a_standby()))
    assert blink.memory.stalled == Stalled(LSN, later(NOW, -20), blinked=True)
    assert decide(a_view(memory=blink.memory)).memory.stalled is None
    assert decide(a_stalled_view(postgres=a_standby(receiver=None, replay_paused=True))).memory.stalled is None
    replaying = a_standby(receiver=None, replayed_all=False)
    assert decide(a_stalled_view(postgres=replaying)).row == 599
    further = a_standby(receiver=None, received_lsn=None, replayed_lsn=type(LSN)(LSN + 8))
    moved = decide(a_stalled_view(postgres=further)).memory.stalled
    assert moved is not None
    assert moved.since == NOW


def test_wal_that_is_gone_is_said_and_cured_by_a_new_copy() -> None:
    """Fault 73: the old copy is moved aside under a name that says why."""
    asked = a_stalled_view(asked_s=1, job=compared(result=a_verdict(GONE)))
    noted = decide(asked)
    assert (noted.row, noted.memory.divergence) == (568, a_verdict(GONE))
    plan = decide(replace(asked, memory=noted.memory))
    assert (plan.row, plan.memory.state, plan.memory.goal) == (573, State.DEMOTING, Goal.REINIT)
    assert GONE in plan.why
    assert StopPostgres("fast") in plan.actions
    end = decide(a_view(postgres=stopped(), memory=plan.memory))
    assert (end.row, end.memory.state) == (910, State.VACANT)
    assert MoveAside("wal gone") in end.actions


def test_the_copy_is_kept_when_its_source_is_gone_meanwhile() -> None:
    """The leader may fail while PostgreSQL is being stopped: this copy may now be the best there is."""
    stopping = a_memory(State.DEMOTING, goal=Goal.REINIT, divergence=a_verdict(GONE))
    for cluster in (a_cluster(leader=None), a_silent_dcs()):
        plan = decide(a_view(postgres=stopped(), memory=stopping, cluster=cluster))
        assert (plan.row, plan.memory.state) == (908, State.FENCED)
        assert not any(isinstance(action, MoveAside) for action in plan.actions)


def test_what_was_found_gone_at_another_position_says_nothing_of_this_one() -> None:
    """As when an operator brought the WAL back while the cluster was paused."""
    earlier = replace(a_verdict(GONE), own_lsn=type(LSN)(LSN - 8))
    view = a_stalled_view(asked_s=1)
    assert decide(replace(view, memory=replace(view.memory, divergence=earlier))).row == 599


def test_a_paused_cluster_is_only_told_why() -> None:
    view = a_stalled_view(asked_s=1, settings=Settings(pause=True))
    plan = decide(replace(view, memory=replace(view.memory, divergence=a_verdict(GONE))))
    assert (plan.row, plan.memory.state) == (599, State.STANDBY)
    assert GONE in plan.why


def test_what_the_leader_answers_is_told_as_long_as_it_lasts() -> None:
    """Fault 78: a wrong password is called one, and not "does not stream"."""
    why = 'no replication connection to a: FATAL: password authentication failed for user "replicator"'
    asked = a_stalled_view(asked_s=1, job=compared(error=why, failure=Failure.UNREACHABLE))
    failed = decide(asked)
    assert failed.row == 572
    after = decide(replace(asked, memory=failed.memory, now=Instant(NOW + 1)))
    assert after.row == 599
    assert why in after.why


def test_a_standby_with_less_than_its_primary_is_restarted() -> None:
    """Fault 75: replay has stopped, and only a restart takes the greater values."""
    short = a_standby(replay_paused=True, short_of={"max_connections": (20, 30)})
    plan = decide(a_view(postgres=short))
    assert (plan.row, plan.memory.goal) == (547, Goal.RESTART)
    assert "max_connections is 20, the primary has 30" in plan.why
    assert decide(a_view(postgres=a_standby(replay_paused=True))).memory.state is State.STANDBY


def test_a_promotion_that_has_much_to_replay_says_how_much_and_claims_nothing() -> None:
    """Fault 61: writable only when it is."""
    behind = a_standby(received_lsn=type(LSN)(LSN + 200 * 2**20), replayed_lsn=LSN)
    view = a_primary_view(postgres=behind, memory=a_memory(State.PROMOTING, promoted_at=NOW))
    plan = decide(view)
    assert (plan.row, plan.memory.state) == (799, State.PROMOTING)
    assert "more than 192 MB of WAL are left to replay" in plan.why
    assert not answers.primary(view, {})
