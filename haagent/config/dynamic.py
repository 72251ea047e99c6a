"""From the dynamic configuration and this node's own file to the settings in use.

Laws. The file wins over the dynamic configuration, except in parameters that must be equal on all nodes. What is stored
is never changed: values in use are adjusted, and a warning says how. What cannot be used at all raises ConfigError and
the caller keeps the settings it has.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from haagent.config import elsewhere, methods, schema
from haagent.config import parameters as rules
from haagent.config.field import Path
from haagent.config.fields import Dynamic
from haagent.config.problems import ConfigError, Problem, shown
from haagent.config.tree import Tree, plain
from haagent.config.values import ExpectedError
from haagent.core import lease
from haagent.core.facts import PRIMARY, REPLICA, STANDBY_LEADER, Document, Rules, Settings
from haagent.core.methods import ReplicaMethod

DEFAULT_TTL_S = Settings().ttl
_SLOT_NAME = re.compile("[a-z0-9_]{1,63}")
SHARE_OF_TTL = 0.3
"""Of ttl, for a loop_wait or retry_timeout that is not given."""


def with_timing(document: Tree) -> Tree:
    """The document with ttl, loop_wait and retry_timeout filled in; by default 10, 3 and 3 s."""
    ttl = document.get("ttl")
    if ttl is None:
        ttl = int(DEFAULT_TTL_S)
    seconds = schema.rows(Dynamic)["ttl"].kind.read(ttl)
    share = int(max(1, min(10, seconds * SHARE_OF_TTL)))
    given = {key: value for key, value in document.items() if value is not None}
    return {"ttl": ttl, "loop_wait": share, "retry_timeout": share, **given}


def settings(
    document: Document, local: Mapping[str, Any], peer_timeout: float, bootstrap: Document, source: str, at: Path = ()
) -> tuple[Settings, tuple[str, ...]]:
    """The settings in use of a dynamic configuration with this node's own ``postgresql`` section on top.

    ``source`` and ``at`` tell the operator where the document stands. ConfigError when it cannot be used.
    """
    given, found = schema.read(Dynamic, plain(document, source), source, at=at)
    if found.errors:
        raise ConfigError(found.errors)
    warnings = [*found.warnings, *found.unknown]
    section: Mapping[str, Any] = given.pop("postgresql", {})
    follows = elsewhere.read(given.pop("standby_cluster", None), source, (*at, "standby_cluster"), warnings)
    merged: dict[str, Any] = {**_merge_parameters(section, local, source, at, warnings)}
    merged["by_role"] = _by_role(section, local, source, at, warnings)
    timing, notes = _timing(given)
    warnings += [Problem(source, at, note) for note in notes]
    given["slots"] = _slots(given.get("slots", {}), source, at, warnings)
    given.pop("primary_race_backoff", None)
    own = "create_replica_methods" in local
    where = ("this node's file", ("postgresql",)) if own else (source, (*at, "postgresql"))
    given["replica_methods"] = _replica_methods({**section, **local}, *where)
    if follows.methods:
        both = {**section, **local}
        given["replica_methods"] = methods.replica_methods(follows.methods, both, source, (*at, "postgresql"))
    given |= {name: value for name, value in {**section, **local}.items() if name in _FROM_POSTGRESQL}
    in_use: dict[str, Any] = {**given, **timing, **merged}
    found_settings = Settings(**in_use, bootstrap_document=bootstrap, peer_timeout=peer_timeout)
    if follows.remote is not None:
        found_settings = _following(found_settings, follows)
    warnings += _for_logical_slots(found_settings, source, at)
    return found_settings, tuple(str(warning) for warning in warnings)


def _following(usual: Settings, follows: elsewhere.Elsewhere) -> Settings:
    """The settings of a standby cluster: WAL from the archive of the remote primary on all nodes, or as it says."""
    with_archive = replace(usual, standby_cluster=follows.remote, recovery={**usual.recovery, **follows.on_all})
    by_role = {
        role: replace(one, recovery={**one.recovery, **follows.on_all}) if role != PRIMARY else one
        for role, one in usual.by_role.items()
    }
    here = by_role.get(STANDBY_LEADER) or with_archive.rules(STANDBY_LEADER)
    by_role[STANDBY_LEADER] = replace(here, recovery={**here.recovery, **follows.on_leader})
    return replace(with_archive, by_role=by_role)


_FROM_POSTGRESQL = (
    "use_pg_rewind",
    "use_slots",
    "remove_data_directory_on_rewind_failure",
    "remove_data_directory_on_diverged_timelines",
    "pg_hba",
    "pg_ident",
    "pre_promote",
    "before_stop",
    "pg_ctl_timeout",
)
"""Settings of the ``postgresql`` section that are part of the settings in use as they are."""


def _timing(given: Mapping[str, Any]) -> tuple[dict[str, float], tuple[str, ...]]:
    """The three timings in use and what was changed of them."""
    filled = with_timing({key: given.get(key) for key in ("ttl", "loop_wait", "retry_timeout")})
    ttl, loop_wait, retry_timeout, notes = lease.adjusted(filled["ttl"], filled["loop_wait"], filled["retry_timeout"])
    return {"ttl": ttl, "loop_wait": loop_wait, "retry_timeout": retry_timeout}, notes


def _slots(slots: Mapping[str, Any], source: str, at: Path, warnings: list[Problem]) -> dict[str, Any]:
    """Permanent slots; one without properties is physical, one that PostgreSQL could not have is left out."""
    result: dict[str, Any] = {}
    for name, properties in slots.items():
        path = (*at, "slots", name)
        if properties is not None and not isinstance(properties, dict):
            raise ConfigError([Problem(source, path, "expected a map of properties, or nothing", shown(properties))])
        given = dict(properties or {})
        both = given.get("database") and given.get("plugin")
        given.setdefault("type", "logical" if both else "physical")
        if not _SLOT_NAME.fullmatch(name):
            why = "a slot's name has lower case letters, digits and underscores, at most 63: it is left out"
        elif given["type"] not in ("physical", "logical"):
            why = f"type is {shown(given['type'])}, neither physical nor logical: it is left out"
        elif given["type"] == "logical" and not both:
            why = "a logical slot needs a database and a plugin: it is left out"
        else:
            result[name] = given
            continue
        warnings.append(Problem(source, path, why))
    return result


def _for_logical_slots(found: Settings, source: str, at: Path) -> list[Problem]:
    """What else permanent logical slots need."""
    listed = [name for name, slot in found.slots.items() if slot["type"] == "logical"]
    path = (*at, "slots", listed[0]) if listed else at
    if listed and found.parameters.get("wal_level") != "logical":
        return [Problem(source, path, "it can't be made until postgresql.parameters.wal_level is logical")]
    if listed and not found.use_slots:
        return [Problem(source, path, "it is not made while postgresql.use_slots is off")]
    return []


def _replica_methods(section: Mapping[str, Any], source: str, at: Path) -> tuple[ReplicaMethod, ...]:
    """The ways to make a replica; the sections of both sources stand together."""
    return methods.replica_methods(section.get("create_replica_methods", ()), section, source, at)


def _merge_parameters(
    section: Mapping[str, Any], local: Mapping[str, Any], source: str, at: Path, warnings: list[Problem]
) -> dict[str, dict[str, str]]:
    """``parameters`` and ``recovery`` of the settings in use."""
    errors: list[Problem] = []
    above = _Layer(section, source, (*at, "postgresql"), warnings, errors)
    below = _Layer(local, "this node's file", ("postgresql",), warnings, errors)
    for name in sorted(below.parameters.keys() & rules.SHARED_DEFAULTS.keys()):
        below.warn(name, "has no effect in one node's file: all nodes need the same; haagent-ctl edit-config sets it")
    own = {name: value for name, value in below.parameters.items() if name.lower() not in rules.SHARED_DEFAULTS}
    shared = above.attempt(lambda: rules.raised({**rules.SHARED_DEFAULTS, **above.parameters}, above.warn))
    if errors:
        raise ConfigError(errors)
    return {"parameters": {**shared, **own}, "recovery": {**above.recovery, **below.recovery}}


def _by_role(
    section: Mapping[str, Any], local: Mapping[str, Any], source: str, at: Path, warnings: list[Problem]
) -> dict[str, Rules]:
    """What PostgreSQL is told in each role for which something is given apart.

    In the dynamic configuration and in the file alike, what holds for one role goes before what holds for all; the file
    as a whole goes before the dynamic configuration.
    """
    found = {}
    for role in (PRIMARY, REPLICA, STANDBY_LEADER):
        layers = [_in_role(one, role) for one in (section, local)]
        if not any(apart for _, apart in layers):
            continue
        (above, _), (below, _) = layers
        noted: list[Problem] = []
        texts = _merge_parameters(above, below, source, at, noted)
        warnings += [problem for problem in noted if problem not in warnings]
        both = {**above, **below}
        found[role] = Rules(**texts, pg_hba=both.get("pg_hba", ()), pg_ident=both.get("pg_ident", ()))
        for name in section.get(f"parameters_{role}", {}):
            if name.lower() in rules.SHARED_DEFAULTS:
                path = (*at, "postgresql", f"parameters_{role}", name)
                warnings.append(Problem(source, path, "left out: all nodes need the same in every role"))
    return found


def _in_role(section: Mapping[str, Any], role: str) -> tuple[dict[str, Any], bool]:
    """A section as it is in a role, and whether it says anything for that role alone."""
    names = ("parameters", "pg_hba", "pg_ident")
    apart = {name: section[f"{name}_{role}"] for name in names if f"{name}_{role}" in section}
    result = {**section, **apart}
    if "parameters" in apart:
        alone = {name: value for name, value in apart["parameters"].items() if name not in rules.SHARED_DEFAULTS}
        result["parameters"] = {**section.get("parameters", {}), **alone}
    return result, bool(apart)


class _Layer:
    """One source's parameters, cleaned; what is wrong or noteworthy goes into the lists given."""

    def __init__(
        self, section: Mapping[str, Any], source: str, at: Path, warnings: list[Problem], errors: list[Problem]
    ) -> None:
        self._source, self._at, self._warnings, self._errors = source, at, warnings, errors
        self._group = "parameters"
        given = self._texts(section.get("parameters", {}))
        given = self.attempt(lambda: rules.without_owned(rules.modern(given, self.warn), self.warn))
        self.parameters = {name: value for name, value in given.items() if name not in rules.RECOVERY}
        self._group = "recovery_conf"
        recovery = rules.without_owned(self._texts(section.get("recovery_conf", {})), self.warn)
        self.recovery = {**{name: value for name, value in given.items() if name in rules.RECOVERY}, **recovery}
        self._group = "parameters"

    def warn(self, name: str, text: str) -> None:
        self._warnings.append(Problem(self._source, (*self._at, self._group, name), text))

    def attempt(self, work: Callable[[], dict[str, str]]) -> dict[str, str]:
        """The result of some work, or nothing and an error noted."""
        try:
            return work()
        except ExpectedError as error:
            self._errors.append(Problem(self._source, (*self._at, self._group), f"expected {error}"))
            return {}

    def _texts(self, given: Mapping[str, Any]) -> dict[str, str]:
        result = {}
        for name, value in given.items():
            path = (*self._at, self._group, name)
            if not rules.NAME.fullmatch(name):
                self._errors.append(Problem(self._source, path, "expected the name of a PostgreSQL parameter"))
            elif value is not None:
                try:
                    result[name.lower()] = rules.as_text(value)
                except ExpectedError as error:
                    self._errors.append(Problem(self._source, path, f"expected {error}", shown(value)))
        return result
