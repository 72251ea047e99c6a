"""Every check of check_patroni, once when all is well and once when it has something to say."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from tests.compat.clients import Patronictl, place, run
from tests.real.cluster import Cluster
from tests.real.node import Node
from tests.real.waiting import wait_until

OK, CRITICAL = 0, 2
TRIES = 5
FAR = "2035-01-01T00:00:00+00:00"

Expected = tuple[int, str, tuple[Node, ...], str]
"""Exit code, a part of the text, who is asked, the words of the check."""


def _asked(cluster: Cluster, nodes: tuple[Node, ...], words: str) -> tuple[int, str]:
    asked = [f"--endpoints=http://{node.place.address}:{node.place.rest_port}" for node in nodes]
    done = run(cluster, [place() / "check_patroni/bin/check_patroni", *asked, *words.split()])
    return done.code, done.text


def _verify(cluster: Cluster, *expected: Expected) -> None:
    """Run the checks, two at a time: nearly all of it is Python starting."""
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda one: _settled(cluster, one), expected))
    for (code, part, nodes, words), (found, text) in zip(expected, answers, strict=True):
        names = ", ".join(node.name for node in nodes)
        assert (found, part in text) == (code, True), f"{words} of {names}: expected {code}, {part!r}; {found}: {text}"


def _settled(cluster: Cluster, one: Expected) -> tuple[int, str]:
    """The answer to a check, asked again a few times: members tell their positions once a loop."""
    code, part, nodes, words = one
    for _ in range(TRIES):
        found, text = _asked(cluster, nodes, words)
        if (found, part in text) == (code, True):
            break
    return found, text


def test_a_cluster_that_is_well(cluster: Cluster) -> None:
    """All checks of the cluster and of single nodes; those that compare find what they are told, or do not."""
    primary, standby, everybody = cluster.primary(), cluster.standbys()[0], tuple(cluster.nodes)
    leads, follows = (primary,), (standby,)
    status = primary.status()
    version, timeline = status["patroni"]["version"], status["timeline"]
    _verify(
        cluster,
        (OK, "has_leader=1", everybody, "cluster_has_leader"),
        (OK, "healthy_replica=2", everybody, "cluster_has_replica --critical 2: --max-lag 10MB"),
        (CRITICAL, "healthy_replica is 2", everybody, "cluster_has_replica --critical 3:"),
        (CRITICAL, "sync_replica is 0", everybody, "cluster_has_replica --sync-critical 1:"),
        (OK, "scheduled_actions is 0", everybody, "cluster_has_scheduled_action"),
        (OK, "is_in_maintenance is 0", everybody, "cluster_is_in_maintenance"),
        (OK, "healthy_members=3", everybody, "cluster_node_count --critical 3: --healthy-critical 3:"),
        (CRITICAL, "members is 3", everybody, "cluster_node_count --critical 4:"),
        (CRITICAL, "has changed", everybody, "cluster_config_has_changed --hash of-another"),
        (OK, "is_alive=1", follows, "node_is_alive"),
        (OK, "is_leader=1", leads, "node_is_leader"),
        (CRITICAL, "is_leader=0", follows, "node_is_leader"),
        (CRITICAL, "is_leader=0", leads, "node_is_leader --is-standby-leader"),
        (OK, "is_primary=1", leads, "node_is_primary"),
        (CRITICAL, "is_primary=0", follows, "node_is_primary"),
        (OK, "is_replica=1", follows, "node_is_replica --max-lag 10MB"),
        (CRITICAL, "is_replica=0", leads, "node_is_replica"),
        (OK, "is_replica=1", follows, "node_is_replica --is-async"),
        (CRITICAL, "is_replica=0", follows, "node_is_replica --is-sync"),
        (OK, "is_pending_restart=0", leads, "node_is_pending_restart"),
        (OK, "is_version_ok=1", leads, f"node_patroni_version --patroni-version {version}"),
        (CRITICAL, "is_version_ok=0", leads, "node_patroni_version --patroni-version 3.0.0"),
        (OK, "is_timeline_changed=0", leads, f"node_tl_has_changed --timeline {timeline}"),
        (CRITICAL, "is_timeline_changed=1", leads, "node_tl_has_changed --timeline 99"),
    )


def test_a_configuration_that_stays_and_then_changes(cluster: Cluster, patronictl: Patronictl) -> None:
    """cluster_config_has_changed with a file that keeps what was seen."""
    everybody, words = tuple(cluster.nodes), f"cluster_config_has_changed -s {cluster.home}/config.state"
    _asked(cluster, everybody, f"{words} --save")
    _verify(cluster, (OK, "has not changed", everybody, words))
    patronictl("edit-config", "-p", "work_mem=9MB", "--force")
    _verify(cluster, (CRITICAL, "has changed", everybody, words))


@contextmanager
def _changed(patronictl: Patronictl, **sets: Any) -> Iterator[None]:
    """The dynamic configuration with some settings, and without them afterwards."""
    patronictl("edit-config", "--force", *(word for name, value in sets.items() for word in ("-s", f"{name}={value}")))
    try:
        yield
    finally:
        patronictl("edit-config", "--force", *(word for name in sets for word in ("-s", f"{name}=null")))


def _synced(cluster: Cluster) -> Node | None:
    return next((node for node in cluster.nodes if node.status().get("sync_standby")), None)


def test_a_cluster_that_has_something_to_say(cluster: Cluster, patronictl: Patronictl) -> None:
    """Synchronous standbys, a restart that is pending, one that is scheduled, maintenance, an agent that is frozen."""
    primary, everybody = cluster.primary(), tuple(cluster.nodes)
    patronictl("edit-config", "-p", "max_connections=119", "--force")
    with _changed(patronictl, synchronous_mode="on"):
        synced = wait_until(lambda: _synced(cluster), "a sync standby", 20)
        wait_until(lambda: primary.status().get("pending_restart"), "a pending restart", 20)
        _verify(
            cluster,
            (OK, "sync_replica=1", everybody, "cluster_has_replica --sync-critical 1: --sync-type sync"),
            (OK, "is_replica=1", (synced,), "node_is_replica --is-sync"),
            (CRITICAL, "is_replica=0", (synced,), "node_is_replica --is-async"),
            (CRITICAL, "is_pending_restart=1", (primary,), "node_is_pending_restart"),
        )
    patronictl("restart", cluster.settings.scope, "--pending", "--force")
    patronictl("switchover", "--scheduled", FAR, "--force")
    with _changed(patronictl, pause="true"):
        _verify(
            cluster,
            (CRITICAL, "scheduled_switchover=1", everybody, "cluster_has_scheduled_action"),
            (CRITICAL, "is_in_maintenance=1", everybody, "cluster_is_in_maintenance"),
        )
    patronictl("flush", cluster.settings.scope, "switchover", "--force")
    frozen = cluster.standbys()[0]
    frozen.freeze_agent()
    try:
        _verify(cluster, (3, "Connection failed", (frozen,), "node_is_alive"))
    finally:
        frozen.thaw_agent()
