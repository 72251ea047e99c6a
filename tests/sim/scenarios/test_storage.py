"""Faults of disks: full, read-only, hanging, gone."""

from __future__ import annotations

from haagent.core.facts import DataKind
from tests.sim.scenarios.scene import Scene, becomes, play
from tests.sim.world.events import Readonly, Writable
from tests.sim.world.knobs import Knobs


def test_a_full_disk_on_the_primary_hands_over_and_does_not_loop() -> None:
    """Fault 46: a few starts in place, then another node leads."""

    async def script(s: Scene) -> None:
        old, began = s.leader, s.now
        s.do("disk full", old, 60)
        await s.until(lambda: s.leader not in ("", old) and bool(s.acked_since(s.now - 1)), 30)
        assert len([e for e in s.since(began, Writable) if e.where == old]) <= 3
        await s.wait(60)
        await s.until_whole()

    play(script)


def test_a_full_disk_on_a_standby_leaves_the_primary_alone() -> None:
    """Fault 47: in a synchronous mode commits go on without it."""

    async def script(s: Scene) -> None:
        leader, began = s.leader, s.now
        s.do("disk full", s.standbys[0], 60)
        await s.wait(20)
        await s.until(lambda: s.acked_since(s.now - 2) == [leader], 10)
        await s.wait(60)
        await s.until_whole()
        assert s.leaders_since(began) == []

    play(script)
    play(script, Knobs(synchronous_mode="on", synchronous_node_count=2))


def test_a_read_only_disk_on_the_primary_hands_over() -> None:
    """Fault 48."""

    async def script(s: Scene) -> None:
        old = s.leader
        s.do("disk read-only", old, 60)
        await s.until(lambda: s.leader not in ("", old) and bool(s.acked_since(s.now - 1)), 30)
        await s.wait(60)
        await s.until_whole()

    play(script)


def test_a_read_only_disk_under_an_idle_primary_costs_it_the_lead_all_the_same() -> None:
    """Fault 48: nobody commits, so that PostgreSQL has not noticed yet; a stop in good order would have to write."""

    async def script(s: Scene) -> None:
        old, began = s.leader, s.now
        s.do("disk read-only", old, 60)
        await s.until(lambda: s.leader not in ("", old), 15)
        assert [event.how for event in s.since(began, Readonly)] == ["immediate stop"]
        await s.wait(60)
        await s.until_whole()

    play(script, Knobs(commit_every=1e6, rogue_every=1e6))


def test_a_data_directory_unmounted_under_the_primary_is_never_initialized() -> None:
    """Fault 51: the cluster fails over, and what comes into the empty place is a copy of it."""

    async def script(s: Scene) -> None:
        old, before = s.leader, s.host(s.leader).data.system_id
        s.do("data unmounted", old, 90)
        await s.until(lambda: s.leader not in ("", old) and bool(s.acked_since(s.now - 1)), 90)
        await s.wait(60)
        await s.until_whole()
        assert {host.data.system_id for host in s.world.hosts.values()} == {before}

    play(script)


def test_a_control_file_that_cannot_be_read_hands_over_and_is_left_to_the_operator() -> None:
    """Fault 52."""

    async def script(s: Scene) -> None:
        old, began = s.leader, s.now
        s.do("control file unreadable", old, 100)
        await s.until(lambda: s.leader not in ("", old) and bool(s.acked_since(s.now - 1)), 30)
        await s.wait(20)
        assert s.host(old).data.kind is DataKind.UNREADABLE
        assert s.states_since(began, old)[-1] == "failed"
        s.do("reinitialize", old)
        await s.until_whole()

    play(script)


def test_a_disk_that_hangs_under_the_primary_costs_it_the_lead() -> None:
    """Fault 49: the lease goes on, PostgreSQL does not answer, and another node leads once this one is ended."""

    async def script(s: Scene) -> None:
        old = s.leader
        s.do("disk hangs", old, 40)
        await s.until(lambda: s.leader not in ("", old) and bool(s.acked_since(s.now - 1)), 35)
        await s.wait(40)
        await s.until_whole()

    play(script)


def test_a_copy_that_finds_no_space_is_begun_again_and_hurts_nobody() -> None:
    """Fault 53."""

    async def script(s: Scene) -> None:
        leader, victim, began = s.leader, s.standbys[0], s.now
        s.do("copies fail", victim, 20)
        s.do("reinitialize", victim)
        await s.wait(20)
        assert s.host(victim).data.kind is not DataKind.VALID
        assert (s.leader, s.leaders_since(began)) == (leader, [])
        await s.until_whole(60)

    play(script)


async def fall_behind(s: Scene, seconds: float) -> str:
    """A standby misses WAL that its leader has recycled meanwhile."""
    victim = s.standbys[0]
    s.do("power off", victim, seconds)
    await s.wait(seconds - 1)
    s.do("WAL recycled", s.leader)
    await s.wait(3)
    return victim


def test_a_standby_whose_wal_is_gone_is_cloned_anew() -> None:
    """Fault 73: nobody has to notice, and the copy that it had is moved aside, not removed."""

    async def script(s: Scene) -> None:
        leader, began = s.leader, s.now
        victim = await fall_behind(s, 30)
        await s.until_whole(60)
        assert (s.leader, s.leaders_since(began)) == (leader, [])
        assert len(s.host(victim).aside) == 1

    play(script)


def test_a_standby_whose_wal_is_gone_keeps_its_copy_when_the_leader_dies_before_another_is_made() -> None:
    """It may lack acknowledged commits and does not lead, but it is all that is left."""

    async def script(s: Scene) -> None:
        leader, began = s.leader, s.now
        victim = await fall_behind(s, 30)
        s.do("stops hang", victim, 40)
        s.when(becomes(victim, "demoting"), "power off", leader, 60)
        await s.until(lambda: not s.host(leader).up, 30)
        await s.wait(50)
        assert s.host(victim).aside == []
        assert (s.leader, s.promotions_since(began)) == ("", [])
        await s.until_whole(120)
        assert s.leader == leader

    play(script, Knobs(nodes=("a", "b"), synchronous_mode="on"))
