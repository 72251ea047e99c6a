"""A TCP proxy before one etcd member that hands requests on and loses the answers to some."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine
from urllib.parse import urlsplit


class Proxy:
    """``lose`` answers are read and thrown away, the connection staying open and silent; then all pass again."""

    def __init__(self, target: str) -> None:
        parts = urlsplit(target)
        self._host, self._port = parts.hostname, parts.port
        self._tasks: set[asyncio.Task[None]] = set()
        self.url = ""
        self.lose = 0
        self.lost = 0

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[Proxy]:
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection(self._host, self._port)
        self._start(self._pump(reader, there_writer))
        self._start(self._answers(there_reader, writer))

    def _start(self, pumping: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(pumping)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    @staticmethod
    async def _pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with contextlib.closing(target), contextlib.suppress(OSError):
            while data := await source.read(65536):
                target.write(data)
                await target.drain()

    async def _answers(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        silent = False
        with contextlib.closing(target), contextlib.suppress(OSError):
            while data := await source.read(65536):
                if self.lose > 0 and not silent:
                    self.lose -= 1
                    self.lost += 1
                    silent = True
                if not silent:
                    target.write(data)
                    await target.drain()
