"""What a node promises, keeps on its disk, and does not cross with a campaign of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from haagent.agent.promises import Promises
from haagent.core.facts import FailsafeFacts, View
from haagent.core.terms import Instant, later
from haagent.ports import Refused
from tests.builders import NOW, a_silent_dcs, a_view, some_settings

ON = some_settings(failsafe_mode=True)
BODY = {"name": "a", "conn_url": "postgres://10.0.0.1:5432/postgres", "api_url": "http://10.0.0.1:8008/patroni"}


@dataclass
class Clock:
    at: float = float(NOW)

    def now(self) -> Instant:
        return Instant(self.at)

    def wall(self) -> float:
        return 0.0


@dataclass
class Disk:
    kept: dict[str, Any] = field(default_factory=dict)
    broken: bool = False
    saves: int = 0

    def load(self) -> Mapping[str, Any]:
        return dict(self.kept)

    async def keep(self, **values: object) -> bool:
        self.saves += 1
        if not self.broken:
            self.kept = {name: value for name, value in {**self.kept, **values}.items() if value is not None}
        return not self.broken


def view(promises: Promises, clock: Clock) -> View:
    facts = FailsafeFacts(promise=promises.facts())
    return a_view(now=clock.now(), settings=ON, cluster=a_silent_dcs(), failsafe=facts)


async def test_a_promise_is_on_the_disk_before_it_is_given_and_gone_when_it_is_over() -> None:
    clock, disk = Clock(), Disk({"term": 7})
    promises = Promises(disk, clock, ON)
    assert promises.facts() is None
    assert (await promises.answer(view(promises, clock), BODY)).status == 200
    assert disk.kept == {"term": 7, "promised_s": 10.1}
    for _ in range(5):
        clock.at += 3
        assert (await promises.answer(view(promises, clock), BODY)).status == 200
        await promises.tidy()
    assert disk.saves == 1
    given = promises.facts()
    assert given is not None
    assert given.until == later(clock.now(), 10.1)
    clock.at += 10.2
    assert promises.facts() is None
    await promises.tidy()
    assert disk.kept == {"term": 7}


async def test_a_restarted_agent_is_bound_for_the_full_length_and_no_longer() -> None:
    clock, disk = Clock(), Disk({"promised_s": 10.1})
    promises = Promises(disk, clock, some_settings())
    with pytest.raises(Refused, match=r"for 10\.1 s more"), promises.campaign():
        pass
    await promises.tidy()
    assert disk.kept == {"promised_s": 10.1}
    clock.at += 10.2
    await promises.tidy()
    assert disk.kept == {}
    with promises.campaign():
        pass


async def test_what_cannot_be_kept_is_not_promised() -> None:
    clock, disk = Clock(), Disk(broken=True)
    promises = Promises(disk, clock, ON)
    assert (await promises.answer(view(promises, clock), BODY)).status == 503
    disk.broken = False
    assert (await promises.answer(view(promises, clock), BODY)).status == 200
    assert disk.kept == {"promised_s": 10.1}


async def test_a_longer_promise_is_kept_as_such() -> None:
    clock, disk = Clock(), Disk()
    promises = Promises(disk, clock, ON)
    assert (await promises.answer(view(promises, clock), BODY)).status == 200
    assert (await promises.answer(view(promises, clock), {**BODY, "haagent": {"ttl": 30}})).status == 200
    assert disk.kept == {"promised_s": 30.3}


async def test_promise_and_campaign_never_cross() -> None:
    clock, disk = Clock(), Disk()
    promises = Promises(disk, clock, ON)
    with promises.campaign():
        assert (await promises.answer(view(promises, clock), BODY)).status == 503
    assert (await promises.answer(view(promises, clock), BODY)).status == 200
    with pytest.raises(Refused, match="promised to a"), promises.campaign():
        pass
