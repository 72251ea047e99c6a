"""A stop in good order waits for the operator's program, for its time, and not when something else is done."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from haagent.agent.stopping import Stopping
from haagent.ports import Unknown


class Server:
    """A Postgres port of which only the stop and the hook are used."""

    def __init__(self, hook_s: float) -> None:
        self.hook_s = hook_s
        self.done: list[str] = []

    async def run_hook(self, command: str, arguments: Sequence[str], timeout: float) -> int:
        self.done.append(f"{command} begins")
        try:
            await asyncio.sleep(min(self.hook_s, timeout))
        except asyncio.CancelledError:
            self.done.append("killed")
            raise
        if self.hook_s > timeout:
            raise Unknown("too slow")
        self.done.append("ended")
        return 1

    async def stop(self, mode: str) -> None:
        self.done.append(mode)


@pytest.mark.parametrize(("hook_s", "told"), [(0.02, ["x begins", "ended", "fast"]), (9.0, ["x begins", "fast"])])
async def test_the_stop_comes_after_the_program_or_its_time(hook_s: float, told: list[str]) -> None:
    server: Any = Server(hook_s)
    Stopping(server).after("x", 0.1)
    await asyncio.sleep(0.3)
    assert server.done == told


async def test_what_is_done_meanwhile_ends_the_program_and_the_stop() -> None:
    server: Any = Server(0.1)
    stopping = Stopping(server)
    stopping.after("x", 1.0)
    await asyncio.sleep(0.02)
    stopping.forget()
    await asyncio.sleep(0.2)
    assert server.done == ["x begins", "killed"]
    stopping.forget()
