"""Commits wait for standbys, and only who holds them all may lead."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import psycopg
import pytest

from tests.real.checkers import lost_rows, refused_rows_are_absent
from tests.real.cluster import Cluster
from tests.real.node import Node
from tests.real.processes import kill_all
from tests.real.record import Record
from tests.real.waiting import now, wait_until

NAMES = "SELECT current_setting('synchronous_standby_names')"


def _sync_key(cluster: Cluster) -> dict[str, Any] | None:
    key = cluster.key("sync")
    return None if key is None else dict(json.loads(key.value))


def _listed(cluster: Cluster) -> list[Node]:
    """The standbys that may be elected."""
    names = ((_sync_key(cluster) or {}).get("sync_standby") or "").split(",")
    return [node for node in cluster.nodes if node.name in names]


def _settled(cluster: Cluster, names: str, quorum: int, standbys: Sequence[Node]) -> bool:
    primary = cluster.primary()
    wanted = {"leader": primary.name, "quorum": quorum, "sync_standby": ",".join(n.name for n in standbys) or None}
    return primary.sql(NAMES) == [(names,)] and _sync_key(cluster) == wanted


def _wait_synchronous(cluster: Cluster, timeout_s: float = 15) -> Node:
    """Wait until one standby is waited for and may be elected; which one."""

    def found() -> Node | None:
        listed = _listed(cluster)
        return listed[0] if len(listed) == 1 and _settled(cluster, f'"{listed[0].name}"', 0, listed) else None

    return wait_until(found, "one synchronous standby", timeout_s)


@contextlib.contextmanager
def _configured(cluster: Cluster, **settings: Any) -> Iterator[None]:
    """Change the dynamic configuration meanwhile."""
    assert cluster.primary().rest("PATCH", "/config", settings, timeout_s=10).status == 200
    try:
        yield
    finally:
        cluster.mend()  # after a test that failed: the mode must not stay on for those that follow
        undone = dict.fromkeys(settings)
        assert cluster.primary(60).rest("PATCH", "/config", undone, timeout_s=10).status == 200
        wait_until(lambda: _sync_key(cluster) is None, "the end of the synchronous mode", 20)


def _nothing_is_lost(cluster: Cluster, record: Record) -> None:
    rows = cluster.rows()
    assert lost_rows(record, rows) == []
    refused_rows_are_absent(record, rows)


def test_the_mode_is_switched_on_and_off_at_run_time(cluster: Cluster) -> None:
    """First the names, then the key; the health checks and the list of members tell who is waited for."""
    with _configured(cluster, synchronous_mode=True):
        chosen = _wait_synchronous(cluster)
        (other,) = [node for node in cluster.standbys() if node is not chosen]
        primary = cluster.primary()
        good = {
            "/sync": {chosen},
            "/async": {other},
            "/read-only-sync": {primary, chosen},
            "/quorum": set[Node](),
        }
        roles = {primary.name: "leader", chosen.name: "sync_standby", other.name: "replica"}

        def answering(path: str) -> set[Node]:
            return {node for node in cluster.nodes if node.rest("GET", path).status == 200}

        def listed() -> dict[str, str]:
            return {member["name"]: member["role"] for member in primary.rest("GET", "/cluster").json["members"]}

        # Each agent hears of the key in its own time.
        wait_until(lambda: {path: answering(path) for path in good} == good, "the right answers to the checks", 10)
        wait_until(lambda: listed() == roles, "the right roles in the list of members", 10)
        wait_until(lambda: chosen.status().get("sync_standby") is True, "the standby's word that it is one", 5)
    wait_until(lambda: cluster.primary().sql(NAMES) == [("",)], "names taken back", 10)


def test_commits_go_on_when_the_synchronous_standby_is_killed(cluster: Cluster) -> None:
    """Fault 69: another takes its place soon after its walsender's end; it may not be elected any more."""
    with _configured(cluster, synchronous_mode=True):
        lost = _wait_synchronous(cluster)
        with cluster.writing("haproxy") as record:
            at = now()
            kill_all(lost.pids())
            killed_at = now()
            lost.reap()
            cluster.wait_acknowledged(record, killed_at, 10, "haproxy")
            assert _listed(cluster) != [lost]
            instead = _wait_synchronous(cluster)
            # Long before its member key could have told that it is gone.
            assert record.longest_gap("haproxy", at - 0.2, now()).length_s < cluster.settings.ttl / 2
        assert instead is not lost
        lost.start()
        cluster.wait_whole()
        assert _listed(cluster) == [instead]
        _nothing_is_lost(cluster, record)


def test_a_synchronous_standby_is_let_go_before_it_stops(cluster: Cluster) -> None:
    """Fault 70: asked to stop, it announces it; commits hardly pause, and it comes back."""
    with _configured(cluster, synchronous_mode=True):
        leaving = _wait_synchronous(cluster)
        said = len(leaving.log.read_text(errors="replace"))
        with cluster.writing("haproxy") as record:
            at = now()
            assert leaving.stop() == 0
            time.sleep(0.3)
            assert record.longest_gap("haproxy", at, now()).length_s < 2
        assert "row 508" in leaving.log.read_text(errors="replace")[said:], "it did not ask to be let go"
        assert leaving not in _listed(cluster)
        leaving.start()
        cluster.wait_whole()


def test_no_acknowledged_row_is_lost_with_the_primary(cluster: Cluster) -> None:
    """Fault 14 in synchronous mode: the synchronous standby leads, and has every row."""
    with _configured(cluster, synchronous_mode=True):
        chosen, old = _wait_synchronous(cluster), cluster.primary()
        with cluster.writing() as record:
            time.sleep(0.5)
            at = now()
            old.power_off()
            assert cluster.primary(cluster.settings.ttl + 10, other_than=old) is chosen
            cluster.wait_acknowledged(record, at + 1, 10, "haproxy")
            old.power_on()
            cluster.wait_whole()
        assert lost_rows(record, cluster.rows()) == []


def test_who_may_lack_commits_does_not_lead_by_itself(cluster: Cluster) -> None:
    """Fault 15: leaderless, and says why; an operator may force it, and is told what may be lost."""
    with _configured(cluster, synchronous_mode=True):
        chosen, old = _wait_synchronous(cluster), cluster.primary()
        (left,) = [node for node in cluster.standbys() if node is not chosen]
        old.power_off()
        chosen.power_off()
        wait_until(lambda: cluster.key("leader") is None, "the end of the leader key", cluster.settings.ttl + 5)
        told = wait_until(lambda: _reason(left), "a reason", 10)
        assert f"by the sync key {old.name} or {chosen.name} may lead" in told
        assert f"haagent-ctl failover {cluster.settings.scope} --candidate {left.name}" in told
        time.sleep(2)
        assert cluster.writable() == []
        reply = left.rest("POST", "/failover", {"candidate": left.name}, timeout_s=30)
        assert reply.status == 200, reply
        assert reply.text.startswith(f'Successfully failed over to "{left.name}"; ')
        assert "may be lost" in reply.text
        assert cluster.primary() is left
        assert _sync_key(cluster) == {"leader": left.name, "quorum": 0, "sync_standby": None}
        for node in (old, chosen):
            node.power_on()
        cluster.wait_whole()


def _reason(node: Node) -> str:
    why = str(node.status().get("haagent", {}).get("why", ""))
    return why if why.startswith("leaderless") else ""


def test_a_commit_whose_wait_was_cancelled_is_no_promise(cluster: Cluster) -> None:
    """Fault 71: its client is cut off instead of told a success that the failover undoes; it is counted, and named."""
    assert cluster.network is not None
    with _configured(cluster, synchronous_mode=True):
        chosen, old = _wait_synchronous(cluster), cluster.primary()
        host, others = cluster.network.hosts[old.name], [cluster.network.hosts[n.name] for n in cluster.standbys()]
        host.block(old.place.postgres_port, others)
        with old.connect() as client:
            cancelling = threading.Thread(target=_cancel_whoever_waits, args=(old,))
            cancelling.start()
            with pytest.raises(psycopg.OperationalError, match="closed the connection"):
                client.execute("CREATE TABLE given_up (number int)")
            cancelling.join()
        assert json.loads(str(old.sql("SHOW haagent_fence.state")[0][0]))["unconfirmed"] == 1
        assert "synchronous standbys was cancelled before they confirmed it" in old.log.read_text(errors="replace")
        assert old.sql("SELECT to_regclass('given_up') IS NOT NULL") == [(True,)], "it stands where it was made"
        old.power_off()
        host.heal()
        assert cluster.primary(cluster.settings.ttl + 10, other_than=old) is chosen
        old.power_on()
        cluster.wait_whole()
        assert [node.sql("SELECT to_regclass('given_up')") for node in cluster.nodes] == [[(None,)]] * 3


def _cancel_whoever_waits(primary: Node) -> None:
    cancel = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
    wait_until(lambda: primary.sql(cancel), "a commit that waits", 10)


def test_a_strict_cluster_waits_rather_than_commit_alone(cluster: Cluster) -> None:
    """Fault 69, strict: without a standby commits wait, and go on when one is back."""
    with _configured(cluster, synchronous_mode=True, synchronous_mode_strict=True):
        chosen, primary = _wait_synchronous(cluster), cluster.primary()
        (other,) = [node for node in cluster.standbys() if node is not chosen]
        other.stop()
        wait_until(lambda: len(primary.sql("SELECT pid FROM pg_stat_replication")) == 1, "one standby", 10)
        with cluster.writing("haproxy") as record:
            kill_all(chosen.pids())
            at = now()
            chosen.reap()
            time.sleep(2)
            assert [attempt for attempt in record.acknowledged(since=at) if attempt.started_at >= at] == []
            assert primary.rest("GET", "/primary").status == 200
            assert primary.sql(NAMES) == [(f'"{chosen.name}"',)]
            other.start()
            cluster.wait_acknowledged(record, at, 30, "haproxy")
            chosen.start()
            cluster.wait_whole()
        _nothing_is_lost(cluster, record)


def test_only_a_synchronous_standby_takes_over_on_request(cluster: Cluster) -> None:
    """Fault 84: a switchover to another is refused, and nothing is stopped."""
    with _configured(cluster, synchronous_mode=True):
        chosen, primary = _wait_synchronous(cluster), cluster.primary()
        (other,) = [node for node in cluster.standbys() if node is not chosen]
        with cluster.writing("haproxy", "multihost") as record:
            wish = {"leader": primary.name, "candidate": other.name}
            reply = primary.rest("POST", "/switchover", wish, timeout_s=30)
            assert reply.status == 412, reply
            assert f"{other.name} is not a synchronous standby" in reply.text
            at = now()
            reply = primary.rest("POST", "/switchover", {"leader": primary.name}, timeout_s=30)
            assert reply.status == 200, reply
            assert cluster.primary() is chosen
            cluster.wait_acknowledged(record, at + 0.2, 10, "haproxy")
            cluster.wait_whole()
        _nothing_is_lost(cluster, record)


def test_a_quorum_elects_who_has_every_commit(cluster: Cluster) -> None:
    """Any one standby acknowledges; after the primary's end the two of them together know who has everything."""
    with _configured(cluster, synchronous_mode="quorum"):
        old, standbys = cluster.primary(), cluster.standbys()
        names = 'ANY 1 ("{}","{}")'.format(*(node.name for node in standbys))
        wait_until(lambda: _settled(cluster, names, 1, standbys), "a quorum", 20)
        asked = "two that are of the quorum and know it"
        wait_until(lambda: [n.rest("GET", "/quorum").status for n in cluster.nodes].count(200) == 2, asked, 10)
        with cluster.writing() as record:
            time.sleep(0.5)
            at = now()
            old.power_off()
            cluster.primary(cluster.settings.ttl + 10, other_than=old)
            cluster.wait_acknowledged(record, at + 1, 10, "haproxy")
            old.power_on()
            cluster.wait_whole()
        assert lost_rows(record, cluster.rows()) == []
