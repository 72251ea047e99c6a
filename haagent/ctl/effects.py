"""What a change of the dynamic configuration will do: which setting takes effect how, on which nodes, in what order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from haagent.config import parameters as rules
from haagent.core.facts import Document, Snapshot
from haagent.ctl import rows

SHOWN = 60
"""Characters of a value."""


@dataclass(frozen=True, slots=True)
class Change:
    """One setting that changes; None: it was or will be absent."""

    path: tuple[str, ...]
    before: Any
    after: Any

    @property
    def parameter(self) -> str | None:
        """The name, if it is a parameter of PostgreSQL."""
        return self.path[2] if self.path[:2] == ("postgresql", "parameters") and len(self.path) == 3 else None


def changes(before: Document, after: Document, path: tuple[str, ...] = ()) -> Iterator[Change]:
    """Every leaf that differs, in the order of names."""
    for name in sorted({*before, *after}, key=str):
        old, new = before.get(name), after.get(name)
        here = (*path, str(name))
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            yield from changes(old, new, here)
        elif here in (("postgresql",), ("postgresql", "parameters")):
            yield from changes(old or {}, new or {}, here)
        elif old != new:
            yield Change(here, old, new)


def plan(cluster: str, snapshot: Snapshot, before: Document, after: Document) -> list[str]:
    """What will happen, in lines for the operator to agree to; empty when nothing changes."""
    lines: list[str] = []
    orders: list[str] = []
    for change in changes(before, after):
        how, order = _effect(change)
        lines.append(f"  {'.'.join(change.path)}: {_value(change.before)} -> {_value(change.after)}: {how}")
        orders += [order] if order else []
    if orders:
        lines += _restarts(cluster, snapshot, orders)
    return ["What takes effect how:", *lines] if lines else []


def _effect(change: Change) -> tuple[str, str]:
    """How a change takes effect, and if by a restart in which order: ``standbys first``, ``primary first``, ``any``."""
    name = change.parameter
    if change.path == ("standby_cluster",) and change.after is None:
        return "at once: the standby leader is promoted, and this cluster stands alone", ""
    if change.path == ("standby_cluster",):
        return "at once: a primary here is stopped, and what it wrote beyond the one elsewhere is given up", ""
    if name is None:
        files = ("pg_hba", "pg_ident", "parameters_")
        reload = change.path[0] == "postgresql" and "".join(change.path[1:2]).startswith(files)
        return ("reload, on every node by itself" if reload else "at once, on every node by itself"), ""
    if name in rules.AGENT_OWNED or name in rules.RECOVERY_TARGETS:
        instead = f"; use {rules.INSTEAD[name]}" if name in rules.INSTEAD else ""
        return f"never: the agent sets it itself{instead}", ""
    if name in rules.RECOVERY or name not in rules.NEEDS_RESTART:
        return "reload, on every node by itself whose own file says nothing else", ""
    if name not in rules.STANDBY_SENSITIVE:
        return "restart, in any order", "any"
    old, new = (_number(name, value) for value in (change.before, change.after))
    if new > old:
        return "restart, standbys before the primary: a standby must not have less", "standbys first"
    return "restart, the primary before the standbys: a standby must not have less", "primary first"


def _number(name: str, value: Any) -> float:
    """The value in force; what is absent has its default."""
    try:
        return float(rules.SHARED_DEFAULTS[name] if value is None else value)
    except (TypeError, ValueError):
        return 0.0


def _value(value: Any) -> str:
    text = "not set" if value is None else str(value)
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"


def _restarts(cluster: str, snapshot: Snapshot, orders: Sequence[str]) -> list[str]:
    """The commands that restart PostgreSQL where it is needed, in their order."""
    standbys = " ".join(sorted(m.name for m in snapshot.members if not rows.leads(snapshot, m)))
    leader = snapshot.leader.name if snapshot.leader else ""
    command = f"haagent-ctl restart {cluster}"
    up, down = "standbys first" in orders, "primary first" in orders
    if up and down:
        return ["  Some values rise and others fall, and no one order of restarts suits both: make two changes"]
    steps = [f"{command} {names} --pending" for names in ((leader, standbys) if down else (standbys, leader)) if names]
    return [
        "  Until a restart the old values stay in force (Pending restart). To restart:",
        *(f"    {s}" for s in steps),
    ]
