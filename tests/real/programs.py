"""Where the programs of the trial are found on this machine."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path


def program(name: str) -> str:
    """The path of an installed program; FileNotFoundError that names what to install."""
    found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin")
    if found is None:
        raise FileNotFoundError(f"{name} is not installed; `make install-packages` names the Debian packages")
    return found


def postgres_bin() -> Path:
    """The programs of HAAGENT_TEST_POSTGRES_BIN, else of the newest PostgreSQL here (Debian's place, then PATH)."""
    given = os.environ.get("HAAGENT_TEST_POSTGRES_BIN")
    if given:
        return Path(given)
    debian = [place for place in Path("/usr/lib/postgresql").glob("*/bin") if (place / "initdb").exists()]
    if debian:
        return max(debian, key=lambda place: float(place.parent.name))
    return Path(program("initdb")).resolve().parent


@dataclass(frozen=True)
class AgentProgram:
    """An agent to put on every node: haagent, or Patroni to compare with."""

    name: str
    argv: tuple[str, ...]


def haagent() -> AgentProgram:
    """The haagent of the environment that runs this, or the one named in HAAGENT_TEST_PROGRAM."""
    given = os.environ.get("HAAGENT_TEST_PROGRAM")
    if given:
        return AgentProgram(Path(given).name, (given,))
    return AgentProgram("haagent", (str(Path(sys.prefix) / "bin" / "haagent"),))


def patroni(home: Path) -> AgentProgram:
    """Patroni from a virtual environment of its own."""
    return AgentProgram("patroni", (str(home / "bin" / "patroni"),))
