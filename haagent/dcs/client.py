"""The ``Kv`` over the endpoints of an etcd cluster, from the last good one on, by one transport or the other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from haagent.core.health.etcd import EtcdFacts
from haagent.dcs import wire
from haagent.dcs.endpoint import Transport
from haagent.dcs.gateway import Gateway
from haagent.dcs.http import Http
from haagent.dcs.kv import Batch, Compare, Grant, RangeReply, TxnReply, Write
from haagent.dcs.race import PACE, Try, Won, race
from haagent.dcs.ring import Ring, Seeds
from haagent.dcs.settings import EtcdSettings
from haagent.dcs.survey import surveyed
from haagent.dcs.wire import Json
from haagent.ports import PortError, Refused, Unknown, Unreachable

T = TypeVar("T")


class EtcdClient:
    """A client of one etcd cluster; ValueError when the settings or the certificates cannot be used."""

    def __init__(self, settings: EtcdSettings) -> None:
        self._settings = settings
        self._transport = _transport(settings)
        self._ring = Ring(self._transport.endpoint, settings.endpoints, _seeds(settings), settings.discover)
        self._watched = 0

    async def range(self, key: str, timeout: float, *, prefix: bool = False) -> RangeReply:
        body = wire.range_body(key, prefix=prefix)
        return await self._read("/v3/kv/range", body, wire.range_reply, timeout, f"reading {key}")

    async def txn(
        self, when: Sequence[Compare], then: Sequence[Write], read_back: Sequence[str], timeout: float
    ) -> TxnReply:
        what = f"the transaction on {', '.join(write.key for write in then)}"
        won = await self._ask("/v3/kv/txn", wire.txn_body(when, then, read_back), wire.txn_reply, timeout, what)
        return replace(won.answer, repeated=won.repeated)

    async def grant(self, ttl: int, timeout: float) -> Grant:
        body = {"TTL": str(ttl)}
        return (await self._ask("/v3/lease/grant", body, wire.grant, timeout, f"granting {ttl} s")).answer

    async def keepalive(self, lease: int, timeout: float) -> float:
        what = f"keeping lease {lease:x} alive"
        won = await self._ask("/v3/lease/keepalive", {"ID": str(lease)}, wire.keepalive_ttl, timeout, what)
        if won.answer <= 0:
            raise Refused(f"etcd says that lease {lease:x} is dead")
        return won.answer

    async def granted_ttl(self, lease: int, timeout: float) -> float:
        what = f"asking what lease {lease:x} was granted"
        granted = await self._read("/v3/lease/timetolive", {"ID": str(lease)}, wire.granted_ttl, timeout, what)
        if granted is None:
            raise Refused(f"etcd says that lease {lease:x} is dead")
        return granted

    async def revoke(self, lease: int, timeout: float) -> None:
        await self._ask("/v3/lease/revoke", {"ID": str(lease)}, dict, timeout, f"revoking lease {lease:x}")

    async def watch(
        self, prefix: str, start: int, silence: Callable[[], float], on_batch: Callable[[Batch], None]
    ) -> None:
        endpoint = self._ring.nth(self._watched)
        self._watched += 1

        def heard(message: Json) -> None:
            try:
                batch = wire.batch(message)
            except (ValueError, KeyError, TypeError) as error:
                raise Unreachable(f"a watch's message makes no sense: {error!r}") from None
            on_batch(batch)

        await endpoint.stream("/v3/watch", wire.watch_body(prefix, start), silence, heard)

    async def survey(self, timeout: float) -> EtcdFacts:
        """What each endpoint known now says of itself."""
        http = Http(self._settings)
        try:
            return await surveyed(await self._ring.endpoints(timeout), http, timeout)
        finally:
            await http.close()

    def distrust(self) -> None:
        self._ring.distrust()

    async def close(self) -> None:
        await self._ring.close()
        await self._transport.close()

    async def _read(self, path: str, body: Json, read: Callable[[Json], T], timeout: float, what: str) -> T:
        try:
            return (await self._ask(path, body, read, timeout, what)).answer
        except Unknown as error:
            raise Unreachable(str(error)) from None

    async def _ask(self, path: str, body: Json, read: Callable[[Json], T], timeout: float, what: str) -> Won[T]:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        endpoints = await self._ring.endpoints(timeout)
        width, timeout = len(endpoints), deadline - loop.time()

        async def ask(one: Try) -> T:
            return await endpoints[one.number % width].call(path, body, read, timeout, one)

        try:
            won = await race(ask, width, timeout / PACE, timeout, what)
        except PortError:
            self._ring.look(soon=True)
            raise
        if won.number % width:
            self._ring.look(soon=True)
            self._ring.use(endpoints[won.number % width])
        return won


def _transport(settings: EtcdSettings) -> Transport:
    if settings.transport == "http":
        return Gateway(settings)
    try:
        from haagent.dcs.rpc import Rpc
    except ImportError as error:
        raise ValueError(f"transport grpc needs more packages: pip install 'haagent[grpc]' ({error})") from None
    return Rpc(settings)


def _seeds(settings: EtcdSettings) -> Seeds | None:
    """What looks up SRV records, whose library is loaded only when they are asked for."""
    if settings.srv is None:
        return None

    async def look_up() -> tuple[str, ...]:
        from haagent.dcs import srv

        return await srv.endpoints(settings)

    return look_up
