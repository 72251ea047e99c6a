"""How operators' own programs that make data directories are called."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping

from haagent.core.methods import BootstrapMethod, ReplicaMethod
from haagent.postgres.settings import PostgresSettings


def command_words(method: BootstrapMethod | ReplicaMethod, own: Mapping[str, str]) -> list[str]:
    """The command as a shell would split it, then the agent's and the operator's arguments as ``--name=value``."""
    words = shlex.split(method.command)
    if method.no_params:
        return words
    return [*words, *(f"--{name}={value}" for name, value in {**own, **method.arguments}.items())]


def path_with_programs(settings: PostgresSettings) -> str:
    """PATH with PostgreSQL's programs first, so that scripts find the psql of this version."""
    path = os.environ.get("PATH", os.defpath)
    return f"{settings.bin_dir}{os.pathsep}{path}" if settings.bin_dir else path
