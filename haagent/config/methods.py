"""Sections of operators' own bootstrap and replica methods: a command, a few flags, and arguments of any name."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from haagent.config import parameters as rules
from haagent.config import values as v
from haagent.config.field import Path
from haagent.config.problems import ConfigError, Problem, shown
from haagent.core.methods import BASEBACKUP, BootstrapMethod, ReplicaMethod

INITDB = "initdb"


class _Section:
    """One method's section, read piece by piece; what is left are its arguments. ConfigError at what can't be used."""

    def __init__(self, given: Any, source: str, at: Path) -> None:
        self._source, self._at = source, at
        if not isinstance(given, dict):
            raise ConfigError([Problem(source, at, "must be given: a section with the command of this method")])
        self._left = {name: value for name, value in given.items() if value is not None}
        self.command = self._command()

    def _wrong(self, name: str, expected: str, value: Any) -> ConfigError:
        return ConfigError([Problem(self._source, (*self._at, name), f"expected {expected}", shown(value))])

    def _command(self) -> str:
        given = self._left.pop("command", "")
        try:
            if isinstance(given, str) and shlex.split(given):
                return given
        except ValueError:
            pass
        raise self._wrong("command", "the command of this method, as a shell would read it", given)

    def flag(self, name: str) -> bool:
        given = self._left.pop(name, False)
        try:
            return v.read_bool(given)
        except v.ExpectedError as error:
            raise self._wrong(name, str(error), given) from None

    def parameters(self, name: str) -> dict[str, str]:
        """A map of PostgreSQL parameters."""
        given = self._left.pop(name, {})
        if not isinstance(given, dict):
            raise self._wrong(name, "a map of parameters", given)
        found = {}
        for parameter, value in given.items():
            try:
                found[str(parameter).lower()] = rules.as_text(value)
            except v.ExpectedError as error:
                raise self._wrong(name, f"{error} for {parameter}", value) from None
        return found

    def arguments(self) -> dict[str, str]:
        """All that is left, as text; a boolean is True or False, as Python writes it (and Patroni hands it on)."""
        for name, value in self._left.items():
            if not isinstance(value, str | int | float):
                raise self._wrong(name, "text, a number or a boolean, to be handed to the command", value)
        return {name: str(value) for name, value in self._left.items()}


def bootstrap_method(name: str, section: Mapping[str, Any], source: str) -> BootstrapMethod | None:
    """The method that ``bootstrap.method`` names, None for initdb; ConfigError when its section can't be used."""
    if name == INITDB:
        return None
    one = _Section(section.get(name), source, ("bootstrap", name))
    return BootstrapMethod(
        name,
        one.command,
        no_params=one.flag("no_params"),
        keep_existing_recovery_conf=one.flag("keep_existing_recovery_conf"),
        recovery_conf=one.parameters("recovery_conf"),
        arguments=one.arguments(),
    )


def replica_methods(
    names: Sequence[str], section: Mapping[str, Any], source: str, at: Path
) -> tuple[ReplicaMethod, ...]:
    """The methods of ``create_replica_methods`` in their order; ConfigError when a section can't be used."""

    def method(name: str) -> ReplicaMethod:
        if name == BASEBACKUP:
            return ReplicaMethod()
        one = _Section(section.get(name), source, (*at, name))
        return ReplicaMethod(
            name,
            one.command,
            no_params=one.flag("no_params"),
            no_leader=one.flag("no_leader"),
            keep_data=one.flag("keep_data"),
            arguments=one.arguments(),
        )

    return tuple(method(name) for name in names) or (ReplicaMethod(),)
