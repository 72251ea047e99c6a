"""Every setting in use on a node with where it came from: default, DCS, file or environment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from haagent.config import parameters as rules
from haagent.config.field import Field, Path, Where
from haagent.config.fields import DYNAMIC_FIELDS, LOCAL_FIELDS
from haagent.config.load import Config
from haagent.config.render import flow
from haagent.config.values import Secret
from haagent.core.facts import Document

DEFAULT = "default"
HIDDEN = "***"
PARAMETERS = ("postgresql", "parameters")
WIDTH = 60
"""Origins stand in a column of their own behind shorter settings."""


@dataclass(frozen=True, slots=True)
class Dcs:
    """The ``config`` key as read; no document: there is none, or it could not be read, and ``why`` says so."""

    document: Document | None = None
    why: str = ""


def lines(config: Config, dcs: Dcs) -> Iterator[str]:
    """The settings as YAML, each with its origin as a comment; secrets are hidden."""
    yield f"# settings of this node, from {config.source} and the environment"
    for row in LOCAL_FIELDS:
        if row.where is Where.LOCAL and row.path != ("bootstrap", "dcs"):
            yield _line(row.key, _shown(row, _value(config, row.path)), config.origins.get(row.path, DEFAULT))
    yield ""
    yield from _dynamic(config, dcs)
    yield ""
    yield from _parameters(config, dcs)


def _dynamic(config: Config, dcs: Dcs) -> Iterator[str]:
    in_use, notes = config.settings(dcs.document)
    stored = _stored(config, dcs)
    yield f"# dynamic configuration in use, from {_dynamic_source(config, dcs)}"
    yield from (f"# {note}" for note in notes)
    for row in DYNAMIC_FIELDS:
        if not hasattr(in_use, row.path[-1]) or row.path == PARAMETERS:
            continue
        section = stored.get("postgresql") or {} if row.path[0] == "postgresql" else stored
        given = any(section.get(name) is not None for name in (row.path[-1], *row.aliases))
        origin = config.origins.get(row.path, _dynamic_origin(dcs) if given else DEFAULT)
        yield _line(row.key, _shown(row, getattr(in_use, row.path[-1])), origin)


def _stored(config: Config, dcs: Dcs) -> Mapping[str, Any]:
    """The document as its author wrote it."""
    return dcs.document if dcs.document is not None else config.bootstrap.dcs


def _dynamic_source(config: Config, dcs: Dcs) -> str:
    if dcs.document is not None:
        return "the DCS"
    return f"bootstrap.dcs of {config.source}, as {dcs.why or 'the DCS holds none yet'}"


def _dynamic_origin(dcs: Dcs) -> str:
    return "DCS" if dcs.document is not None else "bootstrap.dcs"


def _parameters(config: Config, dcs: Dcs) -> Iterator[str]:
    in_use, _ = config.settings(dcs.document)
    own = _names(config.given_postgresql)
    stored = _stored(config, dcs)
    shared = _names(stored.get("postgresql") or {})
    yield "# PostgreSQL's parameters in use"
    for name, value in sorted({**in_use.parameters, **in_use.recovery}.items()):
        origin = DEFAULT
        if name in shared:
            origin = _dynamic_origin(dcs)
        if name in own and name not in rules.SHARED_DEFAULTS:
            origin = config.origins.get(PARAMETERS, config.source)
        yield _line(f"postgresql.parameters.{name}", flow(value), origin)


def _names(section: Any) -> set[str]:
    found: set[str] = set()
    for group in ("parameters", "recovery_conf"):
        given = section.get(group) if isinstance(section, Mapping) else None
        found |= {str(name).lower() for name in given} if isinstance(given, Mapping) else set()
    return found | ({"wal_keep_size"} if "wal_keep_segments" in found else set())


def _value(config: Config, path: Path) -> Any:
    value: Any = config
    for part in path:
        value = getattr(value, part)
    return value


def _shown(row: Field, value: Any) -> str:
    if row.secret or isinstance(value, Secret):
        return HIDDEN if value else "''"
    return flow(value)


def _line(key: str, value: str, origin: str) -> str:
    return f"{f'{key}: {value}':{WIDTH}}  # {origin}"
