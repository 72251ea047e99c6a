"""The client of agents' REST APIs: it asks peers before an election, and carries operators' requests.

Peers may be Patroni members: what they answer is read leniently, and what cannot be read counts as not said.
"""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit, urlunsplit

import aiohttp

from haagent.core.facts import Consent, Mandate, Member, PeerPoll, PeerReply
from haagent.core.failsafe import addressed
from haagent.core.tags import read_tags
from haagent.core.terms import Instant, Lsn, Timeline
from haagent.host.names import RememberingResolver, ThreadResolver
from haagent.rest.settings import ClientSettings, client_context

MAX_ANSWER = 4 * 1024 * 1024
_LEADING_ROLES = frozenset({"primary", "master", "standby_leader"})
_WRITING_ROLES = frozenset({"primary", "master"})


class RequestError(Exception):
    """An agent gave no answer; the text says which agent, what happened, and what it may mean."""


@dataclass(frozen=True, slots=True)
class Response:
    """What an agent answered: the HTTP status, the text, and the JSON value if it is one."""

    status: int
    text: str
    document: Any = None

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300


class RestClient:
    """Sends requests to agents, with the credentials and certificates of ``settings``; close it when done."""

    def __init__(self, settings: ClientSettings, *, reuse_connections: bool = True) -> None:
        self._settings = settings
        # The system's certificate authorities take megabytes: without TLS settings they are loaded for the first https.
        configured = settings.cacert or settings.certfile or settings.insecure
        self._ssl: ssl.SSLContext | None = client_context(settings) if configured else None
        self._reuse = reuse_connections
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def request(
        self, method: str, api_url: str, path: str, body: object = None, timeout: float | None = None
    ) -> Response:
        """The answer of the agent at ``api_url`` (a member key's, or just scheme, host and port).

        Credentials go with unsafe methods only. RequestError when no answer came within ``timeout`` seconds.
        """
        limit = self._settings.timeout_s if timeout is None else timeout
        safe = method in ("GET", "HEAD", "OPTIONS")
        data = None if body is None else json.dumps(body).encode()
        headers = {} if data is None else {"Content-Type": "application/json"}
        if not safe and self._settings.username:
            headers["Authorization"] = basic(self._settings.username, self._settings.password or "")
        try:
            url = _url(api_url, path)
            context = self._context() if url.startswith("https:") else False
            async with (
                asyncio.timeout(limit),
                self._open().request(
                    method, url, data=data, headers=headers, ssl=context, allow_redirects=False
                ) as response,
            ):
                return _response(response.status, await _read(response))
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as error:
            raise RequestError(_explain(method, api_url, path, limit, error)) from error

    def _context(self) -> ssl.SSLContext:
        if self._ssl is None:
            self._ssl = client_context(self._settings)
        return self._ssl

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            resolver = RememberingResolver(ThreadResolver())
            connector = aiohttp.TCPConnector(
                force_close=not self._reuse, use_dns_cache=False, limit=64, resolver=resolver
            )
            # The deadline is that of each request; aiohttp's own of five minutes must not come in between.
            bounds = aiohttp.ClientTimeout(total=None)
            self._session = aiohttp.ClientSession(connector=connector, timeout=bounds, trust_env=False)
        return self._session


class RestPeers:
    """The other agents, as ``ports.Peers`` wants them; ``now`` is this machine's CLOCK_BOOTTIME."""

    def __init__(self, settings: ClientSettings, now: Callable[[], Instant]) -> None:
        # Elections are rare, and a connection that was kept may lead to a host that is gone.
        self._client = RestClient(settings, reuse_connections=False)
        self._now = now

    async def ask(self, members: Sequence[Member], timeout: float) -> PeerPoll:
        """GET /patroni of all at once; whoever is silent after ``timeout`` counts as not reached."""
        asked_at = self._now()
        replies = await asyncio.gather(*(self._ask(member, timeout) for member in members))
        return PeerPoll(asked_at, tuple(replies))

    async def _ask(self, member: Member, timeout: float) -> PeerReply:
        try:
            response = await self._client.request("GET", member.api_url, "/patroni", timeout=timeout)
        except RequestError as error:
            return PeerReply(member.name, reached=False, why=str(error))
        if not isinstance(response.document, Mapping):
            why = f"{member.api_url} answered {response.status} without a status"
            return PeerReply(member.name, reached=False, why=why)
        return read_status(member.name, response.document)

    async def alive(self, member: Member, timeout: float) -> bool:
        """Whether an agent answers GET /liveness at that member's api_url, whatever it answers."""
        try:
            await self._client.request("GET", member.api_url, "/liveness", timeout=timeout)
        except RequestError:
            return False
        return True

    async def consent(self, mandate: Mandate, timeout: float) -> tuple[Consent, ...]:
        """POST /failsafe to all at once; whoever does not answer 200 within ``timeout`` does not consent."""
        asked = (self._consent(name, url, mandate, timeout) for name, url in mandate.members.items())
        return tuple(await asyncio.gather(*asked))

    async def _consent(self, name: str, api_url: str, mandate: Mandate, timeout: float) -> Consent:
        body = addressed(mandate.body, name)
        try:
            response = await self._client.request("POST", api_url, "/failsafe", body, timeout)
        except RequestError as error:
            return Consent(name, accepted=False, why=str(error))
        if response.status == 200:
            return Consent(name, accepted=True)
        return Consent(name, accepted=False, why=f"it answered {response.status}: {response.text[:200]}")

    async def reconfigure(self, settings: ClientSettings) -> None:
        """Use other certificates, read anew; if they cannot be used, SettingsError is raised and the old ones stay."""
        fresh = RestClient(settings, reuse_connections=False)
        old, self._client = self._client, fresh
        await old.close()

    async def close(self) -> None:
        """Close all connections."""
        await self._client.close()


def read_status(name: str, document: Mapping[str, Any]) -> PeerReply:
    """What a status JSON tells of a node, be it haagent's or Patroni's.

    A node in recovery does not claim to write; whether it leads, haagent says by its permit and Patroni by its role.
    """
    xlog = _mapping(document.get("xlog"))
    own = _mapping(document.get("haagent"))
    role = str(document.get("role"))
    writes = "location" in xlog or (not xlog and role in _WRITING_ROLES)
    received, replayed = _count(xlog, "received_location"), _count(xlog, "replayed_location")
    # Also while it is being stopped: what still writes must not be overlooked.
    running = document.get("state") == "running" or "location" in xlog
    leads = role in _LEADING_ROLES and running and (not own or _seconds(own, "permit_s") > 0)
    return PeerReply(
        name=name,
        reached=True,
        running=running,
        in_recovery=not writes,
        leads=leads,
        timeline=Timeline(_count(document, "timeline")),
        newest_timeline=Timeline(_count(own, "newest_timeline")),
        lsn=Lsn(_count(xlog, "location") if writes else max(received, replayed)),
        replayed_lsn=Lsn(_count(xlog, "location") if writes else replayed),
        tags=read_tags(_mapping(document.get("tags"))),
        watchdog_failed=document.get("watchdog_failed") is True,
        unfit=str(own.get("unfit") or ""),
        stray="stray_timeline" in own,
        demoted=not own and not xlog and role == "demoted" and document.get("state") == "stopped",
        lacks_slots={str(slot): str(why) for slot, why in _mapping(own.get("lacks_slots")).items()},
        complete=(writes or received > 0 or own.get("replayed_all") is True) and (not own or "looked_s" in own),
        looked_s=_seconds(own, "looked_s"),
    )


def basic(user: str, password: str) -> str:
    """The ``Authorization`` header of these credentials (RFC 7617, in UTF-8)."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _count(document: Mapping[str, Any], name: str) -> int:
    value = document.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else 0


def _seconds(document: Mapping[str, Any], name: str) -> float:
    value = document.get(name)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else 0.0


def _url(api_url: str, path: str) -> str:
    parts = urlsplit(api_url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("its api_url is no URL; expected http(s)://host:port/patroni")
    own, _, query = path.partition("?")
    return urlunsplit((parts.scheme, parts.netloc, own, query, ""))


async def _read(response: aiohttp.ClientResponse) -> bytes:
    chunks: list[bytes] = []
    size = 0
    async for chunk in response.content.iter_any():
        size += len(chunk)
        if size > MAX_ANSWER:
            raise ValueError(f"the answer is longer than {MAX_ANSWER} bytes")
        chunks.append(chunk)
    return b"".join(chunks)


def _response(status: int, raw: bytes) -> Response:
    text = raw.decode("utf-8", "replace")
    try:
        return Response(status, text, json.loads(text))
    except (ValueError, RecursionError):
        return Response(status, text)


def _explain(method: str, api_url: str, path: str, limit: float, error: BaseException) -> str:
    what = f"{method} {path} at {_where(api_url)}"
    if isinstance(error, TimeoutError):
        return f"{what}: no answer within {limit:g} s; its agent is down or frozen, or the network drops packets"
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        reason = getattr(error.certificate_error, "verify_message", None) or error.certificate_error
        return f"{what}: its certificate is not trusted ({reason}); set ctl.cacert, or ctl.insecure for a test"
    if isinstance(error, aiohttp.ClientSSLError):
        return f"{what}: TLS failed ({error}); does it want a client certificate (ctl.certfile)?"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return f"{what}: its host name cannot be resolved ({error.os_error.strerror})"
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"{what}: no connection ({error.os_error.strerror or error.os_error}); is its agent running?"
    return f"{what}: {error or type(error).__name__}"


def _where(api_url: str) -> str:
    """Scheme, host and port, without what else a URL may hold (such as a password)."""
    try:
        parts = urlsplit(api_url)
        port = "" if parts.port is None else f":{parts.port}"
    except ValueError:
        return "an address that is no URL"
    return f"{parts.scheme}://{parts.hostname}{port}"
