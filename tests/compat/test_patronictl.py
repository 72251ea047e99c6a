"""Every command of patronictl 4.1 against agents of haagent, with a password on the REST API."""

from __future__ import annotations

import re
from typing import Any

from tests.compat.clients import Patronictl
from tests.real.cluster import Cluster
from tests.real.waiting import wait_until

FAR = "2035-01-01T00:00:00+00:00"


def _members(patronictl: Patronictl) -> dict[str, dict[str, Any]]:
    return {row["Member"]: row for row in patronictl.rows("list", "-e")}


def test_what_is_seen(cluster: Cluster, patronictl: Patronictl) -> None:
    """list, topology, version, show-config, dsn, query."""
    primary, standbys = cluster.primary(), cluster.standbys()
    expected = {primary.name: ("Leader", "running"), **{node.name: ("Replica", "streaming") for node in standbys}}

    def seen() -> bool:
        return {name: (row["Role"], row["State"]) for name, row in _members(patronictl).items()} == expected

    wait_until(seen, "each in its role, by the member keys", 15)
    assert {row["Host"] for row in _members(patronictl).values()} == {node.place.address for node in cluster.nodes}
    tree = patronictl("topology")
    assert re.search(rf"^\| {primary.name} +\|", tree, re.MULTILINE)
    assert tree.count("| + ") == len(standbys)
    versions = patronictl("version", cluster.settings.scope)
    for node in cluster.nodes:
        assert re.search(rf"^{node.name}: Patroni 4\.\d+\.\d+ PostgreSQL \d+\.\d+$", versions, re.MULTILINE)
    assert f"ttl: {cluster.settings.ttl}\n" in patronictl("show-config")
    assert patronictl("dsn").strip() == f"host={primary.place.address} port=5432"
    assert patronictl("dsn", "-m", standbys[0].name).strip() == f"host={standbys[0].place.address} port=5432"
    who = patronictl("query", "-U", "postgres", "-r", "replica", "-c", "SELECT pg_is_in_recovery()", "--format", "json")
    assert who.strip() == '[{"pg_is_in_recovery": true}]'


def test_maintenance_mode(cluster: Cluster, patronictl: Patronictl) -> None:
    """pause, resume; a second time is refused."""
    try:
        assert "Success: cluster management is paused" in patronictl("pause", "--wait")
        assert "Maintenance mode: on" in patronictl("list")
        assert "already paused" in patronictl("pause", expected=1)
    finally:
        assert "Success: cluster management is resumed" in patronictl("resume", "--wait")
    assert all("pause" not in node.status() for node in cluster.nodes)


def test_configuration_and_restarts(cluster: Cluster, patronictl: Patronictl) -> None:
    """edit-config, restart, reload: a parameter is changed, waits for its restart, and is in force after it."""
    scope, nodes = cluster.settings.scope, len(cluster.nodes)
    before = cluster.primary().sql("SHOW max_connections")[0][0]
    said = patronictl("edit-config", "-p", "max_connections=127", "-s", "maximum_lag_on_failover=2097152", "--force")
    assert "Configuration changed" in said
    wait_until(lambda: all("Pending restart" in row for row in _members(patronictl).values()), "pending restarts", 15)
    assert patronictl("list").count(f"max_connections: {before}->127") == nodes
    said = patronictl("restart", scope, "--pending", "--timeout", "30s", "--force")
    # A standby that has fewer connections than its primary is restarted by its agent, which may have begun just then.
    by_themselves = sum("row 547" in node.log.read_text() for node in cluster.nodes)
    assert nodes - by_themselves <= said.count("Success: restart on member") <= nodes
    cluster.wait_whole()
    shown = "SHOW max_connections"
    wait_until(lambda: all(node.sql(shown) == [("127",)] for node in cluster.nodes), "127 connections everywhere", 20)
    said = patronictl("reload", scope, "--force")
    assert said.count("Reload request received for member") == nodes
    assert '"maximum_lag_on_failover": 2097152' in cluster.nodes[0].rest("GET", "/config").text


def test_what_is_scheduled(cluster: Cluster, patronictl: Patronictl) -> None:
    """restart and switchover at a time to come, and flush of both."""
    scope, primary, standby = cluster.settings.scope, cluster.primary(), cluster.standbys()[0]
    said = patronictl("restart", scope, standby.name, "--scheduled", FAR, "--force")
    assert f"Success: restart scheduled on member {standby.name}" in said
    wait_until(lambda: _members(patronictl)[standby.name].get("Scheduled restart") == FAR, "it in the member key", 15)
    assert f"flush scheduled restart for member {standby.name}" in patronictl("flush", scope, "restart", "--force")
    assert "Switchover scheduled" in patronictl("switchover", scope, "--scheduled", FAR, "--force")
    listed = patronictl("list")
    assert f"Switchover scheduled at: {FAR}" in listed
    assert f"from: {primary.name}" in listed
    assert "scheduled switchover deleted" in patronictl("flush", scope, "switchover", "--force")
    assert "No pending scheduled switchover" in patronictl("flush", scope, "switchover", "--force")


def test_changes_of_leader(cluster: Cluster, patronictl: Patronictl) -> None:
    """switchover, failover, history."""
    primary, standby = cluster.primary(), cluster.standbys()[0]
    said = patronictl("switchover", "--leader", primary.name, "--candidate", standby.name, "--force")
    assert f'Successfully switched over to "{standby.name}"' in said
    cluster.wait_whole()
    said = patronictl("failover", "--candidate", primary.name, "--force")
    assert f'Successfully failed over to "{primary.name}"' in said
    cluster.wait_whole()
    last = [standby.name, primary.name]
    wait_until(lambda: [row["New Leader"] for row in patronictl.rows("history")[-2:]] == last, "their history", 15)
    assert "does not exist" in patronictl("failover", "--candidate", "nobody", "--force", expected=1)
    assert cluster.primary() is primary


def test_a_cluster_that_is_to_follow_another(cluster: Cluster, patronictl: Patronictl) -> None:
    """demote-cluster, here behind a primary that is not there, and promote-cluster."""
    address = cluster.nodes[0].place.address
    patronictl("demote-cluster", "--host", address, "--port", "1", "--force")
    assert cluster.writable() == []
    assert "Standby Leader" in {row["Role"] for row in _members(patronictl).values()}
    patronictl("promote-cluster", "--force")
    assert "Leader" in {row["Role"] for row in _members(patronictl).values()}
    cluster.wait_whole()


def test_a_standby_built_anew(cluster: Cluster, patronictl: Patronictl) -> None:
    """reinit."""
    scope, standby = cluster.settings.scope, cluster.standbys()[1]
    said = patronictl("reinit", scope, standby.name, "--from-leader", "--wait", "--force")
    assert f"Reinitialize is completed on: {standby.name}" in said
    cluster.wait_whole()


def test_removed_while_it_runs(cluster: Cluster, patronictl: Patronictl) -> None:
    """Fault 88: remove needs three typed words; the leader goes on to accept writes and puts all keys back."""
    scope, primary = cluster.settings.scope, cluster.primary()
    identifier, postmaster = cluster.key("initialize"), primary.postmaster_pid()
    answers = f"{scope}\nYes I am aware\n{primary.name}\n"
    with cluster.writing("direct " + primary.name) as record:
        assert "names specified do not match" in patronictl("remove", scope, expected=1, stdin="another\n")
        patronictl("remove", scope, stdin=answers)
        wait_until(lambda: len(_members(patronictl)) == len(cluster.nodes), "all members again", 15)
        cluster.wait_whole()
    assert primary.postmaster_pid() == postmaster
    assert cluster.leader() is primary
    assert identifier is not None
    restored = wait_until(lambda: cluster.key("initialize"), "the initialize key again", 15)
    assert restored.value == identifier.value
    assert record.longest_gap("direct", record.attempts[0].started_at, record.attempts[-1].ended_at).length_s < 2
    connections, node = '"max_connections": 127', cluster.nodes[0]
    wait_until(lambda: connections in node.rest("GET", "/config").text, "the configuration again", 15)
