"""A few small facts in one file of the state directory."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from haagent.host.threads import in_thread

log = logging.getLogger("haagent.store")

PATIENCE_S = 1.0
"""How long is waited for the disk; what could not be written yet is written once the disk answers."""


class FileStore:
    """Implements ``ports.LocalStore``.

    The file is replaced atomically but not synced: what it says is of no use after the machine has failed.
    """

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / "agent.json"
        self._values: Mapping[str, Any] | None = None
        self._turn = threading.Lock()
        self._next: asyncio.Future[bool] | None = None
        """The write that has not begun yet: it will take whatever is kept until then."""

    def load(self) -> Mapping[str, Any]:
        """What is kept; nothing when the file is missing or unreadable. Reads the file the first time."""
        if self._values is None:
            self._values = self._read()
        return self._values

    def _read(self) -> Mapping[str, Any]:
        try:
            found = json.loads(self._path.read_text())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as why:
            log.warning("%s can't be read (%s): the lease of an earlier agent is not gone on with", self._path, why)
            return {}
        return found if isinstance(found, dict) else {}

    async def keep(self, **values: object) -> bool:
        """Remember these besides what is held, None forgets one; a failure is logged. Whether it is on the disk."""
        self._values = {name: value for name, value in {**self.load(), **values}.items() if value is not None}
        if self._next is None:
            self._next = asyncio.ensure_future(in_thread(self._write))
        try:
            async with asyncio.timeout(PATIENCE_S):
                return await asyncio.shield(self._next)
        except TimeoutError:
            log.warning("%s is not written after %g s: its disk hangs or is very slow", self._path, PATIENCE_S)
        return False

    def _write(self) -> bool:
        """Write the newest values, whichever call this is of."""
        with self._turn:
            self._next = None
            fresh = self._path.with_suffix(".new")
            try:
                descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
                with os.fdopen(descriptor, "w") as file:
                    json.dump(dict(self._values or {}), file)
                fresh.replace(self._path)
            except OSError as why:
                log.warning("%s can't be written: %s", self._path, why)
                return False
        return True
