"""etcd loses a member."""

from __future__ import annotations

import signal
import time

import pytest

from tests.real.checkers import lost_rows
from tests.real.cluster import Cluster
from tests.real.waiting import now, wait_until

GAP_S = 3.0
"""HAProxy may look at the primary just while it has no key, and its writers at HAProxy; a failover takes a ttl."""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "frozen"])
def test_etcd_leader_lost(cluster: Cluster, number: signal.Signals) -> None:
    """Faults 33, 35: renewals go on at another member inside the deadline: no demotion, and commits go on.

    A thawed leader may revoke every lease in passing (etcd before 3.4.31): the primary then takes the key again under a
    new term, and PostgreSQL goes on all the same.
    """
    primary, past = cluster.primary(), cluster.key("history")
    postmaster = primary.postmaster_pid()
    member = wait_until(cluster.etcd.leader, "an etcd leader", 10)
    with cluster.writing("haproxy") as record:
        at = now()
        member.process.send(number)
        time.sleep(cluster.settings.ttl + 2)
        member.process.send(signal.SIGCONT)
        if number is signal.SIGKILL:
            member.process.reap(5)
            member.process.start()
        assert record.longest_gap("haproxy", at, now()).length_s < GAP_S
        cluster.wait_whole()
    # The thawed one may revoke the lease only now; whoever takes the key next is the one to be looked at.
    after = wait_until(lambda: cluster.key("leader"), "the leader key", 10)
    assert after.value == primary.name
    assert primary.postmaster_pid() == postmaster
    assert cluster.key("history") == past
    assert lost_rows(record, cluster.rows()) == []


def test_keys_wiped_while_the_cluster_runs(cluster: Cluster) -> None:
    """Fault 43: the primary goes on and writes the keys anew; nobody makes a cluster or another timeline."""
    primary, initialize, config = cluster.primary(), cluster.key("initialize"), cluster.key("config")
    assert initialize is not None
    assert config is not None
    timeline, postmaster = primary.status()["timeline"], primary.postmaster_pid()
    with cluster.writing("haproxy") as record:
        at = now()
        cluster.etcd.wipe()
        cluster.wait_whole()
        assert record.longest_gap("haproxy", at, now()).length_s < GAP_S
    assert cluster.primary() is primary
    assert (primary.status()["timeline"], primary.postmaster_pid()) == (timeline, postmaster)
    after = wait_until(lambda: cluster.key("initialize"), "the initialize key", 10)
    config_after = wait_until(lambda: cluster.key("config"), "the config key", 10)
    assert (after.value, config_after.value) == (initialize.value, config.value)
    assert lost_rows(record, cluster.rows()) == []


def test_new_settings_of_etcd_come_with_a_reload(cluster: Cluster) -> None:
    """Fault 39 and after fault 40: the leader goes over to another transport and order of hosts, and stays leader."""
    primary, term = cluster.primary(), cluster.key("leader")
    said_before = primary.log.stat().st_size
    primary.etcd.reverse()
    primary.reconfigure(grpc=tuple({*primary.settings.grpc} ^ {primary.name}))
    primary.reload()

    def moved() -> bool:
        return "etcd is reached by new settings" in primary.log.read_text()[said_before:]

    wait_until(moved, "the reload", 15)
    time.sleep(cluster.settings.ttl)
    after = cluster.key("leader")
    assert term is not None
    assert after is not None
    assert after.create_revision == term.create_revision
    assert after.mod_revision > term.mod_revision
    cluster.wait_whole()
