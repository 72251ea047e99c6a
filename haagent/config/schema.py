"""Validation of a tree against the declared settings, with voluptuous; every problem is found, not just the first.

Two trees are read this way: the file (``Sections``) and the dynamic configuration (``Dynamic``). What comes out is the
given settings by section, read into the values in use; defaults are not filled in here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache
from typing import Any, Protocol

import voluptuous

from haagent.config.field import Field, Path, Where, subsection
from haagent.config.fields import Bootstrap, Dynamic, Sections, TagFields
from haagent.config.postgresql import ROLE_KEYS, Postgresql
from haagent.config.problems import Problem, nearest, shown
from haagent.config.tree import Origins, Tree, without_nulls
from haagent.config.values import FALSE, TRUE, ExpectedError


@dataclass(slots=True)
class Findings:
    """What was noticed on the way; ``unknown`` names are errors to whoever asks for a strict reading."""

    warnings: list[Problem]
    unknown: list[Problem]
    errors: list[Problem]

    def note(self, level: str, problem: Problem) -> None:
        {"warning": self.warnings, "unknown": self.unknown, "error": self.errors}[level].append(problem)


def read(cls: type, tree: Any, source: str, origins: Origins | None = None, at: Path = ()) -> tuple[Tree, Findings]:
    """The given settings of a tree, read, without those that are not of their kind, which are among the errors found.

    ``at`` is the path of the tree's root as the operator knows it.
    """
    found = Findings([], [], [])

    def note(path: Path, text: str, level: str = "warning") -> None:
        found.note(level, Problem(source, at + path, text))

    if not isinstance(tree, dict):
        if tree is not None:
            found.errors.append(Problem(source, at, "expected a map of settings", shown(tree)))
        return {}, found
    cleaned = _cleaned(cls, cls, tree, (), note)
    try:
        return _schema(cls)(cleaned), found
    except voluptuous.MultipleInvalid as invalid:
        found.errors += [_problem(cls, cleaned, error, source, origins or {}, at) for error in invalid.errors]
        for error in invalid.errors:
            _remove(cleaned, error.path)
    return _schema(cls)(cleaned), found


def _remove(tree: Tree, path: Sequence[Any]) -> None:
    for part in path[:-1]:
        tree = tree[part]
    del tree[path[-1]]


class Note(Protocol):
    """Take down what was noticed at a path; ``level`` is warning, unknown or error."""

    def __call__(self, path: Path, text: str, level: str = "warning") -> None: ...


@cache
def rows(cls: type) -> Mapping[str, Field]:
    """The settings that stand directly in a section."""
    return {f.name: f.metadata["row"] for f in fields(cls) if "row" in f.metadata}


def _cleaned(root: type, cls: type, tree: Tree, path: Path, note: Note) -> Tree:
    """The section with old names replaced, and without nulls and what does not belong here, of which notes are made."""
    known = rows(cls)
    alias = {old: name for name, row in known.items() for old in row.aliases}
    result: Tree = {}
    for key, value in without_nulls(tree).items():
        name = alias.get(key, key)
        here = (*path, key)
        inner = subsection(cls, name)
        if inner is not None:
            result[name] = _cleaned(root, inner, value, here, note) if isinstance(value, dict) else value
        elif name in known:
            if not _belongs(root, known[name]):
                note(here, _misplaced(known[name].where))
            elif name == key or tree.get(name) is None:
                result[name] = value
                _effect(known[name], value, here, note)
            else:
                note(here, f"an old name of {name}, which is given too; {name} counts")
        elif not _allowed(cls, tree, key):
            _unknown(root, cls, here, note)
        elif cls in WITH_METHODS:
            result[name] = value
    return result


def _belongs(root: type, row: Field) -> bool:
    return row.where is not (Where.DYNAMIC if root is Sections else Where.LOCAL)


def _misplaced(where: Where) -> str:
    if where is Where.DYNAMIC:
        return "belongs to the dynamic configuration and has no effect here; haagent-ctl edit-config changes it"
    return "belongs into each node's own file and has no effect in the dynamic configuration"


def _effect(row: Field, value: Any, path: Path, note: Note) -> None:
    """Say so when a setting does nothing, unless it asks for what happens anyway."""
    if not row.idle:
        return
    try:
        idle = bool(row.kind.read(value) == row.default)
    except (ValueError, TypeError, OverflowError):
        idle = True
    if not idle:
        note(path, row.idle)


WITH_METHODS = (Bootstrap, Postgresql)
"""Sections in which an operator's own methods have sections of their own."""


def _allowed(cls: type, tree: Tree, key: str) -> bool:
    """Whether a name that no setting has may stand here: tags, and sections of custom methods."""
    if cls is Bootstrap:
        return key == tree.get("method")
    if cls is Postgresql:
        if isinstance(tree.get(key), dict) and "command" in tree[key]:
            return True  # a method that the section standby_cluster may name
        methods = tree.get("create_replica_methods") or tree.get("create_replica_method") or ()
        return key in (methods if isinstance(methods, list) else str(methods).split(","))
    return cls is TagFields


def _unknown(root: type, cls: type, path: Path, note: Note) -> None:
    name = path[-1]
    if cls is Postgresql and root is Dynamic and name in ROLE_KEYS:
        note(path, "accepted, has no effect yet")
    elif root is Sections and len(path) == 1 and name in rows(Dynamic):
        note(path, "has no effect here; it belongs under bootstrap.dcs; later haagent-ctl edit-config changes it")
    else:
        hint = nearest(name, [*rows(cls), *(f.name for f in fields(cls) if "section" in f.metadata)])
        note(path, f"no such setting{hint}", "error" if path[0] == "haagent" else "unknown")


def _reader(row: Field) -> Callable[[Any], Any]:
    """The reader of one setting as voluptuous wants it."""

    def read_one(value: Any) -> Any:
        try:
            result = row.kind.read(value)
        except ExpectedError as error:
            raise voluptuous.Invalid(f"expected {row.expected if row.choices else error}") from None
        except (ValueError, TypeError, OverflowError):
            raise voluptuous.Invalid(f"expected {row.expected}") from None
        if row.choices and result != row.default:
            result = _choice(row.choices, result.lower())
        low = row.least is not None and result < row.least
        high = row.most is not None and result > row.most
        if result is None or low or high:
            raise voluptuous.Invalid(f"expected {row.expected}")
        return result

    return read_one


def _choice(choices: tuple[str, ...], word: str) -> str | None:
    """The choice that a word means; where on and off are choices, other words for true and false mean them."""
    meant = {**dict.fromkeys(TRUE, "on"), **dict.fromkeys(FALSE, "off")}.get(word, word)
    return next((choice for choice in choices if choice.lower() in (word, meant)), None)


@cache
def _schema(cls: type) -> voluptuous.Schema:
    parts: dict[Any, Any] = {voluptuous.Optional(name): _reader(row) for name, row in rows(cls).items()}
    for f in fields(cls):
        if "section" in f.metadata:
            parts[voluptuous.Optional(f.name)] = _schema(f.metadata["section"])
    return voluptuous.Schema(parts, extra=voluptuous.ALLOW_EXTRA if cls in WITH_METHODS else voluptuous.PREVENT_EXTRA)


def _problem(cls: type, tree: Tree, error: voluptuous.Invalid, source: str, origins: Origins, at: Path) -> Problem:
    path = tuple(str(part) for part in error.path)
    value: Any = tree
    for part in path:
        value = value.get(part) if isinstance(value, dict) else None
    owner: type | None = cls
    for part in path[:-1]:
        owner = subsection(owner, part) if owner else None
    row = rows(owner).get(path[-1]) if owner and path else None
    text = error.msg if row else "expected a map of settings"
    hidden = row.secret if row else True
    return Problem(origins.get(path, source), at + path, text, shown(value, hidden))


def build(cls: type, given: Tree) -> Any:
    """A section's dataclass from its given settings, with defaults for the rest."""
    parts = {}
    for f in fields(cls):
        if f.name in given:
            inner = f.metadata.get("section")
            parts[f.name] = build(inner, given[f.name]) if inner else given[f.name]
    return cls(**parts)
