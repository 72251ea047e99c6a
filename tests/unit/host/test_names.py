"""Names are looked up once, and from then on behind the caller's back."""

from __future__ import annotations

import asyncio
import socket
import threading

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from haagent.host import names
from haagent.host.names import RememberingResolver


def address(host: str) -> ResolveResult:
    return ResolveResult(hostname="etcd1", host=host, port=2379, family=socket.AF_INET, proto=0, flags=0)


class Dns(AbstractResolver):
    """A name server that may be broken or slow."""

    def __init__(self) -> None:
        self.answer = "10.0.0.1"
        self.broken = False
        self.delay_s = 0.0
        self.asked = 0

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        self.asked += 1
        await asyncio.sleep(self.delay_s)
        if self.broken:
            raise OSError("no name server answers")
        return [address(self.answer)]

    async def close(self) -> None:
        self.answer = ""


async def found(names: RememberingResolver) -> str:
    async with asyncio.timeout(0.1):
        return (await names.resolve("etcd1", 2379))[0]["host"]


@pytest.fixture
def stale_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "FRESH_S", -1.0)


async def test_a_known_name_is_not_looked_up_again() -> None:
    dns = Dns()
    names = RememberingResolver(dns)
    assert [await found(names), await found(names)] == ["10.0.0.1"] * 2
    assert dns.asked == 1


@pytest.mark.usefixtures("stale_at_once")
async def test_a_broken_resolver_is_not_noticed() -> None:
    dns = Dns()
    names = RememberingResolver(dns)
    await found(names)
    dns.broken = True
    assert await found(names) == "10.0.0.1"
    await asyncio.sleep(0.01)
    assert await found(names) == "10.0.0.1"


@pytest.mark.usefixtures("stale_at_once")
async def test_a_slow_resolver_is_not_waited_for_and_its_answer_taken_later() -> None:
    dns = Dns()
    names = RememberingResolver(dns)
    await found(names)
    dns.answer, dns.delay_s = "10.0.0.9", 0.15
    assert [await found(names), await found(names)] == ["10.0.0.1"] * 2
    await asyncio.sleep(0.2)
    assert dns.asked == 2
    assert await found(names) == "10.0.0.9"
    await names.close()


async def test_a_name_never_found_is_an_error() -> None:
    dns = Dns()
    dns.broken = True
    with pytest.raises(OSError, match="no name server"):
        await found(RememberingResolver(dns))


async def test_a_resolver_that_hangs_takes_no_thread_that_others_need(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fault 31: the threads in which the agent reads files are few."""
    answers = threading.Event()

    def hang(*_: object, **__: object) -> list[object]:
        answers.wait(5)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    asking = [asyncio.create_task(names.ThreadResolver().resolve(f"host{number}.example")) for number in range(64)]
    try:
        async with asyncio.timeout(1):
            await asyncio.gather(*(asyncio.to_thread(int, "1") for _ in range(64)))
    finally:
        answers.set()
        await asyncio.gather(*asking)
