"""The virtual loop keeps asyncio's promises, jumps over idle time, and does the same for the same seed."""

from __future__ import annotations

import asyncio

import pytest

from tests.sim.world.time import Clock, Process, StuckError, VirtualLoop, simulated


def _race(seed: int) -> list[str]:
    log: list[str] = []
    with simulated(seed) as loop:
        processes = [Process(loop, name) for name in "abc"]

        async def work(name: str) -> None:
            for step in range(4):
                log.append(f"{name}{step}")
                await asyncio.sleep(0)

        async def main() -> None:
            await asyncio.gather(*(p.spawn(work(p.name)) for p in processes))

        loop.run_until_complete(main())
    return log


def test_a_seed_fixes_the_order_and_another_seed_gives_another() -> None:
    assert _race(1) == _race(1)
    assert len({tuple(_race(seed)) for seed in range(8)}) > 4


def test_callbacks_of_one_process_keep_their_order() -> None:
    for seed in range(8):
        log = _race(seed)
        for name in "abc":
            assert [entry for entry in log if entry.startswith(name)] == [f"{name}{step}" for step in range(4)]


def test_an_hour_passes_at_once_and_timers_fire_in_order() -> None:
    fired: list[tuple[float, int]] = []
    with simulated(1) as loop:

        def note(number: int) -> None:
            fired.append((loop.true_time, number))

        async def main() -> None:
            for number, delay in enumerate((3600.0, 10.0, 0.5)):
                loop.call_later(delay, note, number)
            await asyncio.sleep(4000)

        loop.run_until_complete(main())
        assert loop.true_time == 4000
    assert fired == [(0.5, 2), (10.0, 1), (3600.0, 0)]


def test_a_process_waits_by_its_own_clock() -> None:
    with simulated(1) as loop:
        fast = Process(loop, "fast", Clock(loop, offset=100.0, rate=1.25))
        ended: list[float] = []

        async def nap() -> None:
            async with asyncio.timeout(20):
                await asyncio.sleep(10)
            ended.append(loop.true_time)

        loop.run_until_complete(fast.spawn(nap()))
        assert ended == [8.0]
        assert fast.clock is not None
        assert fast.clock.now() == 110.0
        assert fast.clock.true(fast.clock.now()) == 8.0


@pytest.mark.parametrize("rate", [1.0, 1.25])
def test_in_a_suspend_asyncios_timers_stand_still_and_the_boot_clock_goes_on(rate: float) -> None:
    """Fault 57, as CLOCK_MONOTONIC and CLOCK_BOOTTIME do; what waits for the latter is due at the wake-up."""
    with simulated(1) as loop:
        clock = Clock(loop, offset=100.0, rate=rate)
        sleeper, other = Process(loop, "sleeper", clock), Process(loop, "other", Clock(loop))
        ended: dict[str, float] = {}

        async def nap(name: str, seconds: float) -> None:
            began = loop.time()
            await asyncio.sleep(seconds)
            assert loop.time() - began == pytest.approx(seconds)
            ended[name] = loop.true_time

        async def main() -> None:
            naps = [sleeper.spawn(nap("due within", 3 * rate)), sleeper.spawn(nap("due later", 20 * rate))]
            naps.append(other.spawn(nap("elsewhere", 4)))
            sleeper.after(5, ended.__setitem__, "by the boot clock", 0.0)
            await asyncio.sleep(1)
            sleeper.freeze()
            await asyncio.sleep(10)
            assert list(ended) == ["elsewhere"]
            loop.resumed(clock, [sleeper], 10)
            sleeper.thaw()
            await asyncio.sleep(0.1)
            assert list(ended) == ["elsewhere", "by the boot clock"]
            assert clock.now() == pytest.approx(100 + rate * 11.1)
            naps.append(sleeper.spawn(nap("begun afterwards", rate)))
            await asyncio.gather(*naps)

        loop.run_until_complete(main())
    expected = {"elsewhere": 4, "by the boot clock": 0, "due within": 13, "due later": 30, "begun afterwards": 12.1}
    assert ended == pytest.approx(expected)


def test_a_frozen_process_gets_no_time_and_catches_up_when_it_thaws() -> None:
    with simulated(1) as loop:
        process = Process(loop, "p")
        seen: list[float] = []

        async def beat() -> None:
            while True:
                await asyncio.sleep(1)
                seen.append(loop.true_time)

        async def main() -> None:
            process.spawn(beat())
            await asyncio.sleep(2.5)
            process.freeze()
            await asyncio.sleep(5)
            process.thaw()
            await asyncio.sleep(1.2)

        loop.run_until_complete(main())
    assert seen == [1.0, 2.0, 7.5, 8.5]


def test_a_killed_process_runs_not_even_its_finally_clauses() -> None:
    with simulated(1) as loop:
        process = Process(loop, "p")
        said: list[str] = []

        async def work() -> None:
            try:
                await asyncio.sleep(10)
            finally:
                said.append("cleaned up")

        async def main() -> None:
            process.spawn(work())
            await asyncio.sleep(1)
            process.kill()
            await asyncio.sleep(20)
            assert said == []

        loop.run_until_complete(main())


def test_a_world_that_spins_or_is_dead_says_so() -> None:
    async def spin() -> None:
        while True:
            await asyncio.sleep(0)

    async def wait_for_nothing(loop: VirtualLoop) -> None:
        await loop.create_future()

    with simulated(1) as loop, pytest.raises(StuckError, match="spins"):
        loop.run_until_complete(spin())
    with simulated(1) as loop, pytest.raises(StuckError, match="nothing will ever happen"):
        loop.run_until_complete(wait_for_nothing(loop))
