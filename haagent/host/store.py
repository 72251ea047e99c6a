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

log = logging.getLogger("haagent.store")

PATIENCE_S = 1.0
"""How long a save waits for the disk; what it could not write yet is written once the disk answers."""


class FileStore:
    """Implements ``ports.LocalStore``.

    The file is replaced atomically but not synced: what it says is of no use after the machine has failed.
    """

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / "agent.json"
        self._values: Mapping[str, Any] | None = None
        self._turn = threading.Lock()

    def load(self) -> Mapping[str, Any]:
        """What was saved last; nothing when the file is missing or unreadable. Reads the file the first time."""
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

    async def save(self, values: Mapping[str, Any]) -> bool:
        """Replace them all; a failure is logged: the cost is a failover at the agent's next restart."""
        self._values = dict(values)
        loop, written = asyncio.get_running_loop(), asyncio.Event()
        done = False

        def work() -> None:
            nonlocal done
            done = self._write()
            if not loop.is_closed():
                loop.call_soon_threadsafe(written.set)

        threading.Thread(target=work, name="haagent-store", daemon=True).start()
        try:
            async with asyncio.timeout(PATIENCE_S):
                await written.wait()
        except TimeoutError:
            log.warning("%s is not written after %g s: its disk hangs or is very slow", self._path, PATIENCE_S)
        return done

    def _write(self) -> bool:
        """Write the newest values, whichever save this is."""
        with self._turn:
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
