"""Which endpoints are asked: members that come and go, SRV records, names that are no longer resolved."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import dns.asyncresolver
import pytest

from haagent.core.terms import LeaseId, Term
from haagent.dcs import ring, srv
from haagent.dcs.client import EtcdClient
from haagent.dcs.etcd import EtcdDcs
from haagent.dcs.settings import EtcdSettings
from haagent.ports import PortError, Refused, Unreachable
from tests.contract.dcs.conftest import Trial
from tests.contract.dcs.nameserver import NameServer
from tests.contract.dcs.stores import SOON_S, BootClock, RealStore
from tests.real.etcd import EtcdCluster
from tests.real.hosts import LoopbackHost

S = SOON_S
TTL_S = 15
"""Longer than etcd may be without a leader of its own: each of its members is killed, and votes may split."""


class Keeping:
    """A leader that renews every 0.2 s, and remembers how long it ever was without a renewal."""

    def __init__(self, dcs: EtcdDcs, lease: LeaseId, term: Term) -> None:
        self.dcs, self.lease, self.term = dcs, lease, term
        self.longest_s = 0.0
        self.renewed_at = asyncio.get_running_loop().time()

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            sent_at = loop.time()
            try:
                await self.dcs.renew("a", self.term, self.lease, 1.0)
                self.longest_s = max(self.longest_s, sent_at - self.renewed_at)
                self.renewed_at = sent_at
            except Refused:
                raise
            except PortError:
                pass
            await asyncio.sleep(0.2)


@contextlib.asynccontextmanager
async def kept(dcs: EtcdDcs) -> AsyncIterator[Keeping]:
    lease = await dcs.open_lease(TTL_S, S)
    keeping = Keeping(dcs, lease, await dcs.campaign("a", lease, S))
    task = asyncio.create_task(keeping.run())
    try:
        yield keeping
        assert not task.done(), task.exception()
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@pytest.fixture
def moving(tmp_path: Path) -> Iterator[EtcdCluster]:
    """A cluster on loopback whose members may be replaced by others."""
    cluster = EtcdCluster([LoopbackHost("trial", "etcd")] * 3, tmp_path, [_two_ports() for _ in range(3)])
    cluster.start()
    try:
        yield cluster
    finally:
        cluster.stop()


def _two_ports() -> tuple[int, int]:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        return one.getsockname()[1], two.getsockname()[1]


async def told(caplog: pytest.LogCaptureFixture, pattern: str) -> None:
    """Wait until a line of the log says so."""
    async with asyncio.timeout(15):
        while not said(caplog, pattern):
            await asyncio.sleep(0.05)


def said(caplog: pytest.LogCaptureFixture, pattern: str) -> bool:
    return any(re.search(pattern, record.getMessage()) for record in caplog.records)


async def test_all_members_are_replaced_one_by_one(
    moving: EtcdCluster, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Fault 40: at the end none of the settings' endpoints is left; no leader ever missed its deadline."""
    monkeypatch.setattr(ring, "EVERY_S", 0.5)
    monkeypatch.setattr(ring, "SOON_S", 0.3)
    caplog.set_level(logging.INFO, "haagent.dcs.ring")
    old = list(moving.members)
    urls = tuple(f"http://{member.endpoint}" for member in old)
    async with contextlib.AsyncExitStack() as stack:
        leaders = []
        for transport in ("http", "grpc"):
            store = RealStore(urls, f"/service/{transport}/", transport=transport, discover=True)
            await stack.enter_async_context(contextlib.aclosing(store))
            leaders.append(await stack.enter_async_context(kept(store.dcs())))
        for member in old:
            await asyncio.to_thread(moving.replace, member, _two_ports())
            await asyncio.sleep(0.7)
        for one in leaders:
            seen = (await one.dcs.snapshot(S)).leader
            assert seen is not None
            assert seen.term == one.term
            assert one.longest_s < TTL_S * 0.7
        await told(caplog, f"etcd's endpoints are now .*http://{moving.members[-1].endpoint}\\b")
        await told(caplog, "no member has any more. Change etcd3.hosts")


async def test_one_endpoint_is_enough_to_find_the_others(
    trial: Trial, prefix: str, transport: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(ring, "EVERY_S", 0.1)
    caplog.set_level(logging.INFO, "haagent.dcs.ring")
    async with contextlib.aclosing(RealStore(trial.urls[:1], prefix, transport=transport, discover=True)) as store:
        a = store.dcs()
        async with asyncio.timeout(15):
            while not said(caplog, "etcd names them as its members"):
                await a.snapshot(S)
                await asyncio.sleep(0.1)
        trial.freeze(0)
        await a.put_config({"ttl": 10}, None, S)


async def test_proxies_are_taken_as_given(trial: Trial, prefix: str) -> None:
    async with contextlib.aclosing(RealStore(trial.urls[:1], prefix, discover=False)) as store:
        a = store.dcs()
        await a.snapshot(S)
        await asyncio.sleep(0.2)
        trial.freeze(0)
        with pytest.raises(Unreachable, match="no answer from"):
            await a.snapshot(0.5)


# --- SRV records ---


@pytest.fixture
def names(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> Iterator[NameServer]:
    """The name server that is asked; the test runs in a namespace of its own."""
    records = [f"{10 * number} 1 2379 {host.address}." for number, host in enumerate(trial.hosts, 1)]
    with NameServer({"_etcd-client._tcp.db.example": records}).serving() as server:
        made = server.resolver()
        monkeypatch.setattr(dns.asyncresolver, "get_default_resolver", lambda: made)
        yield server


def by_srv(prefix: str, **more: str) -> EtcdDcs:
    settings = EtcdSettings((), srv="db.example", discover=False, **more)  # type: ignore[arg-type]
    return EtcdDcs(EtcdClient(settings), prefix, BootClock())


async def test_srv_records_name_the_endpoints(names: NameServer, trial: Trial, prefix: str, transport: str) -> None:
    async with contextlib.aclosing(closing(by_srv(prefix, transport=transport))) as a:
        await a.dcs.put_config({"ttl": 10}, None, S)
        trial.freeze(0)
        assert (await a.dcs.snapshot(S)).config is not None


async def test_a_name_server_that_hangs_or_fails_ends_no_call(
    names: NameServer, prefix: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Fault 31: the endpoints known before stay in use, and nobody waits for the name server."""
    monkeypatch.setattr(ring, "EVERY_S", 0.05)
    monkeypatch.setattr(srv, "DNS_TIMEOUT_S", 2.0)
    async with contextlib.aclosing(closing(by_srv(prefix))) as a:
        await a.dcs.snapshot(S)
        names.hangs = True
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(20):
            while not said(caplog, "the endpoints known before stay in use"):
                begun_at = loop.time()
                await a.dcs.snapshot(S)
                assert loop.time() - begun_at < 1.5
                await asyncio.sleep(0.08)
    assert said(caplog, r"dig SRV _etcd-client-ssl\._tcp\.db\.example")


async def test_without_srv_records_the_reason_is_told(names: NameServer, prefix: str) -> None:
    names.records.clear()
    async with contextlib.aclosing(closing(by_srv(prefix))) as a:
        with pytest.raises(Unreachable, match=r"no endpoint of etcd is known: etcd3\.srv: db\.example has no SRV"):
            await a.dcs.snapshot(S)
    names.broken = True
    async with contextlib.aclosing(closing(by_srv(prefix))) as a:
        with pytest.raises(Unreachable, match=r"etcd3\.srv: the SRV records of db\.example cannot be looked up"):
            await a.dcs.snapshot(S)


async def test_records_of_peers_lead_to_the_clients_urls(names: NameServer, trial: Trial) -> None:
    host = trial.hosts[0]
    names.records = {"_etcd-server-x._tcp.db.example": [f"1 1 1 {host.address}.", f"2 1 2380 {host.address}."]}
    found = await srv.endpoints(EtcdSettings((), srv="db.example", srv_suffix="x"))
    assert sorted(found) == sorted(trial.urls)


async def test_tls_services_come_first(names: NameServer) -> None:
    names.records["_etcd-client-ssl._tcp.db.example"] = ["2 1 2379 two.", "1 1 2379 one."]
    found = await srv.endpoints(EtcdSettings((), srv="db.example"))
    assert found == ("https://one:2379", "https://two:2379")


class closing:  # noqa: N801
    """A ``Dcs`` that is closed at the end."""

    def __init__(self, dcs: EtcdDcs) -> None:
        self.dcs = dcs

    async def aclose(self) -> None:
        await self.dcs.close()
