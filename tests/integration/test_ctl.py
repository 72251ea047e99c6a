"""haagent-ctl from a machine beside the cluster, on real agents and a real etcd."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from haagent.config.parameters import NEEDS_RESTART
from tests.real.cluster import Cluster, make_node
from tests.real.settings import PASSWORD, SUPERUSER
from tests.real.waiting import wait_until


def run(cluster: Cluster, *words: str, typed: str = "") -> subprocess.CompletedProcess[str]:
    """Run a command with the configuration of the first node."""
    program = Path(sys.prefix) / "bin" / "haagent-ctl"
    argv = cluster.client.command([str(program), "-c", str(cluster.nodes[0].config_file), *words])
    environment = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "PGUSER": SUPERUSER, "PGPASSWORD": PASSWORD}
    return subprocess.run(argv, input=typed, env=environment, capture_output=True, text=True, timeout=90, check=False)


def ctl(cluster: Cluster, *words: str, expected: int = 0, typed: str = "") -> str:
    """Run a command that ends with that exit code; its output."""
    found = run(cluster, *words, typed=typed)
    assert found.returncode == expected, f"{words}: {found.stdout}{found.stderr}"
    return found.stdout + found.stderr


def members(cluster: Cluster) -> dict[str, dict[str, Any]]:
    return {row["Member"]: row for row in json.loads(ctl(cluster, "list", "-f", "json"))}


def test_what_is_listed_is_what_is_there(cluster: Cluster) -> None:
    primary = cluster.primary()

    def settled() -> bool:
        return all(row["State"] == "streaming" for name, row in members(cluster).items() if name != primary.name)

    wait_until(settled, "standbys that stream", 15)
    rows = members(cluster)
    assert set(rows) == {node.name for node in cluster.nodes}
    assert [name for name, row in rows.items() if row["Role"] == "Leader"] == [primary.name]

    def protected() -> bool:
        table = ctl(cluster, "list")
        return f"{primary.name} guard armed, " in table and ", permit " in table

    wait_until(protected, "the guard and the permit to be listed", 15)
    assert ctl(cluster, "topology").count("| + ") == len(cluster.nodes) - 1


def test_switchover_with_its_phases(cluster: Cluster) -> None:
    old, new = cluster.primary(), cluster.standbys()[0]
    said = ctl(cluster, "switchover", "--leader", old.name, "--candidate", new.name, "--force")
    assert f'Successfully switched over to "{new.name}" in ' in said
    for phase in (
        "requested",
        f"leader key taken by {new.name}",
        f"{new.name} accepts writes",
        f"{old.name} streams from",
    ):
        assert phase in said, said
    assert cluster.primary() is new

    def told() -> bool:
        rows = json.loads(ctl(cluster, "history", "-f", "json"))
        return [row.get("New Leader") for row in rows[-1:]] == [new.name]

    wait_until(told, f"{new.name} in the history", 15)


def test_an_impossible_switchover_changes_nothing(cluster: Cluster) -> None:
    old = cluster.primary()
    said = ctl(cluster, "switchover", "--candidate", "nobody", "--force", expected=1)
    assert "nobody is no member" in said
    assert cluster.primary() is old


def test_nobody_takes_over_in_maintenance_mode_until_it_ends(cluster: Cluster) -> None:
    """Fault 89: the leader's host dies in maintenance mode: the list says so, and resume lets another take over."""
    old = cluster.primary()
    ctl(cluster, "pause", "--wait")
    old.power_off()
    try:
        wait_until(lambda: cluster.key("leader") is None, "the lease to run out", cluster.settings.ttl * 4)
        time.sleep(2 * cluster.settings.loop_wait)
        assert cluster.key("leader") is None
        said = ctl(cluster, "list")
        assert "Maintenance mode: on" in said
        assert "No member leads" in said
        ctl(cluster, "resume")
        assert cluster.primary_seen_by_clients(15, other_than=old) is not old
    finally:
        old.power_on()
    cluster.wait_whole()


def test_a_second_agent_of_a_running_name_ends_before_it_touches_anything(cluster: Cluster) -> None:
    """Fault 91."""
    assert cluster.network is not None
    standby, place = cluster.standbys()[0], cluster.home / "namesake"
    postmaster, term = standby.postmaster_pid(), cluster.key("leader")
    twin = make_node(cluster, cluster.client, standby.program)
    twin.place = replace(twin.place, name=standby.name, directory=place)
    twin.prepare()
    twin.start()
    cluster.extra.append(twin)
    wait_until(lambda: not twin.agent_runs, "the second agent to end", 30)
    assert twin.agent is not None
    assert twin.agent.reap(1) == 1
    assert f"CRITICAL: a member named {standby.name} of cluster trial is running already" in twin.log.read_text()
    assert not twin.place.data_dir.exists()
    cluster.wait_whole()
    after = cluster.key("leader")
    assert term is not None
    assert after is not None
    assert (standby.postmaster_pid(), after.create_revision) == (postmaster, term.create_revision)


def test_maintenance_mode_is_followed_by_all(cluster: Cluster) -> None:
    """And an agent that is stopped leaves PostgreSQL running for the next one: so agents are upgraded."""
    primary, before = cluster.primary(), cluster.primary().postmaster_pid()
    try:
        assert "management is paused" in ctl(cluster, "pause", "--wait")
        assert " Maintenance mode: on" in ctl(cluster, "list")
        assert all(node.status().get("pause") for node in cluster.nodes)
        assert primary.stop() == 0
        assert primary.postmaster_pid() == before
        primary.start()
        wait_until(lambda: primary.rest("GET", "/primary").status == 200, "the next agent to adopt it", 30)
    finally:
        assert "management is resumed" in ctl(cluster, "resume", "--wait")
    cluster.wait_whole()
    assert (cluster.primary(), primary.postmaster_pid()) == (primary, before)


def test_a_parameter_that_wants_a_restart(cluster: Cluster) -> None:
    scope, standbys = cluster.settings.scope, " ".join(sorted(node.name for node in cluster.standbys()))
    said = ctl(cluster, "edit-config", "-p", "max_connections=111", "--force")
    first, last = (said.index(f"haagent-ctl restart {scope} {names} ") for names in (standbys, cluster.primary().name))
    assert first < last
    wait_until(lambda: all("Pending restart" in row for row in members(cluster).values()), "pending restarts", 30)
    said = ctl(cluster, "restart", scope, "--pending", "--force")
    assert said.count("Success: restart for member") == len(cluster.nodes)
    cluster.wait_whole()
    assert [node.sql("SHOW max_connections")[0][0] for node in cluster.nodes] == ["111"] * len(cluster.nodes)
    wait_until(lambda: not any("Pending restart" in row for row in members(cluster).values()), "nothing pending", 30)


def test_a_standby_is_built_anew(cluster: Cluster) -> None:
    standby = cluster.standbys()[0]
    said = ctl(cluster, "reinit", cluster.settings.scope, standby.name, "--wait", "--force")
    assert f"Reinitialize is completed on: {standby.name}" in said
    cluster.wait_whole()
    refused = ctl(cluster, "reinit", cluster.settings.scope, cluster.primary().name, "--force", expected=1)
    assert "I am the leader, can not reinitialize" in refused


def test_sql_goes_to_the_member_that_is_meant(cluster: Cluster) -> None:
    primary, standby = cluster.primary(), cluster.standbys()[0]
    assert ctl(cluster, "dsn").strip() == f"host={primary.place.address} port=5432"
    where = "SELECT host(inet_server_addr()) AS place, pg_is_in_recovery() AS follows"
    assert ctl(cluster, "query", "-c", where).splitlines() == ["place\tfollows", f"{primary.place.address}\tFalse"]
    found = json.loads(ctl(cluster, "query", "-m", standby.name, "--format", "json", "-c", where))
    assert found == [{"place": standby.place.address, "follows": True}]
    assert "read-only transaction" in ctl(cluster, "query", "-r", "replica", "-c", "CREATE TABLE t ()", expected=1)


def test_what_the_plan_knows_of_parameters_is_what_the_server_says(cluster: Cluster) -> None:
    """Which of them need a restart."""
    known = dict(cluster.primary().sql("SELECT name, context FROM pg_settings"))
    assert {
        name for name, context in known.items() if context == "postmaster" and "." not in name
    } == NEEDS_RESTART & known.keys()


def test_the_doctor_finds_what_is_broken_and_nothing_else(cluster: Cluster) -> None:
    """A password file that others may read, and a port that is closed between two nodes."""
    cluster.wait_whole()
    primary, standby, third = cluster.primary(), *cluster.standbys()
    wait_until(lambda: not problems(cluster), "nothing wrong", 30)
    password_file = standby.place.directory / "pgpass"
    password_file.chmod(0o644)
    block = f"tcp dport {primary.place.rest_port} ip saddr {third.place.address} drop"
    rules = f"table inet doctor {{ chain closed {{ type filter hook input priority 0; {block}\n}}\n}}"
    broken = {("password-file", standby.name), ("rest-ports", third.name)}

    def found() -> bool:
        said = problems(cluster)
        return said >= broken and {check for check, _ in said} == {check for check, _ in broken}

    try:
        subprocess.run(primary.host.command(["nft", rules]), check=True)
        wait_until(found, "both problems and no other", 30)  # an agent's last report stands for 5 s
    finally:
        password_file.chmod(0o600)
        subprocess.run(primary.host.command(["nft", "delete table inet doctor"]), check=True)


def problems(cluster: Cluster) -> set[tuple[str, str]]:
    """Check and member of what the doctor calls a problem, as its exit code does."""
    done = run(cluster, "doctor", "-f", "json")
    assert done.stdout, done.stderr
    rows = json.loads(done.stdout)
    assert {row["Check"] for row in rows} >= {"etcd-quorum", "successor", "replication-logins", "deadlines"}
    found = {(row["Check"], row.get("Member", "")) for row in rows if row["Verdict"] == "problem"}
    assert done.returncode == (1 if found else 0)
    return found


def test_what_is_foreseen_names_a_standby_and_its_loss(cluster: Cluster) -> None:
    found = json.loads(ctl(cluster, "whatif", "-f", "json"))
    assert found["Leader"] == cluster.primary().name
    (taker,) = [one["Member"] for one in found["Candidates"] if one["Takes over"]]
    assert taker in {node.name for node in cluster.standbys()}
    host = next(one for one in found["Faults"] if one["Fault"] == "host")
    assert cluster.settings.ttl < host["Seconds"] < 3 * cluster.settings.ttl


def test_removed_while_it_runs(cluster: Cluster) -> None:
    """Fault 88: three typed texts remove the keys; the leader goes on and puts them back."""
    scope, primary = cluster.settings.scope, cluster.primary()
    postmaster, config = primary.postmaster_pid(), json.loads(ctl(cluster, "show-config", "-f", "json"))
    assert "Nothing was removed" in ctl(cluster, "remove", scope, expected=1, typed=f"{scope}\nyes\n")
    said = ctl(cluster, "remove", scope, typed=f"{scope}\nYes I am aware\n{primary.name}\n")
    assert f"keys of cluster {scope} were removed" in said
    cluster.wait_whole()
    wait_until(lambda: cluster.key("config"), "the configuration to be put back", 15)
    assert cluster.primary() is primary
    assert primary.postmaster_pid() == postmaster
    assert json.loads(ctl(cluster, "show-config", "-f", "json")) == config
