"""Bounds the open connections: one too many ends the one that has owed a request for longest, not the newcomer.

Whoever opens connections and says nothing thus cannot keep a load balancer's check out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

Handle = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class BoundedServer(web.Server):
    """A server of at most ``most`` connections; one that is being answered is never ended for another."""

    def __init__(self, handle: Handle, most: int, **options: Any) -> None:
        super().__init__(self._answer, **options)
        self.most = most
        self._handle = handle
        self._silent: dict[RequestHandler, None] = {}
        """Those that owe a request, in the order in which they began to."""
        self._open = 0

    def connection_made(self, handler: RequestHandler, transport: asyncio.Transport) -> None:
        """Take a new connection in, for which another may have to go."""
        super().connection_made(handler, transport)
        self._open += 1
        self._silent[handler] = None
        if self._open > self.most:
            longest = next(iter(self._silent))
            del self._silent[longest]
            longest.force_close()

    def connection_lost(self, handler: RequestHandler, exc: BaseException | None = None) -> None:
        """Forget a connection."""
        self._open -= 1
        self._silent.pop(handler, None)
        super().connection_lost(handler, exc)

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        connection = request.protocol
        self._silent.pop(connection, None)
        try:
            return await self._handle(request)
        finally:
            if connection.transport is not None:
                self._silent[connection] = None
