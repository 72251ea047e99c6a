"""A TCP server before one etcd member that hands data on in both directions, each in the way of its kind."""

from __future__ import annotations

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Coroutine
from typing import Self
from urllib.parse import urlsplit

from haagent.host.listening import stop_listening


class Wire(ABC):
    """Listens on a port of its own while it serves; ``url`` tells where."""

    def __init__(self, target: str) -> None:
        parts = urlsplit(target)
        self._host, self._port = parts.hostname, parts.port
        self._tasks: set[asyncio.Task[None]] = set()
        self._ends: set[asyncio.StreamWriter] = set()
        self._over = False
        self.url = ""

    @abstractmethod
    async def _ask(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        """Hand on what a client sends."""

    @abstractmethod
    async def _answer(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        """Hand on what the member answers."""

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[Self]:
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            self._over = True
            await stop_listening([server])
            await asyncio.sleep(0.02)  # for what was accepted last: it is known once its callback has run
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            for end in self._ends:
                end.transport.abort()
            await asyncio.gather(*(end.wait_closed() for end in self._ends), return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._ends.add(writer)
        if self._over:
            return
        self._start(self._hand_on(reader, writer))

    async def _hand_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there_reader, there_writer = await asyncio.open_connection(self._host, self._port)
        except OSError:
            writer.close()
            return
        self._ends.add(there_writer)
        self._start(self._ask(reader, there_writer))
        self._start(self._answer(there_reader, writer))

    def _start(self, pumping: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(pumping)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
