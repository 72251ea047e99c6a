"""A server in a thread of its own, for clients that block or are other processes."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading

from tests.unit.rest.conftest import Node


class Served:
    """A server in a thread of its own, for clients that block."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self.node.start(), self._loop).result(10)

    def close(self) -> None:
        assert self.node.server is not None
        asyncio.run_coroutine_threadsafe(self.node.server.stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def told(self, sent: bytes, half_close: bool = False) -> bytes:
        """All that comes back; TimeoutError when the end of it does not come."""
        chunks = []
        place = ("127.0.0.1", self.node.port)
        with contextlib.suppress(ConnectionError), socket.create_connection(place, timeout=5) as one:
            one.sendall(sent)
            if half_close:
                one.shutdown(socket.SHUT_WR)
            while chunk := one.recv(65536):
                chunks.append(chunk)
        return b"".join(chunks)
