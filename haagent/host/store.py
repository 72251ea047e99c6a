"""A few small facts in one file of the state directory."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

log = logging.getLogger("haagent.store")


class FileStore:
    """Implements ``ports.LocalStore``.

    The file is replaced atomically but not synced: what it says is of no use after the machine has failed.
    """

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / "agent.json"

    def load(self) -> Mapping[str, Any]:
        """What was saved last; nothing when the file is missing or unreadable."""
        try:
            found = json.loads(self._path.read_text())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as why:
            log.warning("%s can't be read (%s): the lease of an earlier agent is not gone on with", self._path, why)
            return {}
        return found if isinstance(found, dict) else {}

    def save(self, values: Mapping[str, Any]) -> None:
        """Replace them all; a failure is logged: the cost is a failover at the agent's next restart."""
        fresh = self._path.with_suffix(".new")
        try:
            descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w") as file:
                json.dump(dict(values), file)
            fresh.replace(self._path)
        except OSError as why:
            log.warning("%s can't be written: %s", self._path, why)
