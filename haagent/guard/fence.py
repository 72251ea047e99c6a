"""The commit fence from the agent's side: whether PostgreSQL can load it, and the page that it reads.

The page lies on a tmpfs, so that writing to it never waits for a disk.
"""

from __future__ import annotations

import hashlib
import logging
import os
import subprocess
from dataclasses import replace
from pathlib import Path

from haagent.core.facts import FenceFacts
from haagent.core.terms import Instant, Term
from haagent.guard.page import Page

log = logging.getLogger("haagent.fence")

LIBRARY = "haagent_fence.so"
PG_CONFIG_TIMEOUT_S = 5.0
SHARED_MEMORY = Path("/dev/shm")


class CommitFence:
    """Implements ``ports.Fence``; ``mode`` is ``auto``, ``required`` or ``off``."""

    def __init__(self, mode: str, data_dir: Path, bin_dir: Path | None, state_dir: Path) -> None:
        digest = hashlib.sha256(os.fsencode(data_dir.resolve())).hexdigest()[:16]
        home = SHARED_MEMORY if os.access(SHARED_MEMORY, os.W_OK) else state_dir
        path = home / f"haagent-{os.getuid()}-{digest}.page"
        self._page: Page | None = None
        self._facts = FenceFacts(mode, page=str(path))
        if mode == "off":
            return
        try:
            library = _library(bin_dir)
            if library is None:
                self._facts = replace(self._facts, why=f"{LIBRARY} is not installed for this PostgreSQL")
                return
            self._page = Page(path)
        except OSError as error:
            self._facts = replace(self._facts, why=f"its page can't be used: {error}")
            log.warning("the commit fence is not used: %s", self._facts.why)
            return
        self._facts = replace(self._facts, installed=True)

    def facts(self) -> FenceFacts:
        return self._facts

    def permit(self, term: Term, until: Instant) -> None:
        """Commits are accepted until then; infinity has no end. A store to memory: it never blocks."""
        if self._page is not None:
            self._page.permit(int(term), until)

    def refuse(self, term: Term) -> None:
        """No commit is accepted from now on."""
        if self._page is not None:
            self._page.refuse(int(term))

    def without_end(self) -> bool:
        """Whether the permit that stands, perhaps since a pause under an earlier agent, has no end."""
        return self._page is not None and self._page.without_end()


def installed(bin_dir: Path | None) -> bool:
    """Whether PostgreSQL could load the fence; asks pg_config, so run it in a thread."""
    return _library(bin_dir) is not None


def _library(bin_dir: Path | None) -> Path | None:
    """Where PostgreSQL would load the fence from, if it is there."""
    program = str(bin_dir / "pg_config") if bin_dir else "pg_config"
    try:
        done = subprocess.run(
            [program, "--pkglibdir"], capture_output=True, text=True, timeout=PG_CONFIG_TIMEOUT_S, check=True
        )
        folder = Path(done.stdout.strip())
    except (OSError, subprocess.SubprocessError):
        if bin_dir is None:
            return None
        folder = bin_dir.parent / "lib"
    found = folder / LIBRARY
    return found if found.is_file() else None
