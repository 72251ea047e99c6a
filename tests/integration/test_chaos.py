"""The randomised run itself: a short one with a fixed seed, in which nothing may be violated."""

from __future__ import annotations

import json
from pathlib import Path

from tests.chaos.run import Options, run
from tests.real.shared import Shared

ROUND_S = 20.0


def test_a_short_run_violates_nothing_and_tells_what_happened(shared: Shared, tmp_path: Path) -> None:
    """Faults on top of each other: no overlap, nothing after the permit, whole at the end; the report has it all."""
    shared.end()
    report = run(Options(seed=3, minutes=1, only=(1,), round_s=ROUND_S), tmp_path / "report")
    assert not report.violated, report.verdict
    known = json.loads((report.directory / "report.json").read_text())
    assert known["command"] == 'make chaos SEED=3 MINUTES=1 ROUND="1" ROUND_S=20'
    (only,) = known["rounds"]
    assert only["faults"] >= 3
    assert only["acknowledged"] > 100
    assert {event["kind"] for event in known["events"]} >= {"fault", "round"}
    page = (report.directory / "index.html").read_text()
    assert "no violation" in page
    assert "<svg" in page
    assert (report.directory / "logs" / "node1.log").stat().st_size > 0
