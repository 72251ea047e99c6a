"""The cluster and etcd as a whole: nothing to say of what is well, and the right words for what is not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from haagent.core.facts import PeerReply, Settings
from haagent.core.forecast import Candidate, Forecast
from haagent.core.health import cluster, etcd
from haagent.core.health.cluster import ClusterHealth, Skew
from haagent.core.health.etcd import EtcdEndpoint, EtcdFacts
from haagent.core.health.finding import Finding, Verdict
from haagent.core.terms import Lsn
from tests.builders import LSN, a_member, a_reply, a_silent_peer, a_snapshot, some_tags, with_config

OK, WARNING, PROBLEM, UNKNOWN = Verdict.OK, Verdict.WARNING, Verdict.PROBLEM, Verdict.UNKNOWN
LEADER = a_reply("a", in_recovery=False, leads=True)
REPLIES = {"a": LEADER, "b": a_reply("b"), "c": a_reply("c")}
AHEAD = Forecast("a", LSN, (Candidate("b", None, LSN, 0, wins=True),), ())


def a_cluster_health(**changes: Any) -> ClusterHealth:
    health = ClusterHealth(
        name="demo",
        snapshot=a_snapshot(config=with_config({"ttl": 10})),
        settings=Settings(),
        replies=REPLIES,
        alike={"a": {"wal_level": "replica"}, "b": {"wal_level": "replica"}},
        skews={"a": Skew(0.1, 0.01), "b": Skew(-0.1, 0.01)},
        forecast=AHEAD,
    )
    return replace(health, **changes)


def answering(**changes: PeerReply) -> ClusterHealth:
    return a_cluster_health(replies=REPLIES | changes)


def test_a_healthy_cluster_gives_no_cause_for_concern() -> None:
    assert [one for one in cluster.judged(a_cluster_health()) if one.verdict is not OK] == []


SYNC = Settings(synchronous_mode="on", synchronous_node_count=3)
STRICT = replace(SYNC, synchronous_mode_strict=True)
ALONE = a_snapshot(a_member("a"), a_member("b", tags=some_tags(nosync=True).published), config=with_config({}))


@pytest.mark.parametrize(
    ("health", "name", "verdict", "words"),
    [
        (answering(c=a_silent_peer("c")), "agents", PROBLEM, "c: no answer"),
        (a_cluster_health(silent={"c": "HTTP 404"}), "agents", UNKNOWN, "c: HTTP 404"),
        (a_cluster_health(snapshot=a_snapshot(leader=None)), "leader", PROBLEM, "nobody holds"),
        (answering(a=a_silent_peer("a")), "leader", PROBLEM, "does not answer"),
        (answering(a=replace(LEADER, leads=False)), "leader", PROBLEM, "does not say that it leads"),
        (answering(c=a_reply("c", in_recovery=False)), "leader", PROBLEM, "PostgreSQL of c is out of recovery too"),
        (a_cluster_health(forecast=replace(AHEAD, candidates=())), "successor", WARNING, "no other member"),
        (
            a_cluster_health(forecast=replace(AHEAD, candidates=(Candidate("b", "b is behind"),))),
            "successor",
            PROBLEM,
            "b: b is behind",
        ),
        (a_cluster_health(alike={"a": {"x": 1}, "b": {"x": 2}}), "settings-alike", WARNING, "x (a 1, b 2)"),
        (a_cluster_health(skews={"a": Skew(3, 0.1), "b": Skew(0, 0.1)}), "wall-clocks", WARNING, "a is 3.00 s ahead"),
        (a_cluster_health(skews={"a": Skew(3, 2), "b": Skew(0, 2)}), "wall-clocks", OK, "give or take 4.00 s"),
        (a_cluster_health(settings=SYNC), "synchronous-mode", WARNING, "3 standbys wanted, 2 could acknowledge"),
        (a_cluster_health(settings=STRICT, snapshot=ALONE), "synchronous-mode", PROBLEM, "no commit returns"),
        (a_cluster_health(settings=Settings(pause=True)), "maintenance", WARNING, "maintenance mode is on"),
        (a_cluster_health(remarks=("ttll is not known",)), "dynamic-configuration", WARNING, "ttll"),
        (a_cluster_health(snapshot=a_snapshot(config=None)), "dynamic-configuration", WARNING, "there is none"),
    ],
)
def test_what_is_wrong_with_a_cluster(health: ClusterHealth, name: str, verdict: Verdict, words: str) -> None:
    _is_found(cluster.judged(health), name, verdict, words)


def _is_found(found: list[Finding], name: str, verdict: Verdict, words: str) -> None:
    one = next(one for one in found if one.id == name)
    assert (one.verdict, words in one.evidence) == (verdict, True), one
    assert one.mend or verdict in (OK, UNKNOWN)


def endpoints(*changed: dict[str, Any]) -> tuple[EtcdEndpoint, ...]:
    well = [EtcdEndpoint(f"http://e{n}:2379", n, 1, "3.5.9", 1024**2, 2.0) for n in (1, 2, 3)]
    return tuple(replace(one, **change) for one, change in zip(well, (*changed, {}, {}, {}), strict=False))


def some_etcd(*changed: dict[str, Any], **more: Any) -> EtcdFacts:
    return replace(EtcdFacts(endpoints(*changed), 3, (), 3.0), **more)


GONE = {"why": "refused"}


def test_a_healthy_etcd_gives_no_cause_for_concern() -> None:
    assert [one for one in etcd.judged(some_etcd()) if one.verdict is not OK] == []


@pytest.mark.parametrize(
    ("facts", "name", "verdict", "words"),
    [
        (some_etcd(GONE), "etcd-quorum", WARNING, "2 of 3 members answer; http://e1:2379: refused"),
        (some_etcd(GONE, GONE), "etcd-quorum", PROBLEM, "no majority"),
        (some_etcd(GONE, GONE, GONE), "etcd-quorum", PROBLEM, "no endpoint answers"),
        (some_etcd(GONE, GONE, GONE), "etcd-version", UNKNOWN, "no endpoint"),
        (EtcdFacts(endpoints()[:1], 1, ()), "etcd-quorum", WARNING, "fewer than three"),
        (some_etcd({"took_ms": 450.0}), "etcd-latency", WARNING, "http://e1:2379, 450 ms"),
        (some_etcd(read_ms=300.0), "etcd-latency", WARNING, "took 300 ms"),
        (some_etcd(alarms=("NOSPACE",)), "etcd-alarms", PROBLEM, "NOSPACE: etcd refuses writes"),
        (some_etcd(alarms=None), "etcd-alarms", UNKNOWN, "could not be asked"),
        (some_etcd({"version": "3.3.27"}), "etcd-version", PROBLEM, "3.3.27 is older"),
        (some_etcd({"version": "3.4.30"}), "etcd-version", WARNING, "3.4.30, 3.5.9"),
        (some_etcd({"db_bytes": 1900 * 1024**2}), "etcd-size", WARNING, "92.8 %"),
        (some_etcd({"db_bytes": 1900 * 1024**2, "quota_bytes": 8 * 1024**3}), "etcd-size", OK, "23.2 % of its quota"),
        (some_etcd({}, {"quota_bytes": 1024**2}), "etcd-size", WARNING, "http://e2:2379: 1.0 MiB, 100.0 %"),
        (some_etcd({"leader_id": 2}), "etcd-leader", WARNING, "2 leaders"),
    ],
)
def test_what_is_wrong_with_etcd(facts: EtcdFacts, name: str, verdict: Verdict, words: str) -> None:
    _is_found(etcd.judged(facts), name, verdict, words)


def test_a_position_of_nobody_is_not_shown() -> None:
    assert Candidate("b", "silent").lost is None
    assert Candidate("b", None, Lsn(5), 7, acknowledged=True).lost == 0
