"""etcd's v3 API through gRPC, by python-etcd3 (PyPI ``etcd3``, the extra ``haagent[grpc]``).

Of that library only the client of one endpoint is used, for its channel: its watcher, its login, its locks and its
retries are not. Protobuf's JSON mapping makes of ``wire``'s bodies messages, and of messages what the gateway answers.

Law: no two calls under way share a connection, as one that went silent would take the others along; a connection that
left a call unanswered is not used again before it has answered a harmless question.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import os
import sys
import threading
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

# gRPC's own preparation for fork is not needed, as children are made by vfork and exec, and it waits for its threads.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

import grpc
from google.protobuf import json_format
from google.protobuf.message import Message

from haagent.dcs import etcdrpc
from haagent.dcs.endpoint import Endpoint, EtcdError
from haagent.dcs.race import Try
from haagent.dcs.settings import EtcdSettings
from haagent.dcs.tls import Files, context_of
from haagent.dcs.wire import Json
from haagent.host.names import Names

sys.modules["etcd3.etcdrpc"] = etcdrpc
etcd3: Any = importlib.import_module("etcd3")

_OPTIONS = {
    "grpc.use_local_subchannel_pool": 1,
    "grpc.enable_retries": 0,
    "grpc.enable_http_proxy": 0,
    "grpc.keepalive_time_ms": 6000,
    "grpc.keepalive_timeout_ms": 5000,
    "grpc.http2.ping_timeout_ms": 5000,
    "grpc.http2.bdp_probe": 0,
    "grpc.keepalive_permit_without_calls": 1,
    "grpc.http2.max_pings_without_data": 0,
    "grpc.initial_reconnect_backoff_ms": 200,
    "grpc.min_reconnect_backoff_ms": 5000,
    "grpc.max_reconnect_backoff_ms": 5000,
}
"""etcd ends connections that ping more often than every 5 s. A slow road may need seconds for a connection or a ping's
answer; what leads nowhere ends with its call, or with a watch's silence."""

_STATUS = {
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.FAILED_PRECONDITION: 412,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.OUT_OF_RANGE: 400,
    grpc.StatusCode.UNIMPLEMENTED: 404,
}
_BROKEN = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED}
"""Said by gRPC itself, unless etcd's name stands before the text."""
_NEVER_SENT = "failed to connect"
IDLE_MOST = 3
"""Connections kept open between calls: a renewal and a look at the keys may be under way at once."""
EXAMINE_S = 5.0


class Rpc:
    """The transport; ValueError when the certificates cannot be used."""

    def __init__(self, settings: EtcdSettings) -> None:
        self._settings = settings
        self._tls = Credentials(settings)
        self._names = Names()

    def endpoint(self, url: str) -> Endpoint:
        if url.startswith("https:") and self._settings.cacert is None:
            raise ValueError(f"gRPC verifies every server: for {url}, etcd3.transport: grpc needs etcd3.cacert")
        return RpcEndpoint(url, self._settings, self._tls, self._names)

    async def close(self) -> None:
        await self._tls.files.close()
        await self._names.close()


class Credentials:
    """The certificates for new connections, in memory; None without any."""

    def __init__(self, settings: EtcdSettings) -> None:
        self._settings = settings
        self.present: grpc.ChannelCredentials | None = None
        self.files = Files(settings, self._load)

    def _load(self) -> None:
        given = self._settings
        if given.cacert is None:
            return
        context_of(given)  # gRPC itself would complain of useless files only when it connects
        key = given.key or given.cert
        texts = [None if path is None else Path(path).read_bytes() for path in (given.cacert, key, given.cert)]
        self.present = grpc.ssl_channel_credentials(*texts)


class RpcEndpoint(Endpoint):
    """One member."""

    def __init__(self, url: str, settings: EtcdSettings, tls: Credentials, names: Names) -> None:
        super().__init__(url, settings)
        self._tls = tls
        self._names = names
        self._place = urlsplit(url)
        self._idle: list[_Connection] = []
        self._examined: set[asyncio.Task[None]] = set()
        self._closed = False

    def close(self) -> None:
        super().close()
        self._closed = True
        for task in self._examined:
            task.cancel()
        while self._idle:
            self._idle.pop().close()

    async def _send(self, path: str, body: Json, token: str, timeout: float, one: Try) -> Json:
        method = etcdrpc.METHODS[path]
        request = json_format.ParseDict(dict(body), method.request())
        connection = await self._take()
        try:
            one.sent = True
            reply = await connection.ask(method, request, token, timeout)
        except EtcdError:
            self._give_back(connection)
            raise
        except ConnectionError as error:
            connection.close()
            one.sent = _NEVER_SENT not in str(error)
            raise
        except asyncio.CancelledError:
            self._examine(connection)
            raise
        self._give_back(connection)
        return {"result": _json(reply)} if method.streams else _json(reply)

    async def _listen(self, path: str, body: Json, token: str) -> AsyncGenerator[list[Json], None]:
        method = etcdrpc.METHODS[path]
        request = json_format.ParseDict(dict(body), method.request())
        connection = await self._take()
        with contextlib.closing(connection):
            async for message in connection.listen(method, request, token):
                yield [{"result": _json(message)}]

    def _troubled(self) -> None:
        self._tls.files.look(soon=True)

    async def _take(self) -> _Connection:
        """A connection that nobody uses, to where the name leads now, under the certificates of now."""
        self._tls.files.look()
        host, port = self._place.hostname or "", self._place.port or 2379
        address = await self._names.address(host, port)
        if self._closed:
            raise OSError("this client of etcd was closed")
        present = (address, self._tls.files.stamp)
        while self._idle:
            connection = self._idle.pop()
            if connection.made_for == present:
                return connection
            connection.close()
        credentials = self._tls.present if self._place.scheme == "https" else None
        return _Connection(credentials, address, host, port, present)

    def _examine(self, connection: _Connection) -> None:
        """Its call was given up: on a slow road it is good all the same, and worth more than a new one."""
        if self._closed or len(self._examined) >= IDLE_MOST:
            connection.close()
            return
        task = asyncio.create_task(self._ask_whether_it_lives(connection))
        self._examined.add(task)
        task.add_done_callback(self._examined.discard)

    async def _ask_whether_it_lives(self, connection: _Connection) -> None:
        method = etcdrpc.METHODS["/v3/cluster/member/list"]
        try:
            await connection.ask(method, method.request(), self._token or "", EXAMINE_S)
        except EtcdError:
            pass  # whoever refuses lives
        except BaseException as error:
            connection.close()
            if isinstance(error, ConnectionError):
                return
            raise
        self._give_back(connection)

    def _give_back(self, connection: _Connection) -> None:
        if self._closed or len(self._idle) >= IDLE_MOST:
            connection.close()
        else:
            self._idle.append(connection)


class _Client(etcd3.Etcd3Client):  # type: ignore[misc]
    """A client of python-etcd3 that takes certificates from memory: a connection waits for no disk."""

    def __init__(self, credentials: grpc.ChannelCredentials | None, **options: Any) -> None:
        self._credentials = credentials
        super().__init__(ca_cert=None if credentials is None else "in memory", **options)

    def _get_secure_creds(self, *_: object) -> grpc.ChannelCredentials | None:
        return self._credentials


class _Connection:
    """A client of python-etcd3 with a connection of its own."""

    def __init__(
        self, credentials: grpc.ChannelCredentials | None, address: str, name: str, port: int, made_for: object
    ) -> None:
        self.made_for = made_for
        options = {**_OPTIONS, "grpc.default_authority": f"{name}:{port}"}
        if credentials is not None:
            options["grpc.ssl_target_name_override"] = name
        self._client = _Client(
            credentials,
            host=f"[{address}]" if ":" in address else address,
            port=port,
            grpc_options=list(options.items()),
        )

    def close(self) -> None:
        self._client.close()

    async def ask(self, method: etcdrpc.Method, request: Message, token: str, timeout: float) -> Message:
        """The answer; EtcdError, or ConnectionError."""
        loop = asyncio.get_running_loop()
        answered = loop.create_future()

        def settle() -> None:
            if not answered.done():
                answered.set_result(None)

        call = method.single(self._client.channel).future(request, timeout=timeout, metadata=_metadata(token))
        call.add_done_callback(lambda _: _hand_over(loop, settle))
        try:
            await answered
            reply: Message = call.result()
            return reply
        except grpc.RpcError as error:
            raise _translated(error) from None
        finally:
            call.cancel()

    async def listen(self, method: etcdrpc.Method, request: Message, token: str) -> AsyncGenerator[Message, None]:
        """The answers, until etcd ends them; EtcdError, or ConnectionError."""
        loop = asyncio.get_running_loop()
        came: asyncio.Queue[Message | grpc.RpcError | None] = asyncio.Queue()
        metadata = (*_metadata(token), ("hasleader", "true"))
        call = method.many(self._client.channel)(request, metadata=metadata)

        def wait_for_all() -> None:
            try:
                for message in call:
                    _hand_over(loop, came.put_nowait, message)
                _hand_over(loop, came.put_nowait, None)
            except grpc.RpcError as error:
                _hand_over(loop, came.put_nowait, error)

        threading.Thread(target=wait_for_all, name="etcd watch", daemon=True).start()
        try:
            while (item := await came.get()) is not None:
                if isinstance(item, grpc.RpcError):
                    raise _translated(item)
                yield item
        finally:
            call.cancel()


def _hand_over(loop: asyncio.AbstractEventLoop, call: Any, *arguments: object) -> None:
    """From gRPC's threads to the loop; a loop that was closed wants nothing more."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(call, *arguments)


def _metadata(token: str) -> tuple[tuple[str, str], ...]:
    return (("token", token),) if token else ()


def _json(message: Message) -> Json:
    answer: Json = json_format.MessageToDict(message, preserving_proto_field_name=True)
    return answer


def _translated(error: Any) -> Exception:
    code, text = error.code(), error.details() or ""
    if code in _BROKEN and not text.startswith("etcdserver"):
        return ConnectionError("no answer" if code is grpc.StatusCode.DEADLINE_EXCEEDED else text or code.name)
    return EtcdError(text or code.name, 503 if code in _BROKEN else _STATUS.get(code, 500))
