"""Every row of the table is taken: by a scenario, all of which have run when this is asked, or in the soak."""

from __future__ import annotations

import json
from pathlib import Path

from tests.sim.rows import IN_SCENES, UNREACHED, never_taken


def test_no_row_is_left_that_neither_scenarios_nor_soak_have_taken(rows_of_the_soak: Path) -> None:
    soaked = {int(row) for row, times in json.loads(rows_of_the_soak.read_text()).items() if times}
    assert len(soaked) > 100
    assert len(IN_SCENES) > 100, "the scenarios run before this, in the same process"
    assert never_taken(soaked | IN_SCENES.keys()) == []
    assert not UNREACHED.keys() & IN_SCENES.keys()
