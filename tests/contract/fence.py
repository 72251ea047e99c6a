"""The commit fence built from its source and put under a real server, with a page that the test writes."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from haagent.guard.page import Page
from tests.contract.server import Server, copy_of, postgres_bin
from tests.real.waiting import now, wait_until

SOURCE = Path(__file__).parents[2] / "fence"
TERM = 7
LONG_S = 600.0


def pg_config() -> str:
    """The one beside the server under test, or Debian's, which has no versioned one for development files."""
    beside = postgres_bin() / "pg_config"
    return str(beside) if beside.exists() else "pg_config"


def build(place: Path) -> Path:
    """Compile the library outside the source tree, warnings forbidden; its path."""
    for name in ("Makefile", "haagent_fence.c"):
        shutil.copy(SOURCE / name, place)
    make = ["make", "-C", str(place), f"PG_CONFIG={pg_config()}", "COPT=-Wall -Werror"]
    made = subprocess.run(make, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    return place / "haagent_fence.so"


@dataclass
class Fenced:
    """A server with the commit fence, and its page."""

    server: Server
    page_path: Path

    def state(self) -> dict[str, Any]:
        """``SHOW haagent_fence.state``."""
        return dict(json.loads(self.server.sql("SHOW haagent_fence.state")[0][0]))

    def page(self) -> Page:
        return Page(self.page_path)

    def permit(self, seconds: float = LONG_S, term: int = TERM) -> None:
        page = self.page()
        page.permit(term, now() + seconds)
        page.close()

    def refuse(self) -> None:
        page = self.page()
        page.refuse(TERM)
        page.close()

    def count(self) -> int:
        """How many rows the tests have written."""
        return int(self.server.sql("SELECT count(*) FROM pgbench_history")[0][0])

    def set(self, name: str, value: str) -> None:
        """Change a setting of the running server, and wait until new clients and the checkpointer see it."""
        self.server.configure({name: value})
        self.server.reload()
        wait_until(lambda: self.shows(name, value), f"{name} to become {value}", 15, 0.02)
        self.server.sql("CHECKPOINT")  # commits wait for standbys once the checkpointer has read their names

    def shows(self, name: str, value: str) -> bool:
        with self.server.connect() as client:
            row = client.execute("SELECT current_setting(%s)", (name,)).fetchone()
        return row is not None and row[0] == value


@contextmanager
def under_fence(data_dir: Path, library: Path) -> Iterator[Fenced]:
    """A server with the fence on a copy of a template; not started, and its page not written."""
    with copy_of(data_dir) as server:
        fenced = Fenced(server, server.home / "page")
        server.configure(
            {
                "shared_preload_libraries": str(library),
                "haagent_fence.page": str(fenced.page_path),
                "max_prepared_transactions": "10",
                "wal_level": "logical",
            }
        )
        yield fenced
