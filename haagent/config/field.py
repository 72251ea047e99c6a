"""What a declared setting consists of, and how declarations are walked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass, replace
from dataclasses import field as attribute
from enum import Enum
from typing import Any

from haagent.config import values as v

Path = tuple[str, ...]


class Where(Enum):
    """Where a setting may stand."""

    LOCAL = "file"
    DYNAMIC = "dynamic"
    BOTH = "file or dynamic"


@dataclass(frozen=True, slots=True)
class Field:
    """One setting."""

    kind: v.Kind
    doc: str
    default: Any = None
    unit: str = ""
    least: float | None = None
    most: float | None = None
    choices: tuple[str, ...] = ()
    secret: bool = False
    required: bool = False
    effective: bool = True
    moot: str = ""
    """Why it never has an effect, and what to use instead."""
    where: Where = Where.LOCAL
    env: str = ""
    """Name in the environment behind ``PATRONI_`` or ``HAAGENT_``; empty: made from the path."""
    aliases: tuple[str, ...] = ()
    """Old names of the last part of the path."""
    example: Any = None
    path: Path = ()

    @property
    def key(self) -> str:
        """The key path as it is written in messages and in the manual."""
        return ".".join(self.path)

    @property
    def own(self) -> bool:
        """Whether this is one of haagent's own settings."""
        return self.path[0] == "haagent" or self.key == "etcd3.transport"

    @property
    def idle(self) -> str:
        """That it does nothing, in words for the operator; empty when it acts."""
        if self.moot:
            return f"has no effect: {self.moot}"
        return "" if self.effective else "accepted, has no effect yet"

    @property
    def variables(self) -> tuple[str, ...]:
        """Names of environment variables that set it, the winning one last; none for purely dynamic settings."""
        if self.where is Where.DYNAMIC:
            return ()
        return (f"HAAGENT_{self.env}",) if self.own else (f"PATRONI_{self.env}", f"HAAGENT_{self.env}")

    @property
    def expected(self) -> str:
        """What a right value looks like."""
        if self.choices:
            return "one of " + ", ".join(self.choices)
        bounds = [
            f"{word} {bound:g}"
            for word, bound in (("at least", self.least), ("at most", self.most))
            if bound is not None
        ]
        return " ".join([self.kind.expected, *([" and ".join(bounds)] if bounds else [])])


def setting(kind: v.Kind, doc: str, **facts: Any) -> Any:
    """Declare one setting as the default of a dataclass attribute."""
    row = Field(kind, doc, **facts)
    secret = replace(row, secret=row.secret or kind is v.SECRET)
    return attribute(default_factory=lambda: secret.default, metadata={"row": secret})


def section(cls: type) -> Any:
    """Declare a section whose settings are those of another dataclass."""
    return attribute(default_factory=cls, metadata={"section": cls})


def text(doc: str, default: str = "", **facts: Any) -> Any:
    """Declare a text."""
    return setting(v.TEXT, doc, default=default, **facts)


def flag(doc: str, default: bool = False, **facts: Any) -> Any:
    """Declare a boolean."""
    return setting(v.BOOL, doc, default=default, **facts)


def word(doc: str, choices: tuple[str, ...], default: str = "", **facts: Any) -> Any:
    """Declare a choice of words."""
    return setting(v.WORD, doc, choices=choices, default=default, **facts)


def secret(doc: str) -> Any:
    """Declare a secret text."""
    return setting(v.SECRET, doc, default=v.Secret(""))


def seconds(doc: str, default: float, **facts: Any) -> Any:
    """Declare a duration."""
    return setting(v.SECONDS, doc, default=default, unit="s", **facts)


_ENV = {
    ("haagent",): "",
    ("restapi", "authentication"): "RESTAPI",
    ("ctl", "authentication"): "CTL",
    ("postgresql", "bin_name"): "POSTGRESQL_BIN",
    ("postgresql", "authentication", "superuser"): "SUPERUSER",
    ("postgresql", "authentication", "replication"): "REPLICATION",
    ("postgresql", "authentication", "rewind"): "REWIND",
}
"""Sections whose environment names are shorter than their path."""


def subsection(cls: type, name: str) -> type | None:
    """The dataclass of a section's section of that name."""
    return next((f.metadata["section"] for f in fields(cls) if f.name == name and "section" in f.metadata), None)


def walk(cls: type, path: Path = ()) -> Iterator[Field]:
    """Every setting of a section and its sections, in order of declaration."""
    assert is_dataclass(cls)
    for f in fields(cls):
        here = (*path, f.name)
        if "section" in f.metadata:
            yield from walk(f.metadata["section"], here)
        elif "row" in f.metadata:
            row: Field = f.metadata["row"]
            group = _ENV[path] if path in _ENV else "_".join(path)
            name = f"{group}_{f.name}".strip("_").upper()
            yield replace(row, path=here, env=row.env or name)
