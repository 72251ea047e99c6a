"""etcd's v3 API through its JSON gateway, over HTTP."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator

import aiohttp

from haagent.dcs import wire
from haagent.dcs.endpoint import Endpoint, EtcdError, described
from haagent.dcs.http import Http
from haagent.dcs.race import Try
from haagent.dcs.settings import EtcdSettings
from haagent.dcs.wire import Json


class Gateway:
    """The transport; ValueError when the certificates cannot be used."""

    def __init__(self, settings: EtcdSettings) -> None:
        self._settings = settings
        self._http = Http(settings)

    def endpoint(self, url: str) -> Endpoint:
        return GatewayEndpoint(url, self._settings, self._http)

    async def close(self) -> None:
        await self._http.close()


class GatewayEndpoint(Endpoint):
    """One gateway; all share one pool of connections."""

    def __init__(self, url: str, settings: EtcdSettings, http: Http) -> None:
        super().__init__(url, settings)
        self._http = http

    async def _send(self, path: str, body: Json, token: str, timeout: float, one: Try) -> Json:
        limits = aiohttp.ClientTimeout(total=timeout)
        try:
            async with self._http.post(self.url + path, _encoded(body), _headers(token), limits, one) as response:
                status, text = response.status, await response.text(errors="replace")
        except aiohttp.ClientError as error:
            raise ConnectionError(described(error)) from None
        said = _error(text) if status == 200 else _error(text) or text or f"HTTP status {status}"
        if said is not None:
            raise EtcdError(said, status)
        return wire.as_object(text.partition("\n")[0] if '"result"' in text[:12] else text)

    async def _listen(self, path: str, body: Json, token: str) -> AsyncGenerator[list[Json], None]:
        headers = {**_headers(token), "Grpc-Metadata-hasleader": "true"}
        limits = aiohttp.ClientTimeout(total=None)
        try:
            async with self._http.post(self.url + path, _encoded(body), headers, limits) as response:
                if response.status != 200:
                    text = _error(await response.text(errors="replace"))
                    raise EtcdError(text or f"HTTP status {response.status}", response.status)
                lines = wire.Lines()
                while chunk := await response.content.readany():
                    messages = list(lines.feed(chunk))
                    for said in filter(None, map(wire.error_text, messages)):
                        raise EtcdError(said, response.status)
                    yield messages
        except aiohttp.ClientError as error:
            raise ConnectionError(described(error)) from None

    def _troubled(self) -> None:
        self._http.tls.files.look(soon=True)


def _headers(token: str) -> dict[str, str]:
    return {"Content-Type": "application/json"} | ({"Authorization": token} if token else {})


def _encoded(body: Json) -> bytes:
    return json.dumps(body, separators=(",", ":")).encode()


def _error(text: str) -> str | None:
    """The error that a body carries; a body that is no JSON is one itself."""
    try:
        return wire.error_text(json.loads(text.partition("\n")[0]))
    except ValueError:
        return text
