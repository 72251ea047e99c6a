"""How an asyncio server stops listening without losing a connection that it has accepted."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable


async def stop_listening(servers: Iterable[asyncio.Server]) -> None:
    """Close the listeners, and leave their connections open, those accepted in this very turn of the loop too.

    asyncio connects what it has accepted in the loop's next turn; a listener that closes before then leaves such a
    connection without an answer. So no more are accepted for that turn.
    """
    closing = list(servers)
    loop = asyncio.get_running_loop()
    for listening in (one for server in closing for one in server.sockets):
        loop.remove_reader(listening.fileno())
    await asyncio.sleep(0)
    for server in closing:
        server.close()
