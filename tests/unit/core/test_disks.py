"""What a node does whose disk is full, refuses writes, hangs, or is not there."""

from __future__ import annotations

from dataclasses import replace

import pytest

from haagent.core import answers, conditions, disks, election, synchrony
from haagent.core.actions import Action, Campaign, Clone, Initialize, Resign, StartPrimary, StartStandby, StopPostgres
from haagent.core.decide import decide
from haagent.core.facts import DataKind, DiskFacts, Goal, PostgresFacts, Settings
from haagent.core.publish import member
from haagent.core.quorums import NOBODY
from haagent.core.states import State
from haagent.core.status import accepts_writes
from haagent.core.terms import Lsn, later
from tests.builders import (
    LSN,
    NOW,
    a_cluster,
    a_member,
    a_memory,
    a_poll,
    a_primary,
    a_primary_view,
    a_reply,
    a_sender,
    a_standby,
    a_view,
    stopped,
)

FULL = DiskFacts(full="/pg has 4096 bytes free, PostgreSQL needs 33554432")
READ_ONLY = DiskFacts(refusing_since=later(NOW, -2), why="a write beside /pg was refused: Read-only file system")
HANGING = DiskFacts(waiting_since=later(NOW, -11))
SLOW = DiskFacts(waiting_since=later(NOW, -4))


def on(facts: PostgresFacts, disk: DiskFacts) -> PostgresFacts:
    return replace(facts, disk=disk)


def kinds(actions: tuple[Action, ...]) -> set[type[Action]]:
    return {type(action) for action in actions}


@pytest.mark.parametrize("disk", [READ_ONLY, HANGING])
def test_a_primary_whose_disk_takes_no_writes_hands_over(disk: DiskFacts) -> None:
    """Faults 48 and 49: not by a shutdown that would have to write a checkpoint."""
    view = a_primary_view(postgres=on(a_primary(), disk))
    plan = decide(view)
    assert (plan.row, plan.memory.state, plan.memory.goal) == (841, State.DEMOTING, Goal.HANDOVER)
    assert StopPostgres("immediate") in plan.actions
    assert not accepts_writes(view)


def test_a_primary_without_anybody_to_take_over_stays_readable() -> None:
    """Fault 48: but it does not say that it is writable."""
    alone = a_primary_view(postgres=on(a_primary(), READ_ONLY), cluster=a_cluster(members=(a_member("a"),)))
    assert decide(alone).memory.state is State.PRIMARY
    assert not answers.primary(alone, {})
    assert answers.leader(alone, {})


@pytest.mark.parametrize("disk", [FULL, SLOW, replace(READ_ONLY, refusing_since=later(NOW, -0.5))])
def test_a_running_primary_is_not_stopped_for_less(disk: DiskFacts) -> None:
    """Faults 45 and 46: a full disk still serves what needs no room; a slow one is no failing one."""
    view = a_primary_view(postgres=on(a_primary(), disk))
    assert decide(view).memory.state is State.PRIMARY
    assert accepts_writes(view)


def test_a_primary_that_crashed_on_a_full_disk_is_not_started_there() -> None:
    """Fault 46: the key is given up at once, and the message has the bytes."""
    plan = decide(a_primary_view(postgres=on(stopped(cluster_state="in production"), FULL)))
    assert (plan.row, plan.memory.state) == (833, State.FENCED)
    assert "4096 bytes free, PostgreSQL needs 33554432" in plan.why
    assert Resign in kinds(plan.actions)
    assert StartPrimary not in kinds(plan.actions)


@pytest.mark.parametrize("disk", [FULL, READ_ONLY])
def test_postgres_is_not_started_on_a_disk_that_does_not_take_it(disk: DiskFacts) -> None:
    """Faults 46 and 48: no crash loop; it is started as soon as the disk allows."""
    waiting = a_view(postgres=on(stopped(), disk), memory=a_memory(State.FENCED))
    plan = decide(waiting)
    assert (plan.row, plan.memory.state) == (1041, State.FENCED)
    assert StartStandby not in kinds(plan.actions)
    assert decide(replace(waiting, postgres=stopped())).row != 1041


def test_a_leader_that_is_found_stopped_on_a_full_disk_gives_the_key_up() -> None:
    """Fault 46."""
    found = a_primary_view(postgres=on(stopped(), FULL), memory=a_memory(State.FENCED))
    plan = decide(found)
    assert plan.row == 1018
    assert Resign in kinds(plan.actions)


def test_a_standby_without_room_does_not_campaign_and_says_why() -> None:
    """Fault 46: leadership goes only to a node with space."""
    vacant = a_view(postgres=on(a_standby(), FULL), cluster=a_cluster(leader=None))
    assert "4096 bytes free" in (conditions.why_not_me(vacant) or "")
    assert Campaign not in kinds(decide(vacant).actions)


def test_nobody_waits_for_a_better_peer_without_room() -> None:
    """Fault 46: nor is a switchover to it accepted."""
    ahead = a_reply("c", lsn=Lsn(LSN + 100), unfit=FULL.full)
    assert election.better(conditions.own_contender(a_view()), a_poll(ahead), Settings(), Lsn(0)) is None
    assert "not fit to lead" in (election.objection(election.contender(ahead), Settings(), Lsn(0)) or "")


@pytest.mark.parametrize("disk", [FULL, READ_ONLY, HANGING])
def test_a_standby_on_a_bad_disk_is_out_of_rotation_and_not_waited_for(disk: DiskFacts) -> None:
    """Fault 47: /replica 503, and a synchronous primary chooses another."""
    view = a_view(postgres=on(a_standby(), disk))
    assert not answers.replica(view, {})
    told = member(view)
    assert disks.unfit(told)
    settings = Settings(synchronous_mode="on")
    senders = tuple(replace(a_sender(name), flush_lsn=LSN) for name in "bc")
    leader = a_primary_view(
        settings=settings,
        postgres=a_primary(senders=senders),
        cluster=a_cluster(members=(a_member("a"), told, a_member("c"))),
    )
    assert leader.postgres.server is not None
    assert synchrony.candidates(leader, leader.postgres.server, NOBODY) == ["c"]


def test_numbers_that_change_all_the_time_do_not_stand_in_the_member_key() -> None:
    def key(free: int) -> object:
        return member(a_view(postgres=on(a_standby(), DiskFacts(full=f"/pg has {free} bytes free"))))

    assert key(1) == key(2)


def test_a_primary_whose_directory_vanished_hands_over() -> None:
    """Fault 51: it may go on in memory, and even commit into files without a name."""
    for kind in (DataKind.ABSENT, DataKind.EMPTY, DataKind.UNMOUNTED):
        running = a_primary()
        facts = replace(running, data=replace(running.data, kind=kind), server=None, unreachable_since=NOW)
        plan = decide(a_primary_view(postgres=facts))
        assert (plan.row, plan.memory.state) == (839, State.DEMOTING)
        assert StopPostgres("immediate") in plan.actions


@pytest.mark.parametrize("state", [State.VACANT, State.FENCED])
def test_nothing_is_built_in_a_bare_mount_point(state: State) -> None:
    """Fault 51."""
    view = a_view(postgres=stopped(DataKind.UNMOUNTED, detail="mount it"), memory=a_memory(state))
    plan = decide(view)
    assert plan.memory.state is state
    assert "mount it" in plan.why
    assert not kinds(plan.actions) & {Clone, Initialize, StartStandby}


def test_a_peer_with_a_bad_disk_is_nobody_to_hand_over_to() -> None:
    bad = replace(a_member("b"), extra={disks.WIRE_FIELD: "full"})
    assert not disks.others_run(a_primary_view(cluster=a_cluster(members=(a_member("a"), bad))))
    assert disks.others_run(a_primary_view(cluster=a_cluster(members=(a_member("a"), bad, a_member("c")))))


def test_a_primary_with_a_damaged_control_file_hands_over_and_waits_for_an_operator() -> None:
    """Fault 52: it is neither started again nor followed; asked to, its questions end in silence, hence after a ttl."""
    damaged = stopped(DataKind.UNREADABLE, detail="its checksum does not match its content")
    crashed = decide(a_primary_view(postgres=damaged))
    assert (crashed.row, crashed.memory.state) == (830, State.FENCED)
    assert decide(a_view(postgres=damaged, memory=a_memory(State.FENCED))).memory.state is State.FAILED
    silent = replace(a_primary(), unreachable_since=later(NOW, -11), unreachable_why="calculated CRC checksum")
    hung = decide(a_primary_view(postgres=silent))
    assert (hung.row, hung.memory.goal) == (840, Goal.HANDOVER)
