"""A Patroni cluster becomes one of haagent under load, node by node, and goes back: docs/migrate-from-patroni.md.

Synchronous mode is on, so that no acknowledged row may be lost by anything that happens here.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest

from tests.chaos.postgres import own_postgres
from tests.compat.clients import Patronictl, place
from tests.real.cluster import Cluster, in_namespaces
from tests.real.node import Node
from tests.real.programs import AgentProgram, haagent, patroni
from tests.real.record import Record
from tests.real.settings import ClusterSettings
from tests.real.shared import note_logs
from tests.real.waiting import now, wait_until

CALM_S = 8.0
"""How long commits may wait while no leader changes: some looks around, when the synchronous standby goes."""
SWITCH_S = 12.0
"""How long nobody can write in a switchover; far below a ttl."""
SETTINGS = ClusterSettings(
    scope="moving", ttl=20, loop_wait=2, retry_timeout=5, dcs={"synchronous_mode": True, "maximum_lag_on_syncnode": -1}
)


@pytest.fixture
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """Three Patroni nodes, as somebody runs them today."""
    with in_namespaces(patroni(place() / "patroni"), SETTINGS) as found:
        bin_dir, _ = own_postgres(found.home, fence=True)
        for node in found.nodes:
            node.place = replace(node.place, bin_dir=bin_dir)
            node.sections = {"haagent": {"peer_timeout": 0.5}}  # what Patroni passes over
        found.start(120)
        note_logs(request.node, found)
        yield found


@dataclass(frozen=True)
class Move:
    """The steps of the manual, each of which ends with a whole cluster."""

    cluster: Cluster
    record: Record
    patronictl: Patronictl

    def stopped(self, node: Node, program: AgentProgram) -> None:
        """Stop the agent with its PostgreSQL, and start the other one."""
        began_at = now()
        node.stop()
        node.program = program
        node.start()
        self.cluster.wait_whole()
        self.was_calm(began_at, f"{node.name} went to {program.name}")

    def in_maintenance(self, node: Node, program: AgentProgram) -> None:
        """The same in maintenance mode, in which PostgreSQL goes on meanwhile."""
        began_at, postmaster = now(), node.postmaster_pid()
        self.patronictl("pause", "--wait")
        node.stop()
        node.program = program
        node.start()
        wait_until(lambda: node.status().get("pause") and node.status().get("state") == "running", "the new agent", 30)
        self.patronictl("resume", "--wait")
        self.cluster.wait_whole()
        assert node.postmaster_pid() == postmaster
        self.was_calm(began_at, f"{node.name} went to {program.name} in maintenance mode")

    def switchover(self, program: AgentProgram) -> None:
        """Make the synchronous standby, which has that agent, the leader."""
        old = self.cluster.primary()
        to = self.standbys()[1]
        assert to.program == program
        began_at = now()
        said = self.patronictl("switchover", "--leader", old.name, "--candidate", to.name, "--force")
        assert f'Successfully switched over to "{to.name}"' in said
        try:
            self.cluster.wait_acknowledged(self.record, now(), 20, "multihost")
        except AssertionError as error:
            raise AssertionError(f"{error}; {self.who_is_waited_for(to)}") from error
        outage = self.cluster.outage(self.record, "multihost", began_at)
        assert outage < SWITCH_S, f"from {old.name} ({old.program.name}) to {to.name}: {outage:.1f} s"
        self.cluster.wait_whole()

    def who_is_waited_for(self, leader: Node) -> str:
        """Whose confirmation commits wait for, and who streams."""
        named = leader.sql("SELECT current_setting('synchronous_standby_names')")[0][0]
        streams = leader.sql("SELECT application_name, state, sync_state, sent_lsn, flush_lsn FROM pg_stat_replication")
        waiting = leader.sql("SELECT wait_event, backend_type FROM pg_stat_activity WHERE wait_event = 'SyncRep'")
        key = self.cluster.key("sync")
        return f"names {named!r}, sync key {key.value if key else None}, senders {streams}, waiting {waiting}"

    def was_calm(self, since: float, what: str) -> None:
        """Nobody had to wait with a write for longer than it takes to notice that a standby is gone."""
        outage = self.cluster.outage(self.record, "multihost", since)
        assert outage < CALM_S, f"{what}: nobody could write for {outage:.1f} s"

    def standbys(self) -> tuple[Node, Node]:
        """The asynchronous one, which is to go first, and the synchronous one."""
        standbys = self.cluster.standbys()

        def synchronous() -> Node | None:
            key = self.cluster.key("sync")
            name = json.loads(key.value).get("sync_standby") if key else None
            return next((node for node in standbys if node.name == name), None)

        chosen = wait_until(synchronous, "a synchronous standby", 30)
        (free,) = [node for node in standbys if node is not chosen]
        return free, chosen


def _validated(node: Node) -> None:
    """What an operator asks before the first step."""
    argv = [haagent().argv[0], "--validate-config", str(node.config_file)]
    done = subprocess.run(argv, env={"LANG": "C.UTF-8"}, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_there_and_back_again_under_load(cluster: Cluster) -> None:
    """Replicas first, a switchover, the last node; then the same back to Patroni."""
    theirs, ours = patroni(place() / "patroni"), haagent()
    with cluster.writing("multihost", "direct") as record:
        move = Move(cluster, record, Patronictl(cluster))
        for node in cluster.nodes:
            _validated(node)
        first = cluster.primary()
        free, synchronous = move.standbys()
        move.stopped(free, ours)
        refused = free.rest("PATCH", "/config", {"ttl": 10}, timeout_s=10)
        assert refused.status == 400
        assert f"{first.name} (Patroni 4." in refused.text
        move.in_maintenance(synchronous, ours)
        move.switchover(ours)
        move.stopped(first, ours)
        assert all("haagent" in node.status() for node in cluster.nodes)
        assert synchronous.status()["pending_restart_reason"].keys() == {"shared_preload_libraries"}

        first = cluster.primary()
        for node in move.standbys():
            move.stopped(node, theirs)
        move.switchover(theirs)
        move.stopped(first, theirs)
        assert not any("haagent" in node.status() for node in cluster.nodes)
        assert [node.sql("SHOW shared_preload_libraries") for node in cluster.nodes] == [[("",)]] * 3
    missing = {attempt.number for attempt in record.acknowledged()} - cluster.rows()
    assert not missing, f"acknowledged, and lost on the way: {sorted(missing)[:10]}"
