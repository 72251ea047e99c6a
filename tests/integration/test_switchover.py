"""The leader is changed on request, or the request is refused and nothing stops."""

from __future__ import annotations

import contextlib
import json
import signal
from collections.abc import Iterator

from tests.real.checkers import lost_rows, refused_rows_are_absent
from tests.real.cluster import Cluster
from tests.real.node import Node
from tests.real.processes import signal_all
from tests.real.waiting import now, wait_until


def _switch(cluster: Cluster, candidate: Node | None) -> Node:
    old = cluster.primary()
    wish = {"leader": old.name} | ({"candidate": candidate.name} if candidate else {})
    with cluster.writing() as record:
        at = now()
        reply = old.rest("POST", "/switchover", wish, timeout_s=30)
        assert reply.status == 200, reply
        taker = cluster.primary(other_than=old)
        cluster.wait_acknowledged(record, at + 0.2, 10, "haproxy")
        cluster.wait_acknowledged(record, at + 0.2, 10, "multihost")
        outage = cluster.outage(record, "multihost", at)
        cluster.wait_whole()
    assert reply.text == f'Successfully switched over to "{taker.name}"'
    assert outage < 5
    rows = cluster.rows()
    assert lost_rows(record, rows) == []
    refused_rows_are_absent(record, rows)
    return taker


def test_switchover_to_a_named_candidate(cluster: Cluster) -> None:
    """Fault 97: the candidate takes over; nothing acknowledged is lost; never two answer 200."""
    candidate = cluster.standbys()[-1]
    assert _switch(cluster, candidate) is candidate


def test_switchover_to_any_candidate(cluster: Cluster) -> None:
    """Fault 101: whoever takes over, no write lands on the demoted node."""
    assert _switch(cluster, None) in cluster.nodes


def _refused(cluster: Cluster, candidate: Node) -> str:
    primary, term, postmaster = cluster.primary(), cluster.key("leader"), cluster.primary().postmaster_pid()
    with cluster.writing("haproxy") as record:
        at = now()
        reply = primary.rest("POST", "/switchover", {"leader": primary.name, "candidate": candidate.name}, timeout_s=30)
        assert reply.status in (412, 503), reply
        assert record.longest_gap("haproxy", at, now()).length_s < 3
    after = cluster.key("leader")
    assert term is not None
    assert after is not None
    assert after.create_revision == term.create_revision
    assert primary.postmaster_pid() == postmaster
    return reply.text


def _tagged(cluster: Cluster, node: Node) -> bool:
    member = cluster.key(f"members/{node.name}")
    return member is not None and "nofailover" in json.loads(member.value).get("tags", {})


def test_a_nofailover_candidate_is_refused(cluster: Cluster) -> None:
    """Fault 84: its tag forbids it."""
    candidate = cluster.standbys()[0]
    candidate.tags["nofailover"] = True
    candidate.write_config()
    candidate.reload()
    try:
        wait_until(lambda: _tagged(cluster, candidate), "the tag in the member key", 10)
        assert _refused(cluster, candidate)
    finally:
        candidate.tags.clear()
        candidate.write_config()
        candidate.reload()
    wait_until(lambda: not _tagged(cluster, candidate), "the member key without the tag", 10)
    cluster.wait_whole()


@contextlib.contextmanager
def _deaf(node: Node) -> Iterator[None]:
    """Freeze the node's WAL receiver meanwhile."""
    receivers = [pid for (pid,) in node.sql("SELECT pid FROM pg_stat_wal_receiver")]
    assert len(receivers) == 1
    signal_all(receivers, signal.SIGSTOP)
    try:
        yield
    finally:
        signal_all(receivers, signal.SIGCONT)


def test_a_lagging_candidate_is_refused(cluster: Cluster) -> None:
    """Fault 84: it lacks more than ``maximum_lag_on_failover``."""
    candidate = cluster.standbys()[0]
    with _deaf(candidate):
        cluster.primary().sql(
            "CREATE TABLE ballast AS SELECT repeat(md5(i::text), 30) FROM generate_series(1, 5000) i;DROP TABLE ballast"
        )
        assert _refused(cluster, candidate)
    cluster.wait_whole()


def test_a_dead_candidate_is_refused(cluster: Cluster) -> None:
    """Fault 84: it answers no more, though its member key is still there."""
    candidate = cluster.standbys()[0]
    candidate.power_off()
    try:
        assert cluster.key(f"members/{candidate.name}") is not None
        assert _refused(cluster, candidate)
    finally:
        candidate.power_on()
    cluster.wait_whole()


def test_promotion_that_hangs_goes_to_the_other_standby(cluster: Cluster) -> None:
    """Fault 60: while restore_command hangs nothing is claimed; after primary_start_timeout another node is tried."""
    old, standbys = cluster.primary(), cluster.standbys()
    flags = {node: node.place.directory / "hang" for node in standbys}
    command = "while test -e ../hang; do sleep 0.2; done; false"
    limits = {"primary_start_timeout": 4, "postgresql": {"parameters": {"restore_command": command}}}
    assert old.rest("PATCH", "/config", limits, timeout_s=10).status == 200
    try:
        shown = "SHOW restore_command"
        wait_until(lambda: all(one.sql(shown) == [(command,)] for one in standbys), "the command in force", 15)
        for flag in flags.values():
            flag.touch()
        with cluster.writing() as record:
            at = now()
            old.power_off()

            def elected() -> Node | None:
                leader = cluster.leader()
                return None if leader is old else leader

            # Either may be: who had received more when the cable was pulled. Then the other one hangs no more.
            stuck = wait_until(elected, "the stuck leader", 20)
            (other,) = [node for node in standbys if node is not stuck]
            flags[other].unlink()
            assert stuck.rest("GET", "/primary").status == 503
            assert cluster.primary(30, other_than=stuck) is other
            cluster.wait_acknowledged(record, at + 1, 10, "haproxy")
            flags[stuck].unlink()
            old.power_on()
            cluster.wait_whole()
        refused_rows_are_absent(record, cluster.rows())
    finally:
        for flag in flags.values():
            flag.unlink(missing_ok=True)
        back = {"primary_start_timeout": None, "postgresql": {"parameters": {"restore_command": None}}}
        assert cluster.primary().rest("PATCH", "/config", back, timeout_s=10).status == 200
