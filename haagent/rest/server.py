"""The HTTP server of an agent: its listening sockets, TLS, and bounds on connections.

It is given callables only: the published view as of now, and where to hand operators' requests.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable
from typing import Any

from aiohttp import web

from haagent.core.terms import Instant
from haagent.host.listening import stop_listening
from haagent.rest.connections import BoundedServer
from haagent.rest.handler import Current, Doctor, Handler, Submit
from haagent.rest.metrics import Counters
from haagent.rest.settings import RestSettings, SettingsError, address, server_context

log = logging.getLogger(__name__)

_QUIET = logging.getLogger(f"{__name__}.http")
"""Where aiohttp reports what clients do wrong; they can do that as often as they like."""
_QUIET.setLevel(logging.CRITICAL)

RESOLVE_TIMEOUT_S = 5.0
STOP_TIMEOUT_S = 1.0
HANDSHAKE_TIMEOUT_S = 3.0
"""How long a client may take to agree on TLS; those that do not are not among the connections that are counted."""


class ListenError(OSError):
    """An address of ``restapi.listen`` cannot be used; the text says why, and what to look at."""


class RestServer:
    """Serves the REST API from ``start`` to ``stop``."""

    def __init__(
        self,
        settings: RestSettings,
        current: Current,
        submit: Submit,
        ticked_at: Callable[[], Instant],
        counters: Callable[[], Counters] | None = None,
        journal: Callable[[int], bytes] | None = None,
        doctor: Doctor | None = None,
    ) -> None:
        """``journal`` gives the last so many decisions as a JSON array, ``doctor`` what it finds of this node."""
        self._settings = settings
        self._handler = Handler(settings, current, submit, ticked_at, counters, journal, doctor)
        self._server: BoundedServer | None = None
        self._sockets: list[socket.socket] = []
        self._listeners: list[asyncio.Server] = []

    @property
    def addresses(self) -> tuple[tuple[str, int], ...]:
        """Where it listens: host and port of each socket."""
        return tuple((str(name[0]), int(name[1])) for name in (one.getsockname() for one in self._sockets))

    async def start(self) -> None:
        """Listen and serve; ListenError or SettingsError when that is not possible."""
        context = server_context(self._settings)
        self._server = BoundedServer(
            self._handler,
            self._settings.max_connections,
            request_factory=self._make_request,
            access_log=None,
            logger=_QUIET,
            keepalive_timeout=self._settings.idle_timeout_s,
            lingering_time=1.0,
            auto_decompress=False,
        )
        self._sockets = await _bind(self._settings)
        await self._listen(context)

    async def reconfigure(self, settings: RestSettings) -> None:
        """Serve by other settings; if they cannot be used, the error is raised and the old ones stay in force.

        Certificates are read again. Connections that are open keep what they were opened with.
        """
        context = server_context(settings)
        if settings.listen != self._settings.listen:
            await self._rebind(settings)
        self._settings = settings
        if self._server is not None:
            self._server.most = settings.max_connections
        self._handler.configure(settings)
        await self._close_listeners()
        await self._listen(context)

    async def _rebind(self, settings: RestSettings) -> None:
        """Other addresses may overlap with those in use, so the old ones are given up first."""
        await self._close_listeners()
        for one in self._sockets:
            one.close()
        try:
            self._sockets = await _bind(settings)
        except (ListenError, SettingsError):
            self._sockets = await _bind(self._settings)
            await self._listen(server_context(self._settings))
            raise

    async def stop(self) -> None:
        """Close everything; requests under way get a moment to end."""
        await self._close_listeners()
        for one in self._sockets:
            one.close()
        self._sockets = []
        if self._server is not None:
            self._server.pre_shutdown()
            await self._server.shutdown(STOP_TIMEOUT_S)
            self._server = None

    async def _listen(self, context: ssl.SSLContext | None) -> None:
        # Each listener gets a duplicate: the socket itself stays open, so that a new listener with another TLS
        # context can take its place without a moment in which connections are refused.
        loop = asyncio.get_running_loop()
        for one in self._sockets:
            listener = await loop.create_server(
                self._connection,
                sock=one.dup(),
                ssl=context,
                backlog=self._settings.request_queue_size,
                ssl_handshake_timeout=HANDSHAKE_TIMEOUT_S if context else None,
            )
            self._listeners.append(listener)
        scheme = "https" if context else "http"
        log.info("REST API: %s", ", ".join(f"{scheme}://{host}:{port}" for host, port in self.addresses))

    async def _close_listeners(self) -> None:
        listeners, self._listeners = self._listeners, []
        await stop_listening(listeners)

    def _connection(self) -> asyncio.BaseProtocol:
        assert self._server is not None, "the server was stopped"
        return self._server()

    def _make_request(self, message: Any, payload: Any, protocol: Any, writer: Any, task: Any) -> web.BaseRequest:
        loop = asyncio.get_running_loop()
        limit = self._settings.max_body
        return web.BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=limit)


async def _bind(settings: RestSettings) -> list[socket.socket]:
    """Bound sockets for every address of ``listen``; of a host name with several, those that this machine has."""
    bound: list[socket.socket] = []
    try:
        for listen in settings.listen:
            names = await _resolve(listen)
            opened = len(bound)
            for family, name in names:
                try:
                    bound.append(_open(family, name, listen))
                except ListenError:
                    if len(bound) == opened and (family, name) == names[-1]:
                        raise
    except (ListenError, SettingsError):
        for one in bound:
            one.close()
        raise
    return bound


async def _resolve(listen: str) -> list[tuple[socket.AddressFamily, Any]]:
    host, port = address(listen)
    if host is None:
        both = socket.has_dualstack_ipv6()
        return [(socket.AF_INET6, ("::", port)) if both else (socket.AF_INET, ("0.0.0.0", port))]
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(RESOLVE_TIMEOUT_S):
            rows = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise ListenError(f"restapi.listen {listen!r}: {host!r} is no address of this machine: {error}") from error
    except TimeoutError as error:
        raise ListenError(
            f"restapi.listen {listen!r}: no resolver answered for {host!r} within {RESOLVE_TIMEOUT_S:g} s; "
            "use an address instead"
        ) from error
    return list(dict.fromkeys((family, name) for family, _, _, _, name in rows))


def _open(family: socket.AddressFamily, name: Any, listen: str) -> socket.socket:
    one = socket.socket(family, socket.SOCK_STREAM)
    try:
        one.setblocking(False)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(name[0] != "::"))
        one.bind(name)
        one.listen()
    except OSError as error:
        one.close()
        raise ListenError(
            f"restapi.listen {listen!r} cannot be used: {error.strerror}; "
            f"`ss -ltnp sport = :{name[1]}` shows who has that port"
        ) from error
    return one
