"""A whole host goes, or all of them."""

from __future__ import annotations

import random
import time

from tests.real.checkers import lost_rows, refused_rows_are_absent
from tests.real.cluster import Cluster, in_namespaces
from tests.real.programs import AgentProgram
from tests.real.settings import ClusterSettings
from tests.real.waiting import now


def test_power_loss_of_the_primary(cluster: Cluster) -> None:
    """Fault 14: one promotion within the bound; on its return the node follows, and was never writable first."""
    old = cluster.primary()
    with cluster.writing() as record:
        at = now()
        old.power_off()
        taker = cluster.primary(cluster.settings.ttl + 10, other_than=old)
        for route in ("haproxy", "multihost"):
            cluster.wait_acknowledged(record, at + 1, 10, route)
        outage = cluster.outage(record, "multihost", at)
        old.power_on()
        cluster.wait_whole()
    assert outage <= cluster.settings.ttl + 3
    assert cluster.primary() is taker
    refused_rows_are_absent(record, cluster.rows())


def test_all_hosts_restarted_in_random_order(cluster: Cluster) -> None:
    """Fault 16: what was confirmed is there; no new cluster is made."""
    initialize = cluster.key("initialize")
    with cluster.writing() as record:
        time.sleep(1)
    time.sleep(0.5)
    for node in cluster.nodes:
        node.power_off()
    seed = time.time_ns()
    chance = random.Random(seed)
    print(f"order drawn from seed {seed}")
    for node in chance.sample(cluster.nodes, len(cluster.nodes)):
        node.power_on()
        time.sleep(chance.uniform(0, 2))
    cluster.wait_whole(60)
    assert cluster.key("initialize") == initialize
    assert lost_rows(record, cluster.rows()) == []


def test_power_loss_of_primary_and_etcd_leader_on_one_host(program: AgentProgram, settings: ClusterSettings) -> None:
    """Fault 14: the etcd leader went down with the primary; the outage is bounded all the same."""
    with in_namespaces(program, settings, colocated=True) as cluster:
        cluster.start()
        primary = cluster.primary()
        member = next(member for member in cluster.etcd.members if member.host is primary.host)
        cluster.etcd.move_leader(member)
        with cluster.writing() as record:
            at = now()
            primary.power_off()
            cluster.wait_acknowledged(record, at + 1, settings.ttl + 10, "multihost")
            outage = cluster.outage(record, "multihost", at)
            member.process.start()
            primary.power_on()
            cluster.wait_whole()
        assert outage <= settings.ttl + 3
        refused_rows_are_absent(record, cluster.rows())
