"""etcd loses a member."""

from __future__ import annotations

import signal
import time

import pytest

from tests.real.checkers import lost_rows
from tests.real.cluster import Cluster
from tests.real.waiting import now, wait_until


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
        assert record.longest_gap("haproxy", at, now()).length_s < 1.5
        cluster.wait_whole()
    after = cluster.key("leader")
    assert after is not None
    assert after.value == primary.name
    assert primary.postmaster_pid() == postmaster
    assert cluster.key("history") == past
    assert lost_rows(record, cluster.rows()) == []
