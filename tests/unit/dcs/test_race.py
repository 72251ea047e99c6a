"""Asking several endpoints: silent, failing, doubtful and slow ones."""

from __future__ import annotations

import asyncio

import pytest

from haagent.dcs.kv import Denied
from haagent.dcs.race import ROUNDS, Try, Won, race
from haagent.ports import PortError, Refused, Unknown, Unreachable


class Places:
    """Endpoints by what they do: ``ok``, ``slow`` (0.12 s), ``silent``, ``refuse``, ``cut`` (fails after sending)."""

    def __init__(self, *behaviour: str) -> None:
        self.behaviour = behaviour
        self.asked: list[int] = []

    async def ask(self, one: Try) -> str:
        place = one.number % len(self.behaviour)
        one.place = f"place {place}"
        self.asked.append(place)
        match self.behaviour[place]:
            case "refuse":
                raise Unreachable(f"place {place}: connection refused")
            case "deny":
                raise Denied(f"place {place}: no")
            case "unsent":
                await asyncio.sleep(60)
        one.sent = True
        match self.behaviour[place]:
            case "cut":
                raise Unknown(f"place {place}: connection lost")
            case "dead":
                raise Refused("the lease is dead")
            case "slow":
                await asyncio.sleep(0.12)
            case "silent":
                await asyncio.sleep(60)
        return f"from {place}"

    async def run(self, timeout: float = 0.4, pace: float = 0.05) -> Won[str]:
        return await race(self.ask, len(self.behaviour), pace, timeout, "the write")


async def test_one_good_answer_is_all_that_is_asked_for() -> None:
    places = Places("ok", "ok")
    assert await places.run() == Won("from 0", 0, repeated=False)
    assert places.asked == [0]


async def test_a_refused_connection_costs_nothing() -> None:
    assert await Places("refuse", "refuse", "ok").run(timeout=5, pace=10) == Won("from 2", 2, repeated=False)


async def test_a_silent_endpoint_costs_the_pace_and_leaves_a_doubt() -> None:
    begun_at = asyncio.get_running_loop().time()
    assert await Places("silent", "ok").run(timeout=5) == Won("from 1", 1, repeated=True)
    assert 0.05 <= asyncio.get_running_loop().time() - begun_at < 2


async def test_what_never_left_leaves_no_doubt() -> None:
    assert await Places("unsent", "ok").run() == Won("from 1", 1, repeated=False)


async def test_a_connection_lost_after_sending_leaves_a_doubt() -> None:
    assert await Places("cut", "ok").run() == Won("from 1", 1, repeated=True)


async def test_a_slow_answer_still_counts() -> None:
    assert await Places("slow", "silent").run() == Won("from 0", 0, repeated=True)


@pytest.mark.parametrize("others", [("silent",), ("cut", "silent"), ("refuse",)])
async def test_a_definite_no_is_the_answer(others: tuple[str, ...]) -> None:
    with pytest.raises(Refused, match="dead"):
        await Places(*others, "dead").run()


@pytest.mark.parametrize(
    ("behaviour", "kind", "text"),
    [
        (("refuse", "refuse"), Unreachable, "place 0: connection refused; place 1: connection refused"),
        (("unsent",), Unreachable, "no answer from place 0"),
        (("refuse", "silent"), Unknown, "no answer from place 1; place 0: connection refused"),
        (("cut", "refuse"), Unknown, "place 0: connection lost"),
    ],
)
async def test_when_nobody_answers_the_failure_is_as_sure_as_can_be(
    behaviour: tuple[str, ...], kind: type[PortError], text: str
) -> None:
    begun_at = asyncio.get_running_loop().time()
    places = Places(*behaviour)
    with pytest.raises(kind, match=rf"the write got nowhere in \d\.\d\d s: {text}"):
        await places.run()
    assert asyncio.get_running_loop().time() - begun_at < 3
    assert len(places.asked) <= ROUNDS * len(behaviour)


async def test_when_all_deny_none_is_asked_twice() -> None:
    begun_at = asyncio.get_running_loop().time()
    places = Places("deny", "deny")
    with pytest.raises(Unreachable, match="place 0: no; place 1: no"):
        await places.run(timeout=5, pace=10)
    assert places.asked == [0, 1]
    assert asyncio.get_running_loop().time() - begun_at < 4


async def test_one_that_denies_does_not_speak_for_all() -> None:
    assert (await Places("deny", "ok").run(pace=10)).answer == "from 1"


async def test_an_endpoint_that_comes_back_within_the_deadline_is_found() -> None:
    places = Places("refuse")
    asyncio.get_running_loop().call_later(0.12, setattr, places, "behaviour", ("ok",))
    assert (await places.run()).answer == "from 0"


async def test_giving_up_leaves_nobody_at_work() -> None:
    with pytest.raises(Unknown):
        await Places("silent").run(timeout=0.05)
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}
