"""A standby cluster: led, failed over and switched over without a promotion; it stands alone, and follows again."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.sim.scenarios.scene import Scene, play
from tests.sim.world.events import Acked, Writable
from tests.sim.world.knobs import Knobs

FOLLOWING = Knobs(elsewhere=True)


def follow(s: Scene, *, far: bool) -> None:
    """What demote-cluster and promote-cluster write."""
    s.world.operators.patch(s.standbys[0], {"standby_cluster": {"host": "far"} if far else None})


async def until_all_have(s: Scene, within: float = 30.0) -> None:
    """Wait until every node holds what the far primary has written by now."""
    goal = s.world.far.data.end
    await s.until(lambda: all(host.data.end >= goal for host in s.world.hosts.values()), within, f"all have {goal}")


def never_writable(s: Scene) -> bool:
    return not any(isinstance(event, Writable | Acked) for event in s.events)


def test_a_standby_cluster_follows_whatever_happens_to_its_leader() -> None:
    async def script(s: Scene) -> None:
        await until_all_have(s)
        first = s.leader
        s.do("power off", first, 60)
        await s.until(lambda: s.leader not in ("", first), 3 * s.world.knobs.ttl)
        await s.wait(70)
        await s.until_whole(120)
        await until_all_have(s)
        wanted = s.standbys[0]
        s.do("switchover", s.leader, other=wanted)
        await s.until(lambda: s.leader == wanted, 10)
        await s.until_whole()
        s.do("freeze host", s.leader, 40)
        await s.wait(60)
        await s.until_whole(120)
        s.do("etcd down", "etcd", 60)
        await s.wait(80)
        await s.until_whole(120)
        await until_all_have(s)

    assert never_writable(play(script, FOLLOWING))


def test_while_the_far_primary_is_away_nobody_is_promoted() -> None:
    """Fault 80."""

    async def script(s: Scene) -> None:
        far, leader = s.world.far, s.leader
        assert far.server is not None
        far.server.end("its host is gone")
        await s.wait(1800)
        assert s.leader == leader
        far.run(primary=True)
        await s.until_whole(120)
        await until_all_have(s)

    assert never_writable(play(script, FOLLOWING))


def test_it_stands_alone_on_order_and_only_then() -> None:
    async def script(s: Scene) -> None:
        leader, began = s.leader, s.now
        follow(s, far=False)
        await s.until(lambda: bool(s.acked_since(began)), 20)
        assert s.promotions_since(began) == [leader]
        await s.until_whole()
        assert s.host(leader).data.timeline == 2

    play(script, FOLLOWING)


@pytest.mark.parametrize("mode", ["off", "on", "quorum"])
@pytest.mark.parametrize("trouble", ["", "power off", "freeze host"])
def test_the_sides_are_changed_and_changed_back_without_loss(mode: str, trouble: str) -> None:
    """The primary may die or stand still just when its cluster is to follow; nobody else writes meanwhile."""

    async def script(s: Scene) -> None:
        far, old = s.world.far, s.leader
        far.follow(old)
        await s.wait(20)
        follow(s, far=True)
        began = s.now
        if trouble:
            await s.wait(0.1)
            s.do(trouble, old, 40)
        await s.until(lambda: not s.writes(old), 60)
        await s.wait(2)
        far.promote()
        await s.until(lambda: s.whole(), 200, "the cluster follows")
        await until_all_have(s)
        assert s.promotions_since(began) == []
        follow(s, far=False)
        came_back = s.now
        await s.until(lambda: bool(s.acked_since(came_back)), 60)
        await s.until_whole(120)

    play(script, replace(Knobs(), synchronous_mode=mode))


def test_what_parted_meanwhile_is_rewound() -> None:
    async def script(s: Scene) -> None:
        s.world.far.follow(s.leader)
        await s.wait(20)
        s.world.far.promote()
        await s.wait(30)
        follow(s, far=True)
        await s.until(lambda: s.whole(), 200, "the cluster follows")
        await until_all_have(s)
        histories = [host.data.records for host in s.world.hosts.values()]
        assert all(s.world.far.holds(record.uid) for records in histories for record in records)

    play(script)
