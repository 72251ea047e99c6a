"""One endpoint of etcd's JSON gateway: requests, streams, and the login that this endpoint knows us by.

Law: whether a request may have been carried out is told by ``Try.sent``, set before its first byte leaves, and by what
etcd answered; nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable
from typing import TypeVar

import aiohttp

from haagent.dcs import errors, wire
from haagent.dcs.http import Http
from haagent.dcs.kv import Denied
from haagent.dcs.race import Try
from haagent.dcs.wire import Json
from haagent.ports import PortError, Unknown, Unreachable

T = TypeVar("T")

_NO_TOKEN = ""
"""etcd has no authentication switched on."""

LOGIN_TIMEOUT_S = 5.0


class Endpoint:
    """``url`` without a slash at its end. Simple tokens are known to one member only: each endpoint has its own."""

    def __init__(self, url: str, http: Http, username: str | None, password: str | None) -> None:
        self.url = url
        self._http = http
        self._login = None if username is None else {"name": username, "password": password or ""}
        self._token: str | None = None if self._login else _NO_TOKEN
        self._logging_in: asyncio.Task[None] | None = None

    def close(self) -> None:
        """Give up a login under way."""
        if self._logging_in is not None:
            self._logging_in.cancel()

    async def call(self, path: str, body: Json, read: Callable[[Json], T], timeout: float, one: Try) -> T:
        """Post and read the answer; one of the three failures otherwise, with endpoint and time in its text."""
        loop = asyncio.get_running_loop()
        begun_at = loop.time()
        one.place = self.url
        try:
            return read(await self._answer(path, body, timeout, one))
        except PortError as error:
            raise type(error)(f"{self.url} after {loop.time() - begun_at:.2f} s: {error}") from None
        except (aiohttp.ClientError, OSError, ValueError, KeyError, TypeError) as error:
            kind = Unknown if one.sent else Unreachable
            self._http.tls.look(soon=True)
            raise kind(f"{self.url} after {loop.time() - begun_at:.2f} s: {described(error)}") from None

    async def stream(self, path: str, body: Json, silence: Callable[[], float], heard: Callable[[Json], None]) -> None:
        """Post and hand on each message of the answer until it ends; Unreachable then.

        Also Unreachable when nothing comes for ``silence()`` seconds, which is asked before each wait.
        """
        try:
            await self._listen(path, body, silence, heard)
        except PortError as error:
            if errors.wants_login(str(error)) or "permission denied" in str(error):
                self._forget(self._token)
            raise type(error)(f"{self.url}: {error}") from None
        except TimeoutError:
            raise Unreachable(f"{self.url}: the stream was silent for {silence():.1f} s") from None
        except (aiohttp.ClientError, OSError) as error:
            self._http.tls.look(soon=True)
            raise Unreachable(f"{self.url}: {described(error)}") from None
        raise Unreachable(f"{self.url}: etcd ended the stream")

    async def _listen(self, path: str, body: Json, silence: Callable[[], float], heard: Callable[[Json], None]) -> None:
        async with contextlib.AsyncExitStack() as stack:
            async with asyncio.timeout(silence()):
                headers = {**_headers(await self._known_by()), "Grpc-Metadata-hasleader": "true"}
                posting = self._http.post(self.url + path, _encoded(body), headers, aiohttp.ClientTimeout(total=None))
                response = await stack.enter_async_context(posting)
            if response.status != 200:
                said = _error(await response.text(errors="replace")) or f"HTTP status {response.status}"
                raise Unreachable(errors.explained(said))
            lines = wire.Lines()
            while True:
                async with asyncio.timeout(silence()):
                    chunk = await response.content.readany()
                if not chunk:
                    return
                for message in _cut(lines, chunk):
                    error = wire.error_text(message)
                    if error is not None:
                        raise Unreachable(errors.explained(error))
                    heard(message)

    async def _answer(self, path: str, body: Json, timeout: float, one: Try) -> Json:
        """One answer; a token that etcd no longer knows is replaced once."""
        data = _encoded(body)
        for last in (False, True):
            token = await self._known_by()
            status, text = await self._post(path, data, token, timeout, one)
            error = _error(text) if status == 200 else _error(text) or text or f"HTTP status {status}"
            if error is None:
                return wire.as_object(text.partition("\n")[0] if '"result"' in text[:12] else text)
            if last or self._login is None or not errors.wants_login(error):
                raise errors.failure(error, status)(errors.explained(error))
            one.sent = False
            self._forget(token)
        raise AssertionError("the last try answers or raises")

    async def _post(self, path: str, data: bytes, token: str, timeout: float, one: Try) -> tuple[int, str]:
        limits = aiohttp.ClientTimeout(total=timeout)
        async with self._http.post(self.url + path, data, _headers(token), limits, one) as response:
            return response.status, await response.text(errors="replace")

    async def _known_by(self) -> str:
        """The token of this endpoint, after a login if there is none.

        One login serves all who wait for it, and goes on when they give up: etcd takes its time over passwords.
        """
        while self._token is None:
            if self._logging_in is None:
                self._logging_in = asyncio.create_task(self._log_in())
                self._logging_in.add_done_callback(self._logged_in)
            await asyncio.shield(self._logging_in)
        return self._token

    def _logged_in(self, task: asyncio.Task[None]) -> None:
        self._logging_in = None
        if not task.cancelled():
            task.exception()

    async def _log_in(self) -> None:
        data = _encoded(self._login or {})
        status, text = await self._post("/v3/auth/authenticate", data, _NO_TOKEN, LOGIN_TIMEOUT_S, Try(0))
        error = _error(text) if status == 200 else _error(text) or text
        if error is None:
            self._token = _token_of(text)
        elif "authentication is not enabled" in error:
            self._token = _NO_TOKEN
        else:
            kind = Denied if 400 <= status < 500 else Unreachable
            raise kind(f"login failed: {errors.explained(error)}")

    def _forget(self, token: str | None) -> None:
        """This token is no good; a newer one stays."""
        if self._login is not None and self._token == token:
            self._token = None


def _token_of(text: str) -> str:
    try:
        return str(wire.as_object(text)["token"])
    except (ValueError, KeyError) as error:
        raise Unreachable(f"the answer to a login makes no sense: {error!r}") from None


def _cut(lines: wire.Lines, chunk: bytes) -> list[Json]:
    try:
        return list(lines.feed(chunk))
    except ValueError as error:
        raise Unreachable(f"a stream makes no sense: {error}") from None


def described(error: Exception) -> str:
    """An exception in words; some have none of their own."""
    if isinstance(error, TimeoutError):
        return "no answer"
    return f"{error}" or type(error).__name__


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
