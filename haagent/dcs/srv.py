"""The endpoints that a domain's SRV records name.

Source of the service names and their order: Patroni's documentation of ``etcd3.srv`` and ``srv_suffix``, and etcd's
discovery guide. Records of etcd's servers name peers, which are asked for the members' client URLs.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass

import aiohttp
import dns.asyncresolver
import dns.exception
import dns.rdatatype
import dns.resolver
from dns.rdtypes.IN.SRV import SRV

from haagent.dcs.http import Http
from haagent.dcs.settings import EtcdSettings, Scheme
from haagent.ports import Unreachable

log = logging.getLogger(__name__)

SERVICES = ("etcd-client-ssl", "etcd-client", "etcd-ssl", "etcd", "etcd-server-ssl", "etcd-server")
DNS_TIMEOUT_S = 3.0
PEER_TIMEOUT_S = 2.0
_ANSWER_MOST = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Found:
    """Hosts of one service, best first."""

    service: str
    hosts: tuple[tuple[str, int], ...]

    @property
    def peers(self) -> bool:
        return "server" in self.service

    def scheme(self, protocol: Scheme) -> Scheme:
        return "https" if "-ssl" in self.service else protocol


async def endpoints(settings: EtcdSettings, resolver: dns.asyncresolver.Resolver | None = None) -> tuple[str, ...]:
    """The URLs; Unreachable when there are none to be had. ``resolver``: other name servers than the system's."""
    found = await _first(settings, resolver)
    scheme = found.scheme(settings.protocol)
    urls = tuple(f"{scheme}://{host}:{port}" for host, port in found.hosts)
    return await _clients_of(urls, settings) if found.peers else urls


async def _first(settings: EtcdSettings, resolver: dns.asyncresolver.Resolver | None) -> Found:
    """The first service, in the order of ``SERVICES``, that has records; all are asked at once."""
    suffix = f"-{settings.srv_suffix}" if settings.srv_suffix else ""
    names = [f"_{service}{suffix}._tcp.{settings.srv}" for service in SERVICES]
    asking = resolver or dns.asyncresolver.get_default_resolver()
    answers = await asyncio.gather(*(_hosts(asking, name) for name in names), return_exceptions=True)
    for service, hosts in zip(SERVICES, answers, strict=True):
        if isinstance(hosts, tuple) and hosts:
            return Found(service, hosts)
    for error in answers:
        if isinstance(error, dns.exception.DNSException | OSError):
            raise Unreachable(
                f"etcd3.srv: the SRV records of {settings.srv} cannot be looked up: {error}. Try `dig SRV {names[0]}`"
            )
        if isinstance(error, BaseException):
            raise error
    raise Unreachable(f"etcd3.srv: {settings.srv} has no SRV records of etcd: none of {', '.join(names)}")


async def _hosts(resolver: dns.asyncresolver.Resolver, name: str) -> tuple[tuple[str, int], ...]:
    try:
        answer = await resolver.resolve(name, dns.rdatatype.SRV, lifetime=DNS_TIMEOUT_S)
    except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
        return ()
    records = sorted(
        (record for record in answer if isinstance(record, SRV)), key=lambda one: (one.priority, -one.weight)
    )
    return tuple((record.target.to_text(omit_final_dot=True), record.port) for record in records)


async def _clients_of(peers: Sequence[str], settings: EtcdSettings) -> tuple[str, ...]:
    """The client URLs of all members, told by the first peer that answers."""
    http, silent = Http(settings), []
    try:
        for url in peers:
            try:
                async with http.get(f"{url}/members", aiohttp.ClientTimeout(total=PEER_TIMEOUT_S)) as response:
                    told = json.loads((await response.content.read(_ANSWER_MOST)).decode())
                found = tuple(str(client) for member in told for client in member.get("clientURLs", ()))
            except (aiohttp.ClientError, OSError, ValueError, TypeError, AttributeError) as error:
                silent.append(f"{url}: {error or type(error).__name__}")
                continue
            if found:
                return found
    finally:
        await http.close()
    raise Unreachable(f"etcd3.srv: no peer names its cluster's members: {'; '.join(silent) or 'no client URLs'}")
