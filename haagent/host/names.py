"""Names of hosts to addresses, from memory: only the very first look-up of a name is waited for.

Later ones are answered with the last good addresses, which are refreshed behind the caller's back, so that neither a
slow nor a broken resolver is ever on the lease path, and no hanging one takes the threads that other work needs.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import socket
import threading
from collections.abc import Callable

from aiohttp.abc import AbstractResolver, ResolveResult

log = logging.getLogger(__name__)

FRESH_S = 10.0
"""Addresses younger than this are not looked up again."""

_Name = tuple[str, int, socket.AddressFamily]


class ThreadResolver(AbstractResolver):
    """The system's resolver, each question in a thread of its own: one that hangs keeps no other work waiting."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        loop = asyncio.get_running_loop()
        answered: asyncio.Future[list[ResolveResult]] = loop.create_future()

        def tell(call: Callable[[], None]) -> None:
            with contextlib.suppress(RuntimeError):  # nobody waits any more
                loop.call_soon_threadsafe(lambda: None if answered.done() else call())

        def ask() -> None:
            try:
                found = _looked_up(host, port, family)
                tell(lambda: answered.set_result(found))
            except OSError as error:
                refusal = OSError(error.errno, f"{host}: {error.strerror or error}")
                tell(lambda: answered.set_exception(refusal))

        threading.Thread(target=ask, name=f"look up {host}", daemon=True).start()
        return await answered

    async def close(self) -> None:
        """Threads that still wait for an answer end with it."""


def _looked_up(host: str, port: int, family: socket.AddressFamily) -> list[ResolveResult]:
    answers = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    return [
        ResolveResult(
            hostname=host, host=str(address[0]), port=port, family=kind, proto=proto, flags=socket.AI_NUMERICHOST
        )
        for kind, _, proto, _, address in answers
    ]


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
        known = self._known.get(name)
        if known is not None and {one["host"] for one in known[1]} != {one["host"] for one in found}:
            log.info("%s has other addresses now: %s", name[0], ", ".join(one["host"] for one in found))
        self._known[name] = (asyncio.get_running_loop().time(), found)
        return found

    def _ended(self, name: _Name, task: asyncio.Task[list[ResolveResult]]) -> None:
        del self._asking[name]
        if not task.cancelled() and task.exception() is not None and name in self._known:
            log.warning("%s cannot be resolved, its last good addresses are used: %s", name[0], task.exception())


class Names:
    """The address of a host, given as a name or as an address already."""

    def __init__(self) -> None:
        self._resolver = RememberingResolver(ThreadResolver())

    async def address(self, host: str, port: int) -> str:
        """OSError when the name cannot be resolved."""
        try:
            return str(ipaddress.ip_address(host))
        except ValueError:
            return (await self._resolver.resolve(host, port, socket.AddressFamily.AF_UNSPEC))[0]["host"]

    async def close(self) -> None:
        await self._resolver.close()
