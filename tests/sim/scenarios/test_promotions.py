"""What befalls a node between the leader key and a writable PostgreSQL."""

from __future__ import annotations

from tests.sim.scenarios.scene import Scene, play
from tests.sim.world.events import Fenced


async def hanging_promotion(s: Scene, away: float = 100.0) -> str:
    """The leader's host dies, and the promotion of whoever comes after it hangs."""
    old, began = s.leader, s.now
    for name in s.standbys:
        s.do("promotions hang", name, 40)
    s.do("power off", old, away)
    await s.until(lambda: any("promoting" in s.states_since(began, name) for name in s.world.hosts), 20)
    await s.wait(1)
    return s.leader


def test_an_agent_frozen_during_a_promotion_wakes_up_to_a_lost_lease() -> None:
    """Fault 3: the guard has ended PostgreSQL, and another node leads."""

    async def script(s: Scene) -> None:
        began = s.now
        frozen = await hanging_promotion(s)
        s.do("freeze agent", frozen, 14)
        await s.until(lambda: s.leader not in ("", frozen), 20)
        assert [event.where for event in s.since(began, Fenced)] == [frozen]
        await s.until(lambda: s.promotions_since(began) == [s.leader], 40)
        assert s.leader != frozen
        await s.wait(60)
        await s.until_whole()

    play(script)


def test_a_node_that_its_guard_fenced_during_a_promotion_gives_the_key_up() -> None:
    """Faults 3 and 49: its agent wakes up while etcd's lease still runs, renews it, and then hears of the guard."""

    async def script(s: Scene) -> None:
        began = s.now
        fenced = await hanging_promotion(s)
        s.do("disk hangs", fenced, 15)
        s.do("freeze agent", fenced, 8.8)
        await s.until(lambda: bool(s.since(began, Fenced)), 10)
        assert s.leader == fenced
        await s.until(lambda: s.leader not in ("", fenced), 10)
        await s.until(lambda: s.promotions_since(began) == [s.leader], 40)
        assert s.leader != fenced
        await s.wait(60)
        await s.until_whole()

    play(script)


def test_a_promotion_for_which_no_guard_can_be_had_is_broken_off() -> None:
    async def script(s: Scene) -> None:
        began = s.now
        unguarded = await hanging_promotion(s)
        s.do("no guard starts", unguarded, 40)
        s.do("kill guard", unguarded)
        await s.until(lambda: s.leader not in ("", unguarded), 20)
        assert s.promotions_since(began) == []
        await s.until(lambda: s.promotions_since(began) == [s.leader], 40)
        assert s.leader != unguarded
        await s.wait(60)
        await s.until_whole()

    play(script)
