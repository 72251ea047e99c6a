"""Where the data directory lay when it last held a cluster, so that nothing is built into a bare mount point.

The rule: the mount point above the data directory is noted while data is there. If later the directory is missing or
empty and that mount point is none any more, the disk is not mounted: the place is left alone until it is.
"""

from __future__ import annotations

import os
from pathlib import Path

from haagent.postgres.files import read_text, write_atomically
from haagent.postgres.settings import PostgresSettings

FILE = "mounted-at"


def mount_point(path: Path) -> str:
    """The mount point on which a path lies, or would lie. Blocking."""
    place = os.path.realpath(path)
    while not os.path.ismount(place):
        place = os.path.dirname(place)
    return place


class Place:
    """What is known of the data directory's mount point; all methods block."""

    def __init__(self) -> None:
        self._known: str | None = None

    def note(self, settings: PostgresSettings) -> None:
        """Data is there: remember its mount point, durably if the disk takes it."""
        here = mount_point(settings.data_dir)
        if here == self._recall(settings):
            return
        self._known = here
        try:
            settings.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_atomically(settings.state_dir / FILE, here + "\n")
        except OSError:
            return  # it is remembered here, and noted at the next start

    def missing(self, settings: PostgresSettings) -> str:
        """Why nothing may be built in the data directory: its file system is not there; empty when it is."""
        known = self._recall(settings)
        if known is None or os.path.ismount(known):
            return ""
        note = settings.state_dir / FILE
        return (
            f"the data of {settings.data_dir} lay on a file system mounted at {known}, which is not mounted now: mount "
            f"it, or if the data is to be given up, remove {note} and start the agent anew"
        )

    def _recall(self, settings: PostgresSettings) -> str | None:
        if self._known is None:
            text = read_text(settings.state_dir / FILE)
            self._known = text.strip() or None if text is not None else None
        return self._known
