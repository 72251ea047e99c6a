"""A TCP proxy before one etcd member that hands requests on and loses the answers to some."""

from __future__ import annotations

import asyncio
import contextlib

from tests.contract.dcs.wire import Wire


class Proxy(Wire):
    """``lose`` answers are read and thrown away, the connection staying open and silent; then all pass again."""

    def __init__(self, target: str) -> None:
        super().__init__(target)
        self.lose = 0
        self.lost = 0

    async def _ask(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with contextlib.closing(target), contextlib.suppress(OSError):
            while data := await source.read(65536):
                target.write(data)
                await target.drain()

    async def _answer(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
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
