"""A round as a picture: who led, who was primary, who acknowledged, until when it was permitted, which fault when."""

from __future__ import annotations

import html
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tests.chaos.conduct import Played, Stroke
from tests.chaos.observer import Role

WIDTH, LEFT, RIGHT = 1400, 110, 20
BAND, LANE, GAP = 26, 15, 12
BIN_S = 0.1
BUSY = 8
"""So many acknowledgements in a bin are drawn at full height."""
ROLES = {"primary": "#2f9e44", "master": "#2f9e44", "replica": "#a5c8ec", "standby": "#a5c8ec"}
OTHER, SILENT = "#ffe8a1", "#e9ecef"
TIMELINES = ("#000000", "#862e9c", "#c2255c", "#0b7285", "#5c3c00", "#1864ab")
STYLE = "text { font: 11px sans-serif } .small { font-size: 10px } .law { fill: #c92a2a; font-weight: bold }"


@dataclass
class Canvas:
    """Shapes of one SVG, and the scale of its time axis."""

    began_at: float
    ended_at: float
    shapes: list[str]

    def x(self, at: float) -> float:
        """Where an instant lies."""
        part = (at - self.began_at) / max(self.ended_at - self.began_at, 0.001)
        return LEFT + min(max(part, 0.0), 1.0) * (WIDTH - LEFT - RIGHT)

    def bar(self, since: float, until: float, y: float, height: float, colour: str, title: str = "") -> None:
        """A rectangle between two instants."""
        x, width = self.x(since), max(self.x(until) - self.x(since), 0.8)
        inner = f"<title>{html.escape(title)}</title>" if title else ""
        self.shapes.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{colour}">{inner}</rect>'
        )

    def text(self, x: float, y: float, text: str, kind: str = "") -> None:
        """Some words."""
        self.shapes.append(f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}">{html.escape(text)}</text>')

    def line(self, at: float, top: float, bottom: float, colour: str) -> None:
        """An instant."""
        x = self.x(at)
        self.shapes.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{bottom}" stroke="{colour}"/>')


def draw(played: Played, nodes: Sequence[str]) -> str:
    """The round as an SVG document."""
    canvas = Canvas(played.began_at, max(played.ended_at, played.began_at + 1), [])
    y: float = 24
    y = _leaders(canvas, played, y)
    for node in nodes:
        y = _node(canvas, played, node, y)
    y = _faults(canvas, played.strokes, y)
    shapes, canvas.shapes = canvas.shapes, []
    _axis(canvas, played, y)
    canvas.shapes += shapes
    for violation in played.violations:
        if violation.at is not None:
            canvas.line(violation.at, 14, y, "#c92a2a")
            canvas.text(canvas.x(violation.at) + 2, 22, violation.law, "law")
    height = y + 24
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height:.0f}">'
        f"<style>{STYLE}</style>{''.join(canvas.shapes)}</svg>"
    )


def _leaders(canvas: Canvas, played: Played, y: float) -> float:
    canvas.text(4, y + 12, "leader key")
    seen = played.seen.leaders
    for (name, group), end in _runs([(one.name, one.seen_at) for one in seen], canvas.ended_at):
        if name:
            canvas.bar(group, end, y, 14, "#ced4da", f"{name} holds the leader key")
            canvas.text(canvas.x(group) + 3, y + 11, name, "small")
    return y + 14 + GAP


def _runs(marks: Sequence[tuple[str, float]], until: float) -> Iterator[tuple[tuple[str, float], float]]:
    """Equal neighbours as one: (what, since), until."""
    starts = [next(group) for _, group in itertools.groupby(marks, key=lambda mark: mark[0])]
    ends = [at for _, at in starts[1:]] + [until] * bool(starts)
    return zip(starts, ends, strict=True)


def _shade(role: Role) -> str:
    if role.status == 0:
        return SILENT
    return ROLES.get(role.role, OTHER) if role.status == 200 or role.role not in ("primary", "master") else OTHER


def _node(canvas: Canvas, played: Played, node: str, y: float) -> float:
    canvas.text(4, y + 16, node)
    roles = [role for role in played.seen.roles if role.node == node]
    for (shade, since), until in _runs([(_shade(role), role.asked_at) for role in roles], canvas.ended_at):
        canvas.bar(since, until, y, BAND, shade)
    bins: dict[tuple[int, int], int] = {}
    for one in played.record.acknowledged():
        if one.node == node:
            where = (int((one.ended_at - canvas.began_at) / BIN_S), one.timeline or 0)
            bins[where] = bins.get(where, 0) + 1
    for (place, timeline), count in sorted(bins.items()):
        height = (BAND - 6) * min(1.0, 0.3 + 0.7 * count / BUSY)
        at = canvas.began_at + place * BIN_S
        colour = TIMELINES[timeline % len(TIMELINES)]
        canvas.bar(at, at + BIN_S * 0.5, y + BAND - height, height, colour, f"{count} rows, timeline {timeline}")
    for permit_from, permit_until in _permitted(played, node):
        canvas.bar(permit_from, permit_until, y + BAND + 1, 3, "#7048e8", f"{node} is permitted to commit")
    return y + BAND + GAP


def _permitted(played: Played, node: str) -> list[tuple[float, float]]:
    """The times covered by permits, as seen in the node's page."""
    spans: list[tuple[float, float]] = []
    seen = [permit for permit in played.seen.permits if permit.node == node]
    for permit, after in itertools.zip_longest(seen, seen[1:]):
        until = min(permit.until, after.seen_at if after else played.ended_at)
        if until <= permit.seen_at:
            continue
        if spans and permit.seen_at - spans[-1][1] < 0.2:
            spans[-1] = (spans[-1][0], until)
        else:
            spans.append((permit.seen_at, until))
    return spans


def _faults(canvas: Canvas, strokes: Sequence[Stroke], y: float) -> float:
    lanes: list[float] = []
    for stroke in strokes:
        until = stroke.healed_at or stroke.done_at
        words = str(stroke.deed)
        reach = max(canvas.x(until), canvas.x(stroke.began_at) + 5.6 * len(words) + 8)
        lane = next((number for number, end in enumerate(lanes) if end < canvas.x(stroke.began_at)), len(lanes))
        lanes[lane : lane + 1] = [reach]
        top = y + lane * LANE
        canvas.bar(stroke.began_at, max(until, stroke.began_at + 0.1), top, LANE - 4, _colour(stroke), words)
        canvas.text(canvas.x(stroke.began_at) + 4, top + 9, words, "small")
    return y + len(lanes) * LANE + GAP


def _colour(stroke: Stroke) -> str:
    if stroke.deed.fault in ("switchover", "failover", "restart", "reinitialize"):
        return "#91a7ff"
    return "#ffd8a8" if stroke.deed.target.startswith("etcd") else "#ffa8a8"


def _axis(canvas: Canvas, played: Played, y: float) -> None:
    for second in range(0, int(canvas.ended_at - canvas.began_at) + 1, 5):
        canvas.line(canvas.began_at + second, 14, y, "#dee2e6")
        canvas.text(canvas.x(canvas.began_at + second) - 6, y + 14, f"{second} s", "small")
    canvas.line(played.healed_at, 14, y, "#2b8a3e")
    canvas.text(canvas.x(played.healed_at) + 3, 12, "healed", "small")
