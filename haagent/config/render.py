"""Renders what follows from the declared settings: the sample file, the manual page and the JSON schema.

``python -m haagent.config.render`` writes them all; a test compares them with what is checked in.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import yaml

from haagent.config import values
from haagent.config.field import Field, Where
from haagent.config.fields import DYNAMIC_FIELDS, LOCAL_FIELDS, Dynamic, Sections

ROOT = Path(__file__).resolve().parents[2]

BANNER = "Rendered from haagent/config/fields.py by `make generate`; do not edit."

SHOWN_IN_USE = frozenset(
    {
        "scope",
        "name",
        "etcd3.hosts",
        "restapi.listen",
        "restapi.connect_address",
        "bootstrap.dcs.ttl",
        "bootstrap.dcs.loop_wait",
        "bootstrap.dcs.retry_timeout",
        "bootstrap.dcs.postgresql.use_pg_rewind",
        "bootstrap.initdb",
        "postgresql.listen",
        "postgresql.connect_address",
        "postgresql.data_dir",
        "postgresql.bin_dir",
        "postgresql.pg_hba",
        "postgresql.authentication.superuser.username",
        "postgresql.authentication.superuser.password",
        "postgresql.authentication.replication.username",
        "postgresql.authentication.replication.password",
    }
)
"""Settings that the sample file gives; all others stand there as comments."""

IN_SAMPLE: Mapping[str, Any] = {
    "bootstrap.dcs.postgresql.use_pg_rewind": True,
    "postgresql.authentication.superuser.username": "postgres",
    "postgresql.authentication.superuser.password": "change-me",
    "postgresql.authentication.replication.username": "replicator",
    "postgresql.authentication.replication.password": "change-me-too",
}
"""Values in the sample file that are neither a default nor a declared example."""

INTRODUCTION = """
A node reads one YAML file and then its environment. The names in the column *environment* stand behind `PATRONI_` or
`HAAGENT_`, of which the latter wins; haagent's own settings have names behind `HAAGENT_` only. In an environment
variable, maps and lists of lines are written as YAML, other lists as words with commas; an empty one counts as not set.
When no file is given, `HAAGENT_CONFIGURATION` or `PATRONI_CONFIGURATION` may hold a whole one; then no other variable
is read.

Names and meanings are those that Patroni documents, so that its files work as they are; haagent's own settings stand
under `haagent` and at `etcd3.transport`. Durations are seconds, or a number with a unit (`500ms`, `30min`). Booleans
and numbers may be given as text. Null counts as not given.

`haagent --validate-config FILE` checks a file and touches nothing; unknown names are errors there. With `--print` it
shows every setting in use with its origin: default, DCS, file or environment. `haagent --generate-config FILE` writes a
file for the PostgreSQL that runs on this machine (`--dsn` says how to reach it), `--generate-sample-config FILE` a
sample.
"""

DYNAMIC_INTRODUCTION = (
    "One document for the whole cluster, in etcd's `config` key. A new cluster takes it from `bootstrap.dcs`; later "
    "`haagent-ctl edit-config` changes it. What a node's own file says under `postgresql` wins."
)


# --- the sample file ----------------------------------------------------------------------------------------------


def sample() -> str:
    """A complete configuration file: what nearly everybody sets, and all else as comments."""
    head = [
        f"# {BANNER}",
        "#",
        "# A complete configuration of one node. What stands behind a '#' without a blank is a setting with its",
        "# default value, or an example where there is none. docs/reference/settings.md tells of each.",
        "",
    ]
    return "\n".join([*head, *_sample_section(Sections, (), 0, Where.DYNAMIC)]).rstrip() + "\n"


def _sample_section(cls: type, path: tuple[str, ...], depth: int, not_here: Where) -> Iterator[str]:
    for f in fields(cls):
        here = (*path, f.name)
        if "section" in f.metadata:
            inner = list(_sample_section(f.metadata["section"], here, depth + 1, not_here))
            yield from [*_sample_header(f.metadata["section"], here, depth), *inner] if inner else []
        elif here == ("bootstrap", "dcs"):
            yield from _sample_header(Dynamic, here, depth)
            yield from _sample_section(Dynamic, here, depth + 1, Where.LOCAL)
        elif "row" in f.metadata and f.metadata["row"].where is not not_here:
            yield from _sample_row(f.metadata["row"], here, depth)


def _sample_header(cls: type, path: tuple[str, ...], depth: int) -> Iterator[str]:
    prefix = ".".join(path) + "."
    used = any(name.startswith(prefix) for name in SHOWN_IN_USE)
    yield ""
    yield f"{'  ' * depth}# {_summary(cls)}"
    yield f"{'  ' * depth}{'' if used else '#'}{path[-1]}:"


def _sample_row(row: Field, path: tuple[str, ...], depth: int) -> Iterator[str]:
    key = ".".join(path)
    value = IN_SAMPLE.get(key, row.example if row.example is not None else row.default)
    empty = value is None or value == "" or value == () or value == {} or isinstance(value, values.Secret)
    text = "" if empty else " " + flow(value)
    note = _idle(row)
    yield f"{'  ' * depth}# {row.doc}{note}"
    yield f"{'  ' * depth}{'' if key in SHOWN_IN_USE else '#'}{path[-1]}:{text}"


def _idle(row: Field) -> str:
    """A further sentence about a setting that does nothing."""
    return f" {row.idle[0].upper()}{row.idle[1:]}." if row.idle else ""


def flow(value: Any) -> str:
    """A value as YAML on one line."""
    return str(yaml.safe_dump(_plain(value), default_flow_style=True, width=10_000)).removesuffix("...\n").strip()


def _plain(value: Any) -> Any:
    if isinstance(value, values.Address | values.Listen):
        return str(value)
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _summary(cls: type) -> str:
    return (cls.__doc__ or "").strip().splitlines()[0]


# --- the manual page ----------------------------------------------------------------------------------------------


def manual() -> str:
    """The reference of all settings as Markdown."""
    lines = [
        "# Settings",
        "",
        f"<!-- {BANNER} -->",
        "",
        INTRODUCTION.strip(),
        "",
    ]
    for title, rows in _groups():
        lines += _table(title, rows)
    return "\n".join(lines).rstrip() + "\n"


def _groups() -> Iterator[tuple[str, list[Field]]]:
    groups: dict[str, list[Field]] = {}
    for row in LOCAL_FIELDS:
        groups.setdefault(row.path[0] if len(row.path) > 1 else "Top level", []).append(row)
    yield from ((name if name == "Top level" else f"`{name}`", rows) for name, rows in groups.items())
    yield "Dynamic configuration", list(DYNAMIC_FIELDS)


def _table(title: str, rows: list[Field]) -> list[str]:
    dynamic = title.startswith("Dynamic")
    heads = ["setting", "kind", "default", *([] if dynamic else ["environment"]), "meaning"]
    lines = [f"## {title}", "", *([DYNAMIC_INTRODUCTION, ""] if dynamic else [])]
    lines += [f"| {' | '.join(heads)} |", f"| {' | '.join('---' for _ in heads)} |"]
    return [*lines, *(_line(row, dynamic) for row in rows), ""]


def _line(row: Field, dynamic: bool) -> str:
    kind = ", ".join(f"`{choice}`" for choice in row.choices) or row.kind.name
    unit = f" ({row.unit})" if row.unit else ""
    limits = [f"{sign} {bound:g}" for sign, bound in (("≥", row.least), ("≤", row.most)) if bound is not None]
    notes = [*(["required"] if row.required else []), *([f"**{row.idle}**"] if row.idle else [])]
    if row.where is Where.BOTH and not dynamic:
        notes.append("also dynamic")
    if row.aliases:
        notes.append("old name " + ", ".join(f"`{name}`" for name in row.aliases))
    meaning = row.doc + (f" ({'; '.join(notes)})" if notes else "")
    cells = [f"`{row.key}`", " ".join([kind + unit, *limits]), _default(row)]
    if not dynamic:
        cells.append(f"`{row.env}`")
    return "| " + " | ".join([*cells, meaning.replace("|", "\\|")]) + " |"


def _default(row: Field) -> str:
    if row.secret or row.default in (None, "", (), {}):
        return ""
    return f"`{flow(row.default)}`"


# --- the JSON schema ----------------------------------------------------------------------------------------------


def json_schema() -> str:
    """A JSON schema of the file, for editors."""
    root = _schema_section(Sections, Where.DYNAMIC)
    root["properties"]["bootstrap"]["properties"]["dcs"] |= {"$ref": "#/$defs/dynamic"}
    document = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$comment": BANNER,
        "title": "haagent configuration file",
        **root,
        "$defs": {"dynamic": _schema_section(Dynamic, Where.LOCAL)},
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _schema_section(cls: type, not_here: Where) -> dict[str, Any]:
    properties: dict[str, Any] = {}
    for f in fields(cls):
        if "section" in f.metadata:
            properties[f.name] = _schema_section(f.metadata["section"], not_here)
        elif "row" in f.metadata and f.metadata["row"].where is not not_here:
            properties[f.name] = _schema_row(f.metadata["row"])
    section: dict[str, Any] = {"type": ["object", "null"], "description": _summary(cls), "properties": properties}
    if "state_dir" in properties:
        section["additionalProperties"] = False
    return section


def _schema_row(row: Field) -> dict[str, Any]:
    facts: dict[str, Any] = dict(row.kind.schema)
    if row.choices:
        facts = {"enum": [*row.choices, *([True, False] if {"on", "off"} & set(row.choices) else []), None]}
    elif "type" in facts:
        types = facts["type"] if isinstance(facts["type"], list) else [facts["type"]]
        facts["type"] = [*types, "null"]
    facts["description"] = f"{row.doc}{_idle(row)}"
    if row.least is not None:
        facts["minimum"] = row.least
    if row.most is not None:
        facts["maximum"] = row.most
    if row.default not in (None, "", (), {}) and not isinstance(row.default, values.Secret):
        facts["default"] = list(row.default) if isinstance(row.default, tuple) else row.default
    return facts


RENDERED = {
    "config/haagent.sample.yml": sample,
    "docs/reference/settings.md": manual,
    "docs/reference/settings.schema.json": json_schema,
}
"""Every rendered file with what renders it."""


def main() -> None:
    """Write every rendered file."""
    for name, render in RENDERED.items():
        path = ROOT / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(render(), encoding="utf-8")


if __name__ == "__main__":
    main()
