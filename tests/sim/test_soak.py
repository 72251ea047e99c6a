"""What a soak says, and which seeds it runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.sim import soak
from tests.sim.soak import Tally, fresh


def test_a_report_ends_with_the_command_that_replays_a_failure() -> None:
    tally, one = Tally(), {"seed": 7, "failed": "", "hours": 1.0, "cpu_s": 2.0, "faults": {"cut": 60}}
    one |= {"commits": 100, "leaders": 3, "bursts": 4, "rows": {"599": 10}}
    tally.add(one)
    assert "60 faults in 4 bursts, 60 an hour" in tally.told(5.0)
    tally.add(one | {"seed": 8, "failed": "VIOLATION\npython -m tests.sim.run --seed 8"})
    told = tally.told(5.0).splitlines()
    assert told[-1] == "python -m tests.sim.run --seed 8"
    assert "rows by how often they were taken: 599 20" in told


def test_a_known_violation_is_told_and_does_not_end_the_soak(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soak, "OPEN", {7: "one writer, after a restore"})
    one = {"seed": 7, "failed": "VIOLATION", "hours": 1.0, "cpu_s": 2.0, "faults": {}}
    one |= {"commits": 100, "leaders": 3, "bursts": 4, "rows": {}}
    tally = Tally()
    tally.add(one)
    assert (tally.failed, tally.known) == ("", ["seed 7 still breaks an invariant: one writer, after a restore"])
    tally.add(one | {"failed": ""})
    assert "seed 7 no longer breaks an invariant" in tally.told(1.0)
    tally.add(one | {"seed": 8})
    assert tally.failed


def test_the_fresh_seeds_are_the_codes_own(tmp_path: Path) -> None:
    (tmp_path / "haagent" / "core").mkdir(parents=True)
    (tmp_path / "haagent" / "core" / "a.py").write_text("one")
    (tmp_path / "README.md").write_text("one")
    before = fresh(tmp_path)
    (tmp_path / "README.md").write_text("other")
    assert fresh(tmp_path) == before > 1_000_000
    (tmp_path / "haagent" / "core" / "a.py").write_text("other")
    assert fresh(tmp_path) != before
