"""A TCP relay before one etcd member over which every piece of data takes its drawn time, in both directions."""

from __future__ import annotations

import asyncio
import contextlib
import random

from tests.contract.dcs.wire import Wire


class Relay(Wire):
    """``delay_s`` is the least and the most that a piece takes one way, none at first; pieces stay in their order."""

    def __init__(self, target: str, chance: random.Random) -> None:
        super().__init__(target)
        self.delay_s = (0.0, 0.0)
        self._chance = chance

    async def _ask(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
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
            under_way.put_nowait((loop.time() + self._chance.uniform(*self.delay_s), data))

    _answer = _ask
