"""Names of etcd's hosts to addresses, from memory: only the very first look-up of a name is waited for.

Later ones are answered with the last good addresses, which are refreshed behind the caller's back, so that neither a
slow nor a broken resolver is ever on the lease path.
"""

from __future__ import annotations

import asyncio
import logging
import socket

from aiohttp.abc import AbstractResolver, ResolveResult

log = logging.getLogger(__name__)

FRESH_S = 10.0
"""Addresses younger than this are not looked up again."""

_Name = tuple[str, int, socket.AddressFamily]


class RememberingResolver(AbstractResolver):
    """Remembers what another resolver last answered."""

    def __init__(self, resolver: AbstractResolver) -> None:
        self._resolver = resolver
        self._known: dict[_Name, tuple[float, list[ResolveResult]]] = {}
        self._asking: dict[_Name, asyncio.Task[list[ResolveResult]]] = {}

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        name = (host, port, family)
        known = self._known.get(name)
        if known is None:
            return await asyncio.shield(self._ask(name))
        if asyncio.get_running_loop().time() - known[0] > FRESH_S:
            self._ask(name)
        return known[1]

    async def close(self) -> None:
        for task in self._asking.values():
            task.cancel()
        await self._resolver.close()

    def _ask(self, name: _Name) -> asyncio.Task[list[ResolveResult]]:
        task = self._asking.get(name)
        if task is None:
            task = self._asking[name] = asyncio.create_task(self._look_up(name))
            task.add_done_callback(lambda ended: self._ended(name, ended))
        return task

    async def _look_up(self, name: _Name) -> list[ResolveResult]:
        found = await self._resolver.resolve(*name)
        self._known[name] = (asyncio.get_running_loop().time(), found)
        return found

    def _ended(self, name: _Name, task: asyncio.Task[list[ResolveResult]]) -> None:
        del self._asking[name]
        if not task.cancelled() and task.exception() is not None and name in self._known:
            log.warning("%s cannot be resolved, its last good addresses are used: %s", name[0], task.exception())
