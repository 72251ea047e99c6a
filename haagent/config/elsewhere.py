"""The ``standby_cluster`` section of the dynamic configuration: the primary elsewhere, and how to follow it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from haagent.config import parameters as rules
from haagent.config import values as v
from haagent.config.field import Path
from haagent.config.problems import ConfigError, Problem, nearest, shown
from haagent.core.facts import Remote

ON_ALL = ("restore_command",)
ON_LEADER = ("archive_cleanup_command", "recovery_min_apply_delay")
KNOWN = ("host", "port", "primary_slot_name", "create_replica_methods", *ON_ALL, *ON_LEADER)
DEFAULT_HOST = "localhost"


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """What a standby cluster's section says; ``remote`` is None where there is none."""

    remote: Remote | None = None
    methods: tuple[str, ...] = ()
    """Names of the ways to make a copy; empty: those of the ``postgresql`` section."""
    on_all: Mapping[str, str] = field(default_factory=dict)
    """Recovery parameters of every node."""
    on_leader: Mapping[str, str] = field(default_factory=dict)
    """Those of the standby leader, besides."""


def read(given: Mapping[str, Any] | None, source: str, at: Path, warnings: list[Problem]) -> Elsewhere:
    """Read the section; ConfigError when it cannot be used, a warning when it names nothing to follow."""
    section = {name: value for name, value in (given or {}).items() if value is not None}
    warnings += [
        Problem(source, (*at, name), f"no such setting{nearest(name, KNOWN)}") for name in section if name not in KNOWN
    ]
    try:
        found = {name: _one(name, section[name]) for name in KNOWN if name in section}
    except _WrongError as wrong:
        raise ConfigError(
            [Problem(source, (*at, wrong.name), f"expected {wrong}", shown(section[wrong.name]))]
        ) from None
    if not found.keys() & {"host", "port", *ON_ALL}:
        if given is not None:
            warnings.append(Problem(source, at, "is not used: it has neither host nor port nor restore_command"))
        return Elsewhere()
    host = found.get("host") or (DEFAULT_HOST if "port" in found else "")
    return Elsewhere(
        Remote(host, found.get("port", Remote().port), found.get("primary_slot_name") or None),
        found.get("create_replica_methods", ()),
        {name: found[name] for name in ON_ALL if name in found},
        {name: found[name] for name in ON_LEADER if name in found},
    )


class _WrongError(ValueError):
    def __init__(self, name: str, expected: str) -> None:
        super().__init__(expected)
        self.name = name


def _one(name: str, value: Any) -> Any:
    """One setting, read."""
    try:
        if name == "port":
            return _port(value)
        if name == "create_replica_methods":
            return tuple(v.WORDS.read(value))
        if name == "host":
            return ",".join(part.strip() for part in rules.as_text(value).split(",") if part.strip())
        return rules.as_text(value)
    except (v.ExpectedError, ValueError) as error:
        raise _WrongError(name, str(error)) from None


def _port(value: Any) -> int:
    if isinstance(value, bool) or not str(value).strip().isdigit() or not 0 < int(value) < 65536:
        raise v.ExpectedError("a port from 1 to 65535")
    return int(value)
