"""What befalls a node between the leader key and a writable PostgreSQL."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from haagent.core.terms import Lsn
from tests.sim.scenarios.scene import Scene, play
from tests.sim.world.events import Fenced, Routed, Writable
from tests.sim.world.knobs import Knobs

MB = 2**20
REPLAYS_WHEN_TOLD = replace(Knobs(), speed=replace(Knobs().speed, replay=1e9))


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


def _says(s: Scene, name: str, text: str) -> bool:
    agent = s.host(name).agent
    return agent is not None and text in agent.current().memory.why


def test_a_promotion_that_replays_for_long_says_how_much_is_left_and_gets_no_client_before_its_end() -> None:
    """Fault 61: all that was received is replayed first; the key stays, and only who is writable answers /primary."""

    async def script(s: Scene) -> None:
        old, began = s.leader, s.now
        source = s.host(old).server
        assert source is not None
        source.append(size=400 * MB)
        await s.wait(3)
        for name in s.standbys:
            s.do("promotions hang", name, 60)
        s.do("power off", old, 200)
        await s.until(lambda: any("promoting" in s.states_since(began, name) for name in s.world.hosts), 20)
        late, off_at = s.leader, s.now
        server = s.host(late).server
        assert server is not None
        for left_mb, told in ((390, "more than 384 MB"), (260, "more than 256 MB"), (130, "more than 128 MB")):
            server.replayed = Lsn(server.data.end - left_mb * MB)
            await s.until(partial(_says, s, late, f"{told} of WAL are left to replay"), 5, told)
            await s.wait(10)
        assert [event for event in s.since(off_at, Routed) if event.nodes] == []
        await s.until(lambda: s.promotions_since(began) == [late], 60)
        await s.until(lambda: any(late in event.nodes for event in s.since(began, Routed)), 5)
        [writable] = s.since(began, Writable)
        assert min(event.at for event in s.since(began, Routed) if event.nodes) >= writable.at > off_at + 30
        assert s.leaders_since(began) == [late]

    play(script, REPLAYS_WHEN_TOLD)
