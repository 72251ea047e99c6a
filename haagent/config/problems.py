"""What can be wrong with a configuration, in words for the operator."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from haagent.config.field import Path


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: where it stands, what stands there, what is expected."""

    source: str
    path: Path
    expected: str
    value: str = ""

    def __str__(self) -> str:
        key = f"{'.'.join(self.path)}: " if self.path else ""
        found = f"found {self.value}; " if self.value else ""
        return f"{self.source}: {key}{found}{self.expected}"


class ConfigError(Exception):
    """The configuration cannot be used; ``problems`` says everything that is wrong with it."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(p) for p in self.problems))


def shown(value: Any, secret: bool = False) -> str:
    """A value for a message: short, on one line, never a secret, of a section only that it is one."""
    if secret:
        return "*** (hidden)"
    if isinstance(value, dict):
        return "a map"
    if isinstance(value, list):
        return "a list"
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 80 else text[:77] + "..."


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint at the known name that is most like a wrong one; empty when none is."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean {close[0]}?" if close else ""
