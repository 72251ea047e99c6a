"""What the audience sees: the cluster live on a terminal, plain lines elsewhere."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from tests.real.cluster import Cluster
from tests.real.record import Record
from tests.real.waiting import now

LOOK_EVERY_S = 0.25
COLOURS = {"primary": "bold green", "replica": "cyan"}


@dataclass(frozen=True)
class Row:
    """One node as it shows itself."""

    name: str
    role: str
    state: str
    timeline: str
    postmaster: str


class Screen:
    """Looks at the cluster four times a second in a thread of its own, and shows it; a context manager."""

    def __init__(self, cluster: Cluster, console: Console) -> None:
        self.record: Record | None = None
        self._cluster, self._console = cluster, console
        self._began_at = now()
        self._said: deque[str] = deque(maxlen=14)
        self._rows: list[Row] = []
        self._etcd = ""
        self._ended = threading.Event()
        self._looker = threading.Thread(target=self._look, name="screen", daemon=True)
        self._live = (
            Live(get_renderable=self._draw, console=console, refresh_per_second=6) if console.is_terminal else None
        )

    def __enter__(self) -> Screen:
        if self._live:
            self._live.start()
        self._looker.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._looker.join(5)
        if self._live:
            self._live.refresh()
            self._live.stop()

    def say(self, text: str) -> None:
        """Tell the audience something, with the time since the beginning."""
        line = f"{now() - self._began_at:6.1f} s  {text}"
        self._said.append(line)
        if self._live is None:
            self._console.print(line, highlight=False, markup=False)

    def _look(self) -> None:
        while not self._ended.wait(LOOK_EVERY_S):
            rows = [_row(node.name, node.status(), node.postmaster_pid()) for node in self._cluster.nodes]
            if self._live is None and rows != self._rows:
                self._console.print(f"{now() - self._began_at:6.1f} s  [{_line(rows)}]", highlight=False, markup=False)
            self._rows = rows
            leader = self._cluster.etcd.leader()
            self._etcd = f"etcd: {leader.name} leads" if leader else "etcd: no leader"

    def _draw(self) -> RenderableType:
        table = Table(expand=True)
        for title in ("node", "role", "state", "timeline", "postmaster"):
            table.add_column(title)
        for row in self._rows:
            style = COLOURS.get(row.role, "red")
            table.add_row(row.name, Text(row.role, style), row.state, row.timeline, row.postmaster)
        return Group(
            Panel(table, title="the cluster", subtitle=self._etcd),
            Text(self._writes()),
            Panel("\n".join(self._said), title="what happens"),
        )

    def _writes(self) -> str:
        if self.record is None:
            return "the client has not begun to write"
        acknowledged = self.record.acknowledged()
        if not acknowledged:
            return "the client waits for its first acknowledged row"
        idle_s = now() - acknowledged[-1].ended_at
        last = acknowledged[-1]
        return f"the client: {len(acknowledged)} rows acknowledged, the last by {last.node} {idle_s:.1f} s ago"


def _row(name: str, status: dict[str, Any], postmaster: int | None) -> Row:
    if not status:
        return Row(name, "-", "no answer", "", str(postmaster or "-"))
    role = str(status.get("role", "-"))
    state = str(status.get("replication_state") or status.get("state") or "-")
    return Row(name, role, state, str(status.get("timeline", "")), str(postmaster or "-"))


def _line(rows: list[Row]) -> str:
    return ", ".join(
        f"{row.name}: {row.role} {row.state}" + f" on timeline {row.timeline}" * bool(row.timeline) for row in rows
    )
