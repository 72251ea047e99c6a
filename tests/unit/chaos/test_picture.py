"""The picture is well-formed and shows leader, roles, acknowledgements, permits, faults and violations."""

from __future__ import annotations

import xml.etree.ElementTree as ET

from tests.chaos.checks import Violation
from tests.chaos.conduct import Played, Stroke
from tests.chaos.observer import Leader, Permit, Role, Sightings
from tests.chaos.picture import draw
from tests.chaos.plan import Deed, Round
from tests.real.record import Attempt, Outcome, Record


def _played() -> Played:
    deed = Deed(1, 2.0, "lose etcd's answers", "node1", 3.0)
    seen = Sightings(
        [Role("node1", float(at), at + 0.1, 200 if at < 5 else 0, "primary", 1) for at in range(10)],
        [Permit("node1", float(at), at + 4.6) for at in range(5)],
        [Leader(float(at), "node1" if at < 7 else "") for at in range(10)],
    )
    record = Record(
        [Attempt(n, "haproxy 0", n / 10, n / 10 + 0.01, Outcome.ACKNOWLEDGED, "node1", 1) for n in range(50)]
    )
    violations = [Violation("one node at a time", "two <at> once", 6.0)]
    strokes = [Stroke(deed, 2.0, 2.1, 5.1)]
    return Played(Round(1, 10.0, (deed,)), 0.0, record, seen, strokes, 10.0, 12.0, violations)


def test_it_shows_all_there_was() -> None:
    svg = draw(_played(), ["node1", "node2"])
    root = ET.fromstring(svg)
    texts = [element.text for element in root.iter() if element.tag.endswith("text")]
    titles = [element.text or "" for element in root.iter() if element.tag.endswith("title")]
    for shown in ("node1", "node2", "#1 lose etcd's answers node1 for 3.0 s", "one node at a time", "healed", "10 s"):
        assert shown in texts
    assert "node1 holds the leader key" in titles
    assert "node1 is permitted to commit" in titles
    assert sum(title.endswith("rows, timeline 1") for title in titles) == 50


def test_permits_end_where_they_do() -> None:
    svg = ET.fromstring(draw(_played(), ["node1"]))
    bars = [element for element in svg.iter() if element.tag.endswith("rect")]
    (permit,) = [bar for bar in bars if any("is permitted" in (inner.text or "") for inner in bar)]
    width = float(permit.attrib["width"])
    assert abs(width / (1400 - 110 - 20) * 12.0 - 8.6) < 0.05
