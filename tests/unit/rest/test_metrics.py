"""The metrics, read back with the parser of prometheus_client."""

from __future__ import annotations

from dataclasses import replace

from prometheus_client.parser import text_string_to_metric_families

from haagent.core.facts import FailsafeFacts, FenceFacts, GuardFacts, LeaseFacts, Promise, View, WatchdogFacts
from haagent.core.states import State
from haagent.core.terms import Lsn, later
from haagent.rest.metrics import Counters, Metrics
from tests.builders import (
    NOW,
    WALL,
    a_memory,
    a_primary,
    a_primary_view,
    a_silent_dcs,
    a_standby,
    a_view,
    some_settings,
    stopped,
)

DOCUMENTED = {
    "patroni_version",
    "patroni_postgres_running",
    "patroni_postmaster_start_time",
    "patroni_primary",
    "patroni_xlog_location",
    "patroni_standby_leader",
    "patroni_replica",
    "patroni_sync_standby",
    "patroni_quorum_standby",
    "patroni_xlog_received_location",
    "patroni_xlog_replayed_location",
    "patroni_xlog_replayed_timestamp",
    "patroni_xlog_paused",
    "patroni_postgres_streaming",
    "patroni_postgres_in_archive_recovery",
    "patroni_postgres_server_version",
    "patroni_cluster_unlocked",
    "patroni_failsafe_mode_is_active",
    "patroni_postgres_timeline",
    "patroni_dcs_last_seen",
    "patroni_pending_restart",
    "patroni_is_paused",
    "patroni_postgres_state",
}


def samples(view: View, counters: Counters | None = None) -> dict[str, float]:
    """Sample → value; a label beside scope and name is added to the sample's name."""
    text = Metrics(lambda: view, lambda: counters or Counters()).render().decode()
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            assert (sample.labels.pop("scope"), sample.labels.pop("name")) == ("demo", view.me.name)
            found[sample.name + "".join(f" {value}" for value in sample.labels.values())] = sample.value
    return found


def test_every_documented_name_is_there() -> None:
    assert {name for name in samples(a_primary_view()) if name.startswith("patroni_")} == DOCUMENTED


def test_a_primary_measures_itself() -> None:
    found = samples(a_primary_view())
    expected = {
        "patroni_version": 40105,
        "patroni_postgres_running": 1,
        "patroni_postmaster_start_time": 1724873966.352526,
        "patroni_primary": 1,
        "patroni_replica": 0,
        "patroni_xlog_location": 0x5000000,
        "patroni_xlog_received_location": 0,
        "patroni_postgres_server_version": 150014,
        "patroni_postgres_timeline": 1,
        "patroni_postgres_state": 5,
        "patroni_cluster_unlocked": 0,
        "patroni_dcs_last_seen": WALL,
        "haagent_state primary": 1,
        "haagent_state standby": 0,
        "haagent_permit_seconds": 8,
        "haagent_term": 100,
        "haagent_guard_alive": 1,
        "haagent_guard_armed": 1,
        "haagent_dcs_silent_seconds": 0,
    }
    assert {name: found[name] for name in expected} == expected


def test_a_standby_measures_itself() -> None:
    replayed_at = "2024-08-28 19:39:26+00:00"
    found = samples(a_view(postgres=a_standby(received_lsn=Lsn(300), replayed_lsn=Lsn(200), replayed_at=replayed_at)))
    expected = {
        "patroni_primary": 0,
        "patroni_replica": 1,
        "patroni_xlog_location": 0,
        "patroni_xlog_received_location": 300,
        "patroni_xlog_replayed_location": 200,
        "patroni_xlog_replayed_timestamp": 1724873966,
        "patroni_postgres_streaming": 1,
        "haagent_permit_seconds": 0,
    }
    assert {name: found[name] for name in expected} == expected


def test_a_stopped_node_measures_zero() -> None:
    found = samples(a_view(postgres=stopped(), memory=a_memory(State.FENCED)))
    assert found["patroni_postgres_running"] == found["patroni_postgres_server_version"] == 0
    assert found["patroni_postgres_state"] == 12


def test_a_primary_without_its_lease_is_not_counted_as_primary() -> None:
    assert samples(a_primary_view(lease=LeaseFacts()))["patroni_primary"] == 0


def test_a_state_that_only_haagent_knows_has_no_number() -> None:
    silent = replace(a_primary(), unreachable_since=NOW)
    assert "patroni_postgres_state" not in samples(a_primary_view(postgres=silent, now=later(NOW, 5)))


def test_flags_are_numbers() -> None:
    bound = FailsafeFacts(promise=Promise(later(NOW, 5), 10.0, "a"))
    on = samples(a_view(settings=some_settings(pause=True), failsafe=bound, cluster=a_silent_dcs()))
    off = samples(a_view(cluster=a_silent_dcs()))
    for metric in ("is_paused", "failsafe_mode_is_active"):
        assert (on[f"patroni_{metric}"], off[f"patroni_{metric}"]) == (1, 0)


def protecting(view: View) -> dict[str, float]:
    found = samples(view)
    return {name.partition(" ")[2]: found[name] for name in found if name.startswith("haagent_protection")}


def test_each_protection_is_shown_whether_it_is_there_or_not() -> None:
    """An alarm asks for the sum of the three, which must not vanish with the last of them."""
    none = {"commit fence": 0.0, "guard": 0.0, "watchdog device": 0.0}
    assert protecting(a_primary_view(guard=GuardFacts())) == none
    assert protecting(a_primary_view()) == {**none, "guard": 1}
    loaded = a_primary_view(postgres=a_primary(fenced=True), guard=GuardFacts())
    assert protecting(loaded) == {**none, "commit fence": 1}
    opened = a_primary_view(guard=GuardFacts(), watchdog=WatchdogFacts("automatic", "/dev/watchdog", open=True))
    assert protecting(opened) == {**none, "watchdog device": 1}


def test_a_commit_fence_counts_once_postgresql_has_loaded_it() -> None:
    """Installed while PostgreSQL ran, it protects nothing before a restart."""
    installed = FenceFacts("auto", installed=True, page="/page")
    assert protecting(a_primary_view(fence=installed))["commit fence"] == 0
    assert protecting(a_view(fence=installed, postgres=stopped()))["commit fence"] == 1


def test_what_the_agent_counts_is_shown() -> None:
    counters = Counters(
        rows={610: 7, 599: 1},
        ticks=42,
        stalls=2,
        renewals=9,
        renewals_failed=3,
        renewals_took=((0.01, 4), (0.1, 8), (float("inf"), 9)),
        renewals_took_s=1.5,
        fences=1,
        journal_lost=4,
        certificates={"etcd3.cert": 1.8e9},
    )
    found = samples(a_view(), counters)
    assert (found["haagent_row_total 610"], found["haagent_row_total 599"]) == (7, 1)
    assert (found["haagent_ticks_total"], found["haagent_stalls_total"]) == (42, 2)
    assert (found["haagent_renewals_total"], found["haagent_renewals_failed_total"]) == (9, 3)
    buckets = [found[f"haagent_renewal_seconds_bucket {bound}"] for bound in ("0.01", "0.1", "+Inf")]
    assert (buckets, found["haagent_renewal_seconds_count"], found["haagent_renewal_seconds_sum"]) == (
        [4, 8, 9],
        9,
        1.5,
    )
    assert (found["haagent_fences_total"], found["haagent_journal_lost_total"]) == (1, 4)
    assert found["haagent_certificate_end_seconds etcd3.cert"] == 1.8e9
