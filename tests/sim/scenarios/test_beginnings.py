"""Nodes without data: a bootstrap with troubles, a directory that is not there, a copy made of a backup."""

from __future__ import annotations

from dataclasses import replace

from haagent.core.facts import DataKind
from tests.sim.scenarios.scene import Scene, play
from tests.sim.world.events import Writable
from tests.sim.world.knobs import Knobs

SLOW = replace(Knobs(), speed=replace(Knobs().speed, initdb=5.0))


def start_agents(s: Scene, *names: str) -> None:
    for name in names or tuple(s.world.hosts):
        s.host(name).start_agent()


async def until_initdb_runs(s: Scene) -> str:
    """Who makes the cluster."""

    def at_it() -> list[str]:
        return [name for name, host in s.world.hosts.items() if host.data.marker == "initializing"]

    await s.until(lambda: bool(at_it()), 30, "initdb runs")
    return at_it()[0]


def systems(s: Scene) -> set[object]:
    return {host.data.system_id for host in s.world.hosts.values()}


def test_a_bootstrap_whose_agent_is_killed_is_undone_and_made_again() -> None:
    """Fault 1, in a cluster that does not exist yet: half an initdb is moved aside, and there is one cluster."""

    async def script(s: Scene) -> None:
        start_agents(s)
        first = await until_initdb_runs(s)
        s.do("kill agent", first, 0.5)
        await s.until_whole()
        assert [data.marker for data in s.host(first).aside] == ["initializing"]
        assert len(systems(s)) == 1

    play(script, SLOW, from_nothing=True)


def test_a_bootstrap_whose_machine_is_lost_is_made_by_another_node() -> None:
    """Fault 14, in a cluster that does not exist yet: the claim is released; who claimed it comes back and follows."""

    async def script(s: Scene) -> None:
        start_agents(s)
        first = await until_initdb_runs(s)
        s.do("power off", first, 120)
        await s.until(lambda: bool(s.acked_since(0.0)), 60, "another node makes the cluster")
        assert s.leader not in ("", first)
        await s.wait(90)
        await s.until_whole()
        assert len(systems(s)) == 1
        assert len([event for event in s.events if isinstance(event, Writable)]) == 1

    play(script, SLOW, from_nothing=True)


def test_nothing_is_built_where_a_file_system_is_missing_nor_over_what_cannot_be_read() -> None:
    """Faults 51 and 52: a new copy waits for its file system; what lies on it then is the operator's."""

    async def script(s: Scene) -> None:
        victim, leader, began = s.standbys[0], s.leader, s.now
        host = s.host(victim)
        found = host.data
        s.do("copies fail", victim, 12)
        s.do("reinitialize", victim)
        await s.until(lambda: "vacant" in s.states_since(began, victim), 20)
        await s.until(lambda: host.data.kind is DataKind.ABSENT, 10)
        host.disk.unmount(known=True)
        await s.wait(20)
        assert (host.data.kind, host.server) == (DataKind.UNMOUNTED, None)
        assert s.states_since(began, victim)[-1] == "vacant"
        host.aside.remove(found)
        host.data, found.kind = found, DataKind.UNREADABLE  # the operator mounts what turns out to be damaged
        await s.until(lambda: s.states_since(began, victim)[-1] == "failed", 10)
        assert host.data is found, "it is left as it is"
        s.do("reinitialize", victim)
        await s.until_whole()
        assert (s.leader, s.leaders_since(began)) == (leader, [])

    play(script)


def test_a_node_is_restored_from_a_backup_while_nobody_leads_and_does_not_lead() -> None:
    """Fault 15: the leader and its synchronous standby are off, and what is acknowledged is not in the backup."""

    async def script(s: Scene) -> None:
        server = s.host(s.leader).server
        assert server is not None
        wanted = server.sync_wanted()
        assert wanted is not None
        (third,) = {*s.world.hosts} - {s.leader, *wanted[2]}
        s.world.make_backup(s.leader)
        await s.wait(20)
        began = s.now
        for name in (s.leader, *wanted[2]):
            s.do("power off", name, 90)
        s.host(third).disk.remove()  # the operator gives it a new disk
        s.host(third).kill_tree(0.1, "its disk is gone")
        await s.until(lambda: s.states_since(began, third)[-1:] == ["standby"], 60, "it is made from the backup")
        await s.wait(30)
        assert (s.leader, s.promotions_since(began)) == ("", [])
        await s.wait(60)
        await s.until_whole()
        assert s.leader != third

    play(script, Knobs(synchronous_mode="on", backups=True))
