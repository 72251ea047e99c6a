"""How a test's own asyncio server stops listening."""

from __future__ import annotations

import asyncio


async def stop_listening(server: asyncio.Server) -> None:
    """Close the server once all that it accepted is connected: a server that closes earlier leaks those sockets.

    Connections stay open, and their callbacks have begun when this returns.
    """
    for listening in server.sockets:
        asyncio.get_running_loop().remove_reader(listening.fileno())
    await asyncio.sleep(0.02)
    server.close()
