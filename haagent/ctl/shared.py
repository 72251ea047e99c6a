"""What the members share: the dynamic configuration, and with it maintenance mode."""

from __future__ import annotations

import asyncio
import difflib
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import yaml

from haagent.config.problems import ConfigError
from haagent.core import mixed
from haagent.core.facts import ConfigKey, Document, Member, Snapshot
from haagent.ctl import effects, output, rows
from haagent.ctl.target import DCS_TIMEOUT_S, Failed, Target, ask_first, boottime
from haagent.ports import PortError, Refused, Unknown
from haagent.rest.client import RequestError

HEARD_AFTER_S = 5.0
"""On top of loop_wait: how long the members may take to follow a change of maintenance mode."""


# --- the document ---


async def show_config(target: Target, form: str) -> str:
    """The dynamic configuration as stored."""
    document = _config(target, await target.snapshot()).document
    return output.as_json(document) if form == "json" else output.as_yaml(dict(document))


def _config(target: Target, snapshot: Snapshot) -> ConfigKey:
    if snapshot.config is None:
        raise Failed(f"the config key does not exist in cluster {target.cluster}")
    return snapshot.config


@dataclass(frozen=True, slots=True)
class Edit:
    """How the document shall change; nothing given means the editor."""

    sets: Sequence[str] = ()
    pg_sets: Sequence[str] = ()
    apply: str | None = None
    replace: str | None = None


async def edit_config(target: Target, edit: Edit, quiet: bool, force: bool) -> None:
    """Show the difference and what it will do, check it, and write it if nobody else wrote meanwhile."""
    snapshot = await target.snapshot()
    key = _config(target, snapshot)
    before = output.as_yaml(dict(key.document))
    document = changed(key.document, edit)
    _storable(document)
    after = output.as_yaml(document)
    if before == after:
        output.show("Not changed")
        return
    if not quiet:
        output.show(difference(before, after))
    try:
        _, warnings = target.check(document)
    except ConfigError as error:
        raise Failed(f"{error}\nNothing was changed") from None
    if (why := mixed.objection(snapshot, document)) is not None:
        raise Failed(why)
    for warning in warnings:
        output.warn(f"Warning: {warning}")
    if not quiet:
        output.show("\n".join(effects.plan(target.cluster, snapshot, key.document, document)))
    ask_first("Apply these changes?", force)
    try:
        await target.dcs.put_config(document, key.revision, DCS_TIMEOUT_S)
    except Refused as error:
        raise Failed(
            f"Somebody else changed the configuration after it was read (revision {int(key.revision)}): {error}. "
            "Nothing was written; run the command again to see both changes together"
        ) from None
    except Unknown as error:
        raise Failed(f"{error}. Whether it was written is not known: see haagent-ctl show-config") from None
    except PortError as error:
        raise Failed(f"{error}. Nothing was written") from None
    output.show("Configuration changed")


def _storable(document: Document) -> None:
    """Failed when JSON cannot hold the document, as with a date or a value that contains itself."""
    try:
        json.dumps(document, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise Failed(
            f"the configuration is stored as JSON, which cannot hold it: {error}. Nothing was changed"
        ) from None


def difference(before: str, after: str) -> str:
    """A unified diff; in colours on a terminal."""
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), "before", "after", lineterm="")
    colours = {"+": "green", "-": "red", "@": "cyan"}
    return "\n".join(click.style(line, fg=colours.get(line[:1])) for line in lines)


def changed(document: Document, edit: Edit) -> dict[str, Any]:
    """The document after the edit; Failed when the edit cannot be read."""
    assignments = [*edit.sets, *(f"postgresql.parameters.{text}" for text in edit.pg_sets)]
    if not assignments and edit.apply is None and edit.replace is None:
        return _edited(document)
    result = dict(document)
    if edit.replace is not None:
        result = _read(edit.replace)
    if edit.apply is not None:
        result = _laid_over(result, _read(edit.apply))
    for assignment in assignments:
        result = _laid_over(result, _assigned(assignment))
    return result


def has_terminal() -> bool:
    """Whether an editor can be shown to somebody."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def _edited(document: Document) -> dict[str, Any]:
    if not has_terminal():
        raise Failed("there is no terminal for an editor; say what to change with -s, -p, --apply or --replace")
    text = click.edit(output.as_yaml(dict(document)) + "\n", extension=".yml")
    return dict(document) if text is None else _document(text, "the edited text")


def _read(path: str) -> dict[str, Any]:
    if path == "-":
        return _document(sys.stdin.read(), "standard input")
    try:
        return _document(Path(path).read_text(encoding="utf-8"), path)
    except (OSError, UnicodeDecodeError) as error:
        raise Failed(f"{path} cannot be read: {error}") from None


def _document(text: str, source: str) -> dict[str, Any]:
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise Failed(f"{source} is not YAML: {error}. Nothing was changed") from None
    if not isinstance(document, dict):
        raise Failed(f"{source} holds no YAML map. Nothing was changed")
    return document


def _assigned(text: str) -> dict[str, Any]:
    """``a.b=value`` as a document; the value is read as YAML."""
    path, equals, value = text.partition("=")
    if not equals or not path.strip():
        raise Failed(f"cannot read {text!r}; expected KEY=VALUE, such as postgresql.parameters.work_mem=8MB")
    try:
        nested: Any = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise Failed(f"the value of {path} is not YAML: {error}") from None
    for part in reversed(path.strip().split(".")):
        nested = {part: nested}
    assert isinstance(nested, dict)
    return nested


def _laid_over(document: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """Null removes, maps merge, other values replace."""
    result = dict(document)
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, Mapping):
            there = result.get(key)
            result[key] = _laid_over(there if isinstance(there, Mapping) else {}, value)
        else:
            result[key] = value
    return result


# --- maintenance mode ---


async def set_pause(target: Target, paused: bool, wait: bool) -> None:
    """Switch maintenance mode on or off through an agent."""
    snapshot = await target.existing()
    word = "paused" if paused else "resumed"
    if rows.is_paused(snapshot) == paused:
        raise Failed("Cluster is already paused" if paused else "Cluster is not paused")
    if not paused and snapshot.leader is None:
        output.warn(_unwatched(snapshot))
    await patch(target, snapshot, {"pause": True if paused else None})
    if wait:
        output.show(f"'{'pause' if paused else 'resume'}' request sent, waiting until all members have seen it")
        await _until_seen(target, paused)
    output.show(f"Success: cluster management is {word}")


def _unwatched(snapshot: Snapshot) -> str:
    """What may go on beside the next leader: in maintenance mode the last one's permit has no end."""
    last = snapshot.history[-1].new_leader if snapshot.history else None
    return (
        f"Warning: nobody holds the leader key, and another node may lead from now on. If PostgreSQL still runs on "
        f"{last or 'the last leader'} without its agent, it goes on accepting writes beside that one: start its agent "
        f"(systemctl start haagent), or stop it (pg_ctl stop -D DATADIR -m immediate)"
    )


async def patch(target: Target, snapshot: Snapshot, change: Mapping[str, Any]) -> None:
    """Change the dynamic configuration through an agent, the leader's first."""
    tried = []
    for member in sorted(snapshot.members, key=lambda m: (not rows.leads(snapshot, m), m.name)):
        try:
            answer = await target.ask("PATCH", member, "/config", change)
        except RequestError as error:
            tried.append(str(error))
            continue
        if answer.ok:
            return
        raise Failed(f"{member.name} refused (HTTP {answer.status}): {answer.text}")
    raise Failed("no agent can be reached: " + "; ".join(tried))


async def _until_seen(target: Target, paused: bool) -> None:
    snapshot = await target.snapshot()
    document = snapshot.config.document if snapshot.config else {}
    loop_wait = document.get("loop_wait")
    within = (float(loop_wait) if isinstance(loop_wait, int | float) else 10.0) + HEARD_AFTER_S
    until = boottime() + within
    late: list[Member] = []
    while boottime() < until:
        late = [m for m in (await target.snapshot()).members if m.pause != paused]
        if not late:
            return
        await asyncio.sleep(target.poll_s)
    names = ", ".join(sorted(m.name for m in late))
    raise Failed(f"the change is stored, but {names} had not seen it after {within:.0f} s: see haagent-ctl list")
