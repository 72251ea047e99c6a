"""Asks every endpoint of etcd for its own state: version, size, leader, alarms; for the doctor, never for decisions."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import replace

import aiohttp

from haagent.core.health.etcd import EtcdEndpoint, EtcdFacts
from haagent.dcs import wire
from haagent.dcs.endpoint import Endpoint
from haagent.dcs.http import Http
from haagent.dcs.race import Try
from haagent.dcs.wire import Json
from haagent.ports import PortError

ALARMS = {"1": "NOSPACE", "2": "CORRUPT"}
"""gRPC tells numbers. Source: etcd's rpc.proto, AlarmType."""


METRICS_BYTES = 4 * 1024**2
QUOTA = re.compile(r"^etcd_server_quota_backend_bytes ([0-9.e+]{1,20})$", re.MULTILINE)


async def surveyed(endpoints: Sequence[Endpoint], http: Http, timeout: float) -> EtcdFacts:
    """All at once; whoever is silent after ``timeout`` seconds is told so. ``http`` reads what only HTTP tells."""
    known = await asyncio.gather(*(_status(one, timeout) for one in endpoints))
    quotas = await asyncio.gather(*(_quota(one, http, timeout) for one in known))
    found = [replace(one, quota_bytes=quota) for one, quota in zip(known, quotas, strict=True)]
    members = [count for count in await asyncio.gather(*(_members(one, timeout) for one in endpoints)) if count]
    alarms = [told for told in await asyncio.gather(*(_alarms(one, timeout) for one in endpoints)) if told is not None]
    said = tuple(dict.fromkeys(alarm for told in alarms for alarm in told))
    return EtcdFacts(tuple(found), max(members, default=0), said if alarms else None)


async def _status(endpoint: Endpoint, timeout: float) -> EtcdEndpoint:
    loop = asyncio.get_running_loop()
    begun_at = loop.time()
    try:
        async with asyncio.timeout(timeout):
            found = await endpoint.call("/v3/maintenance/status", {}, wire.as_it_is, timeout, Try(0))
    except TimeoutError:
        return EtcdEndpoint(endpoint.url, why=f"no answer within {timeout:g} s")
    except PortError as error:
        return EtcdEndpoint(endpoint.url, why=str(error))
    return EtcdEndpoint(
        endpoint.url,
        member_id=int(found.get("header", {}).get("member_id", 0)),
        leader_id=int(found.get("leader", 0)),
        version=str(found.get("version", "")),
        db_bytes=int(found.get("dbSize", 0)),
        took_ms=1000 * (loop.time() - begun_at),
        errors=tuple(map(str, found.get("errors", ()))),
    )


async def _quota(one: EtcdEndpoint, http: Http, timeout: float) -> int | None:
    """From the metrics that etcd serves beside its API, unless they were moved or forbidden."""
    if one.why:
        return None
    try:
        async with http.get(f"{one.url}/metrics", aiohttp.ClientTimeout(total=timeout)) as response:
            text = (await response.content.read(METRICS_BYTES)) if response.status == 200 else b""
            while response.status == 200 and (more := await response.content.read(METRICS_BYTES - len(text))):
                text += more
    except (aiohttp.ClientError, OSError, TimeoutError):
        return None
    told = QUOTA.search(text.decode(errors="replace"))
    return None if told is None else int(float(told[1])) or None


async def _members(endpoint: Endpoint, timeout: float) -> int:
    try:
        async with asyncio.timeout(timeout):
            return await endpoint.call("/v3/cluster/member/list", {}, _voters, timeout, Try(0))
    except (PortError, TimeoutError):
        return 0


def _voters(raw: Json) -> int:
    return sum(not one.get("isLearner", False) for one in raw["members"])


async def _alarms(endpoint: Endpoint, timeout: float) -> tuple[str, ...] | None:
    try:
        async with asyncio.timeout(timeout):
            return await endpoint.call("/v3/maintenance/alarm", {}, _said, timeout, Try(0))
    except (PortError, TimeoutError):
        return None


def _said(raw: Json) -> tuple[str, ...]:
    kinds = (str(one.get("alarm", "")) for one in raw.get("alarms", ()))
    return tuple(ALARMS.get(kind, kind) for kind in kinds)
