"""A FIFO in place of a node's watchdog device, and whoever listens to it in place of the kernel."""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from tests.real.node import Node


class Listener:
    """All that was said to the device so far."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._end = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        self._heard = ""

    def heard(self) -> str:
        with contextlib.suppress(BlockingIOError):
            self._heard += os.read(self._end, 1 << 20).decode()
        return self._heard

    @property
    def timeouts(self) -> list[int]:
        """The timeouts that were asked for."""
        return [int(seconds) for seconds in re.findall(r"Ctimeout=(\d+)\n", self.heard())]

    @property
    def beats(self) -> int:
        """How many keepalives came."""
        return re.sub(r"Ctimeout=\d+\n", "", self.heard()).count("1")

    def stopped(self) -> bool:
        """Whether the last word was the magic close."""
        return self.heard().endswith("V")

    def close(self) -> None:
        os.close(self._end)


@contextlib.contextmanager
def watched(node: Node, mode: str = "required", safety_margin: int = 1) -> Iterator[Listener]:
    """The node has a watchdog device, by a reload, as long as the block runs."""
    path = node.place.directory / "watchdog"
    if not path.exists() or not stat.S_ISFIFO(path.stat().st_mode):
        os.mkfifo(path)
    node.own(path)
    listener = Listener(path)
    settings = {"mode": mode, "device": str(path), "driver": "testing", "safety_margin": safety_margin}
    node.sections["watchdog"] = settings
    node.write_config()
    node.reload()
    try:
        yield listener
    finally:
        del node.sections["watchdog"]
        node.write_config()
        node.reload()
        listener.close()
