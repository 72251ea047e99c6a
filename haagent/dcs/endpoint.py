"""One endpoint of etcd, whatever the transport: a call with its failures in words, and the login it knows us by.

Law: whether a request may have been carried out is told by ``Try.sent``, set before its first byte leaves, and by what
etcd answered; nothing else.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Protocol, TypeVar

from haagent.dcs import errors
from haagent.dcs.kv import Denied
from haagent.dcs.race import Try
from haagent.dcs.settings import EtcdSettings
from haagent.dcs.wire import Json
from haagent.ports import PortError, Unknown, Unreachable

T = TypeVar("T")

_NO_TOKEN = ""
"""etcd has no authentication switched on."""

LOGIN_TIMEOUT_S = 5.0


class EtcdError(Exception):
    """etcd answered with an error; ``status`` is the HTTP status that stands for its kind."""

    def __init__(self, text: str, status: int) -> None:
        super().__init__(text)
        self.text = text
        self.status = status


class Transport(Protocol):
    """A way to etcd's v3 API; its constructor raises ValueError when the certificates cannot be used."""

    def endpoint(self, url: str) -> Endpoint: ...

    async def close(self) -> None: ...


class Endpoint(ABC):
    """``url`` without a slash at its end. Simple tokens are known to one member only: each endpoint has its own."""

    def __init__(self, url: str, settings: EtcdSettings) -> None:
        self.url = url
        self._login: Json | None = None
        if settings.username is not None:
            self._login = {"name": settings.username, "password": settings.password or ""}
        self._token: str | None = None if self._login else _NO_TOKEN
        self._logging_in: asyncio.Task[None] | None = None

    # --- what a transport does; paths and bodies are those of the JSON gateway ---

    @abstractmethod
    async def _send(self, path: str, body: Json, token: str, timeout: float, one: Try) -> Json:
        """One request, one answer; EtcdError, or OSError or ValueError when there is none that makes sense."""

    @abstractmethod
    def _listen(self, path: str, body: Json, token: str) -> AsyncGenerator[list[Json], None]:
        """One request and the messages that answer it, each time something came; errors as of ``_send``."""

    @abstractmethod
    def _troubled(self) -> None:
        """A connection failed: the certificates may be others now."""

    # --- what all have in common ---

    def close(self) -> None:
        """Give up a login under way."""
        if self._logging_in is not None:
            self._logging_in.cancel()

    async def call(self, path: str, body: Json, read: Callable[[Json], T], timeout: float, one: Try) -> T:
        """Ask and read the answer; one of the three failures otherwise, with endpoint and time in its text."""
        loop = asyncio.get_running_loop()
        begun_at = loop.time()
        one.place = self.url
        try:
            return read(await self._answer(path, body, timeout, one))
        except PortError as error:
            raise type(error)(f"{self.url} after {loop.time() - begun_at:.2f} s: {error}") from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            kind = Unknown if one.sent else Unreachable
            self._troubled()
            raise kind(f"{self.url} after {loop.time() - begun_at:.2f} s: {described(error)}") from None

    async def stream(self, path: str, body: Json, silence: Callable[[], float], heard: Callable[[Json], None]) -> None:
        """Ask and hand on each message of the answer until it ends; Unreachable then.

        Also Unreachable when nothing comes for ``silence()`` seconds, which is asked before each wait.
        """
        try:
            await self._hear(path, body, silence, heard)
        except PortError as error:
            self._doubt_token(str(error))
            raise type(error)(f"{self.url}: {error}") from None
        except EtcdError as error:
            self._doubt_token(error.text)
            raise Unreachable(f"{self.url}: {errors.explained(error.text)}") from None
        except TimeoutError:
            raise Unreachable(f"{self.url}: the stream was silent for {silence():.1f} s") from None
        except OSError as error:
            self._troubled()
            raise Unreachable(f"{self.url}: {described(error)}") from None
        except ValueError as error:
            raise Unreachable(f"{self.url}: a stream makes no sense: {error}") from None
        raise Unreachable(f"{self.url}: etcd ended the stream")

    async def _hear(self, path: str, body: Json, silence: Callable[[], float], heard: Callable[[Json], None]) -> None:
        async with asyncio.timeout(silence()):
            token = await self._known_by()
        async with aclosing(self._listen(path, body, token)) as listening:
            while True:
                async with asyncio.timeout(silence()):
                    messages = await anext(listening, None)
                if messages is None:
                    return
                for message in messages:
                    heard(message)

    async def _answer(self, path: str, body: Json, timeout: float, one: Try) -> Json:
        """One answer; a token that etcd no longer knows is replaced once."""
        for last in (False, True):
            token = await self._known_by()
            try:
                return await self._send(path, body, token, timeout, one)
            except EtcdError as error:
                if last or self._login is None or not errors.wants_login(error.text):
                    raise errors.failure(error.text, error.status)(errors.explained(error.text)) from None
            one.sent = False
            self._forget(token)
        raise AssertionError("the last try answers or raises")

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
        try:
            told = await self._send("/v3/auth/authenticate", self._login or {}, _NO_TOKEN, LOGIN_TIMEOUT_S, Try(0))
            self._token = str(told["token"])
        except EtcdError as error:
            if "authentication is not enabled" not in error.text:
                kind = Denied if 400 <= error.status < 500 else Unreachable
                raise kind(f"login failed: {errors.explained(error.text)}") from None
            self._token = _NO_TOKEN
        except (ValueError, KeyError) as error:
            raise Unreachable(f"the answer to a login makes no sense: {error!r}") from None

    def _doubt_token(self, text: str) -> None:
        """A watch was ended: etcd says "permission denied" of a token that expired."""
        if errors.wants_login(text) or "permission denied" in text:
            self._forget(self._token)

    def _forget(self, token: str | None) -> None:
        """This token is no good; a newer one stays."""
        if self._login is not None and self._token == token:
            self._token = None


def described(error: Exception) -> str:
    """An exception in words; some have none of their own."""
    if isinstance(error, TimeoutError):
        return "no answer"
    return f"{error}" or type(error).__name__
