"""A TCP relay before one etcd member over which every piece of data takes its drawn time, in both directions."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Coroutine
from urllib.parse import urlsplit


class Relay:
    """``delay_s`` is the least and the most that a piece takes one way; pieces stay in their order."""

    def __init__(self, target: str, delay_s: tuple[float, float], chance: random.Random) -> None:
        parts = urlsplit(target)
        self._host, self._port = parts.hostname, parts.port
        self._delay_s, self._chance = delay_s, chance
        self._tasks: set[asyncio.Task[None]] = set()
        self.url = ""

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[Relay]:
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
        try:
            there_reader, there_writer = await asyncio.open_connection(self._host, self._port)
        except OSError:
            writer.close()
            return
        self._start(self._pump(reader, there_writer))
        self._start(self._pump(there_reader, writer))

    def _start(self, pumping: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(pumping)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _pump(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        """Read at once, and write each piece when it is due: several are on their way together."""
        loop = asyncio.get_running_loop()
        under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

        async def deliver() -> None:
            with contextlib.closing(target), contextlib.suppress(OSError):
                while True:
                    due_at, data = await under_way.get()
                    await asyncio.sleep(due_at - loop.time())
                    if not data:
                        return
                    target.write(data)
                    await target.drain()

        self._start(deliver())
        data = b"?"
        while data:
            try:
                data = await source.read(65536)
            except OSError:
                data = b""
            under_way.put_nowait((loop.time() + self._chance.uniform(*self._delay_s), data))
