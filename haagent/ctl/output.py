"""Rows as text: a table for eyes, or JSON, YAML and TSV for scripts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import click
import yaml
from rich.box import ASCII2
from rich.console import Console
from rich.style import Style
from rich.table import Table
from rich.text import Text

from haagent.ctl.rows import Row

FORMATS = ("table", "pretty", "json", "yaml", "yml", "tsv")
"""``pretty`` and ``yml`` are the names that patronictl uses for ``table`` and ``yaml``."""
_SAME = {"pretty": "table", "yml": "yaml"}
_TO_THE_RIGHT = frozenset({"TL", "LSN", "Receive LSN", "Receive Lag", "Replay LSN", "Replay Lag"})
_HEALTHY = frozenset({"running", "streaming"})
_ENOUGH = 10_000
"""Columns: a table is never folded, whatever the width of the terminal."""


def canonical(name: str) -> str:
    """The one name of a format."""
    return _SAME.get(name, name)


def as_json(document: Any) -> str:
    return json.dumps(document, ensure_ascii=False)


def as_yaml(document: Any) -> str:
    """YAML with sorted keys, so that two readings of one document are equal."""
    text: str = yaml.safe_dump(document, default_flow_style=False, allow_unicode=True, width=_ENOUGH)
    return text.rstrip("\n")


def as_tsv(keys: Sequence[str], rows: Sequence[Row]) -> str:
    """A line of keys, then a line for each row, fields separated by tabs."""
    lines = ["\t".join(keys)]
    lines += ["\t".join(cell(row.get(key)).replace("\t", " ") for key in keys) for row in rows]
    return "\n".join(lines)


def as_table(title: str | None, keys: Sequence[str], rows: Sequence[Row]) -> str:
    """A table of plain characters with its title in the upper border; in colours on a terminal."""
    table = Table(box=ASCII2, pad_edge=True, header_style=Style.null(), show_edge=True)
    for key in keys:
        table.add_column(key, justify="right" if key in _TO_THE_RIGHT else "left", no_wrap=True)
    for row in rows:
        table.add_row(*(Text(cell(row.get(key)), style=_style(key, row)) for key in keys))
    console = Console(width=_ENOUGH, highlight=False)
    with console.capture() as captured:
        console.print(table)
    lines = captured.get().splitlines()
    if title is not None:
        lines[0] = f"+ {title} {lines[0][len(title) + 3 :]}" if len(title) + 4 < len(lines[0]) else f"+ {title} +"
    return "\n".join(lines)


def _style(key: str, row: Row) -> str:
    if key == "State" and row.get("State") not in _HEALTHY:
        return "bold red"
    if key == "Role" and "Leader" in str(row.get("Role")):
        return "bold green"
    return "yellow" if key.startswith("Pending restart") else ""


def cell(value: Any) -> str:
    """A value in one field of a table."""
    if value is None:
        return ""
    if isinstance(value, dict):
        flow: str = yaml.safe_dump(value, default_flow_style=True, width=_ENOUGH, sort_keys=False)
        return flow.strip()
    return str(value)


def show(text: str) -> None:
    click.echo(text)


def warn(text: str) -> None:
    """Something that does not belong into the output proper."""
    click.echo(text, err=True)


def format_option(command: Any) -> Any:
    """``-f/--format``, with the formats declared here."""
    return click.option(
        "-f",
        "--format",
        "form",
        type=click.Choice(FORMATS),
        default="table",
        callback=lambda _context, _option, value: canonical(value),
        help="Output format; `pretty` is `table`, `yml` is `yaml`.",
    )(command)
