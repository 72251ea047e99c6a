"""The HTTP client under all endpoints: one connection pool, no proxy from the environment, its own TLS and names."""

from __future__ import annotations

from types import SimpleNamespace

import aiohttp
from aiohttp.client import _RequestContextManager

from haagent.dcs.race import Try
from haagent.dcs.settings import EtcdSettings
from haagent.dcs.tls import Tls
from haagent.host.names import RememberingResolver, ThreadResolver

IDLE_S = 60.0
"""A connection unused for so long is closed."""


class Http:
    """Opens its pool with the first request, since that needs a running loop."""

    def __init__(self, settings: EtcdSettings) -> None:
        self.tls = Tls(settings)
        self._session: aiohttp.ClientSession | None = None
        self._closed = False

    def post(
        self,
        url: str,
        data: bytes,
        headers: dict[str, str],
        timeout: aiohttp.ClientTimeout,
        one: Try | None = None,
    ) -> _RequestContextManager:
        """POST; ``one.sent`` becomes true before the first byte leaves. OSError after ``close``."""
        self.tls.files.look()
        return self._opened().post(
            url,
            data=data,
            headers=headers,
            timeout=timeout,
            ssl=self.tls.context,
            trace_request_ctx=one,
            allow_redirects=False,
        )

    def get(self, url: str, timeout: aiohttp.ClientTimeout) -> _RequestContextManager:
        """GET; OSError after ``close``."""
        return self._opened().get(url, timeout=timeout, ssl=self.tls.context, allow_redirects=False)

    async def close(self) -> None:
        self._closed = True
        await self.tls.files.close()
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _opened(self) -> aiohttp.ClientSession:
        if self._closed:
            raise OSError("this client of etcd was closed")
        if self._session is None:
            trace = aiohttp.TraceConfig()
            trace.on_request_headers_sent.append(_note_sent)
            resolver = RememberingResolver(ThreadResolver())
            connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=IDLE_S, use_dns_cache=False, resolver=resolver)
            self._session = aiohttp.ClientSession(
                connector=connector, trust_env=False, trace_configs=[trace], cookie_jar=aiohttp.DummyCookieJar()
            )
        return self._session


async def _note_sent(
    session: aiohttp.ClientSession, context: SimpleNamespace, params: aiohttp.TraceRequestHeadersSentParams
) -> None:
    one = context.trace_request_ctx
    if isinstance(one, Try):
        one.sent = True
