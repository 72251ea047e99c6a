"""Who may use the unsafe methods: the allowlist, client certificates, and Basic authentication."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import ipaddress
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from haagent.rest.settings import RestSettings

RESOLVE_TIMEOUT_S = 2.0
RESOLVED_FOR_S = 30.0

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class Denial:
    """Why a request is refused: the HTTP status and a sentence for whoever sent it."""

    status: int
    why: str


def parse_address(text: str | None) -> Address | None:
    """An IP address, an IPv4 one also when it comes wrapped in IPv6; None when it is none."""
    try:
        found = ipaddress.ip_address((text or "").partition("%")[0])
    except ValueError:
        return None
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        return found.ipv4_mapped
    return found


def _network(text: str) -> Network | None:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None


class Allowlist:
    """Addresses, networks and host names that may use unsafe methods; names are resolved, and kept for a while."""

    def __init__(self, entries: Iterable[str], include_members: bool) -> None:
        entries = tuple(entries)
        self._networks = tuple(found for entry in entries if (found := _network(entry)) is not None)
        self._names = tuple(entry for entry in entries if _network(entry) is None)
        self._include_members = include_members
        self._open = not entries and not include_members
        self._resolved: dict[str, tuple[float, frozenset[Address]]] = {}

    async def permits(self, remote: str | None, member_urls: Iterable[str]) -> bool:
        """Whether that peer may go on; ``member_urls`` are the members' ``api_url``."""
        if self._open:
            return True
        found = parse_address(remote)
        if found is None:
            return False
        if any(found in network for network in self._networks):
            return True
        names = list(self._names)
        if self._include_members:
            names += [host for url in member_urls if (host := urlsplit(url).hostname)]
        for name in names:
            if found in await self._addresses(name):
                return True
        return False

    async def _addresses(self, name: str) -> frozenset[Address]:
        literal = parse_address(name)
        if literal is not None:
            return frozenset({literal})
        loop = asyncio.get_running_loop()
        expires_at, known = self._resolved.get(name, (0.0, frozenset[Address]()))
        if loop.time() < expires_at:
            return known
        try:
            async with asyncio.timeout(RESOLVE_TIMEOUT_S):
                rows = await loop.getaddrinfo(name, None, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            return known
        fresh = frozenset(found for row in rows if (found := parse_address(str(row[4][0]))) is not None)
        self._resolved[name] = (loop.time() + RESOLVED_FOR_S, fresh)
        return fresh


class Access:
    """Judges one unsafe request after the other by the settings in force."""

    def __init__(self, settings: RestSettings) -> None:
        self._settings = settings
        self._allowlist = Allowlist(settings.allowlist, settings.allowlist_include_members)

    async def judge(
        self, remote: str | None, certified: bool, authorization: str | None, member_urls: Iterable[str]
    ) -> Denial | None:
        """None: go on. ``certified`` tells whether the client showed a certificate that was verified."""
        settings = self._settings
        if not await self._allowlist.permits(remote, member_urls):
            return Denial(403, f"access is denied: {remote} is not on restapi.allowlist of this node")
        if settings.tls and settings.verify_client != "none" and not certified:
            return Denial(403, "access is denied: this method needs a client certificate (restapi.verify_client)")
        if settings.username is None:
            return None
        if authorization is None:
            return Denial(401, "this method needs Basic authentication (restapi.authentication)")
        if not _same(credentials(authorization), (settings.username, settings.password or "")):
            return Denial(401, "user name or password is not the one of restapi.authentication")
        return None


def credentials(authorization: str | None) -> tuple[str, str]:
    """User and password of a Basic ``Authorization`` header; empty texts when it is none."""
    scheme, _, encoded = (authorization or "").strip().partition(" ")
    if scheme.lower() != "basic":
        return "", ""
    try:
        decoded = base64.b64decode(encoded.strip(), validate=True).decode("utf-8", "surrogateescape")
    except (binascii.Error, ValueError):
        return "", ""
    user, _, password = decoded.partition(":")
    return user, password


def _same(given: tuple[str, str], wanted: tuple[str, str]) -> bool:
    """Compare in a time that does not tell how much was right."""
    equal = [
        hmac.compare_digest(one.encode("utf-8", "surrogateescape"), other.encode("utf-8", "surrogateescape"))
        for one, other in zip(given, wanted, strict=True)
    ]
    return all(equal)
