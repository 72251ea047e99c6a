"""The status JSON: what is claimed, and what is left out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from haagent.core.facts import (
    ClusterFacts,
    DataKind,
    FenceFacts,
    JobFacts,
    LeaseFacts,
    Progress,
    SyncKey,
    View,
)
from haagent.core.states import State
from haagent.core.status import cluster_unlocked, dcs_last_seen, status
from haagent.core.terms import Lsn, Revision, Timeline, later
from haagent.rest.client import read_status
from tests.builders import (
    NOW,
    SYSTEM_ID,
    TERM,
    WALL,
    a_cluster,
    a_memory,
    a_node,
    a_primary,
    a_primary_view,
    a_silent_dcs,
    a_standby,
    a_view,
    some_settings,
    some_tags,
    stopped,
)


def ecosystem(view: View) -> dict[str, Any]:
    """The status without haagent's own part."""
    document = status(view)
    document.pop("haagent")
    return document


def test_a_primary_says_what_the_ecosystem_expects() -> None:
    assert ecosystem(a_primary_view()) == {
        "state": "running",
        "role": "primary",
        "postmaster_start_time": "2024-08-28 19:39:26.352526+00:00",
        "server_version": 150014,
        "xlog": {"location": 0x5000000},
        "timeline": 1,
        "replication": [
            {
                "usename": "replicator",
                "application_name": name,
                "client_addr": address,
                "state": "streaming",
                "sync_state": "async",
                "sync_priority": 0,
            }
            for name, address in (("b", "10.0.0.2"), ("c", "10.0.0.3"))
        ],
        "dcs_last_seen": int(WALL),
        "database_system_identifier": str(SYSTEM_ID),
        "patroni": {"version": "4.1.5", "scope": "demo", "name": "a"},
    }


def test_a_standby_says_what_the_ecosystem_expects() -> None:
    view = a_view(postgres=a_standby(received_lsn=Lsn(200), replayed_lsn=Lsn(100)))
    assert ecosystem(view) == {
        "state": "running",
        "role": "replica",
        "postmaster_start_time": "2024-08-28 19:39:26.352526+00:00",
        "server_version": 150014,
        "xlog": {
            "received_location": 200,
            "replayed_location": 100,
            "replayed_timestamp": None,
            "paused": False,
        },
        "timeline": 1,
        "replication_state": "streaming",
        "dcs_last_seen": int(WALL),
        "database_system_identifier": str(SYSTEM_ID),
        "patroni": {"version": "4.1.5", "scope": "demo", "name": "b"},
    }


def test_a_dead_postmaster_leaves_nothing_of_what_it_told() -> None:
    document = ecosystem(a_primary_view(postgres=stopped()))
    assert document["state"] == "crashed"
    assert document["role"] != "primary"
    assert document.keys() == {"state", "role", "dcs_last_seen", "database_system_identifier", "patroni"}


def test_a_postmaster_that_fell_silent_is_not_running() -> None:
    view = a_primary_view(postgres=replace(a_primary(), unreachable_since=NOW, unreachable_why="timeout"))
    late = status(replace(view, now=later(NOW, 3.5)))
    assert late["state"] == "not responding"
    assert "xlog" not in late
    assert (late["haagent"]["unreachable_s"], late["haagent"]["unreachable_why"]) == (3.5, "timeout")


def test_an_empty_node_has_no_system_identifier() -> None:
    view = a_view(postgres=stopped(DataKind.ABSENT), memory=a_memory(State.VACANT))
    document = ecosystem(view)
    assert document["role"] == "uninitialized"
    assert "database_system_identifier" not in document


def test_flags_are_there_only_when_they_hold() -> None:
    assert not {"pause", "cluster_unlocked", "sync_standby", "pending_restart", "tags"} & status(a_view()).keys()
    loud = a_view(
        me=a_node("b", tags=some_tags(clonefrom=True)),
        settings=some_settings(pause=True),
        cluster=a_silent_dcs(cluster=a_cluster(leader=None, sync=SyncKey(Revision(5), "a", 0, ("b",)))),
        postgres=a_standby(pending_restart={"max_connections": ("100", "101")}),
        memory=a_memory(scheduled_restart={"schedule": "2026-01-01T00:00:00+00:00"}),
    )
    document = status(loud)
    for flag in ("pause", "cluster_unlocked", "sync_standby", "pending_restart"):
        assert document[flag] is True
    assert document["pending_restart_reason"] == {"max_connections": {"old_value": "100", "new_value": "101"}}
    assert document["tags"] == {"clonefrom": True}
    assert document["scheduled_restart"] == {"schedule": "2026-01-01T00:00:00+00:00"}


def test_a_primary_is_no_sync_standby_of_its_own() -> None:
    view = a_primary_view(cluster=a_cluster(sync=SyncKey(Revision(5), "b", 0, ("a",))))
    assert "sync_standby" not in status(view)


@pytest.mark.parametrize(
    ("cluster", "age_s", "unlocked"),
    [
        (a_cluster(), 0, False),
        (a_cluster(leader=None), 0, True),
        (a_silent_dcs(), 9, False),
        (a_silent_dcs(), 11, True),
        (ClusterFacts(silent_since=NOW), 0, True),
    ],
)
def test_unlocked_means_that_nobody_is_known_to_lead(cluster: ClusterFacts, age_s: float, unlocked: bool) -> None:
    assert cluster_unlocked(a_view(cluster=cluster, now=later(NOW, age_s))) is unlocked


def test_who_leads_knows_that_the_cluster_is_not_unlocked() -> None:
    assert not cluster_unlocked(a_primary_view(cluster=a_silent_dcs()))


def test_etcd_was_last_seen_by_the_wall_clock() -> None:
    assert dcs_last_seen(a_view(now=later(NOW, 7), wall=WALL + 7)) == WALL
    assert dcs_last_seen(a_view(cluster=ClusterFacts())) == 0


def test_the_newest_timeline_is_told_of_files_server_and_own_claim_whether_postgresql_runs_or_not() -> None:
    files = replace(stopped(), data=replace(stopped().data, timeline=Timeline(3), heard=Timeline(4)))
    told = [
        a_primary_view(postgres=files, memory=a_memory(State.FENCED)),
        a_primary_view(postgres=a_primary(timeline=6)),
        a_primary_view(postgres=files, memory=a_memory(State.PROMOTING, claim=(TERM, Timeline(5)))),
    ]
    assert [status(view)["haagent"]["newest_timeline"] for view in told] == [4, 6, 5]
    read = read_status("a", status(told[2]))
    assert (read.timeline, read.newest_timeline) == (0, 5)


def test_haagents_own_part_tells_state_row_reason_and_permit() -> None:
    own = status(a_primary_view(memory=a_memory(State.PRIMARY, row=610, why="it leads")))["haagent"]
    assert own == {
        "version": "0.1.0",
        "state": "primary",
        "row": 610,
        "why": "it leads",
        "since_s": 60.0,
        "newest_timeline": 1,
        "guard": {"alive": True, "armed": True},
        "protection": ["guard"],
        "looked_s": 0.0,
        "term": 100,
        "permit_s": 8.0,
        "advice": "haagent-ctl switchover demo --leader a, to have another node lead",
    }


def test_whoever_lacks_the_fence_that_leading_requires_tells_its_peers() -> None:
    """They would wait for ever for it to take the key, were its history later than theirs."""
    view = a_view(fence=FenceFacts("required", why="haagent_fence.so is not there"))
    said = read_status("a", status(view)).unfit
    assert said == "postgresql.commit_fence is required, but haagent_fence.so is not there"
    assert not read_status("a", status(replace(view, fence=FenceFacts("auto")))).unfit


def test_a_permit_that_ended_is_not_shown() -> None:
    own = status(a_primary_view(now=later(NOW, 8)))["haagent"]
    assert "permit_s" not in own
    assert "permit_s" not in status(a_primary_view(lease=LeaseFacts()))["haagent"]


def test_the_progress_of_a_job_is_shown_while_it_runs() -> None:
    progress = Progress("copying", done_bytes=25, total_bytes=100, bytes_per_s=12_340_000, eta_s=3.21)
    job = JobFacts("clone", later(NOW, -5), progress=progress)
    shown = status(a_view(memory=a_memory(State.CLONING), postgres=stopped(DataKind.EMPTY), job=job))
    assert shown["state"] == "creating replica"
    assert shown["haagent"]["job"] == {
        "kind": "clone",
        "running_s": 5.0,
        "phase": "copying",
        "percent": 25,
        "mb_per_s": 12.3,
        "eta_s": 3.2,
    }
    assert "job" not in status(a_view(job=replace(job, done=True)))["haagent"]


def test_a_crash_that_is_recovered_from_in_place_is_no_change_of_role() -> None:
    """Fault 6."""
    recovering = replace(a_primary(), server=None, starting=True)
    for postgres, state in ((recovering, State.PROMOTING), (stopped(), State.PRIMARY)):
        view = a_primary_view(postgres=postgres, memory=a_memory(state, told_role="primary"))
        document = status(view)
        assert (document["role"], document["state"] == "running") == ("primary", False)
        assert status(replace(view, lease=LeaseFacts()))["role"] == "replica", "without a permit it claims nothing"
