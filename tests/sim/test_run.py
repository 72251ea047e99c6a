"""What ``make sim`` prints last: the command that runs it again."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import pytest

from tests.sim import run
from tests.sim.simulation import Result
from tests.sim.world.knobs import Knobs


@pytest.mark.parametrize(
    ("failing", "seeds", "last"),
    [((), "1", "--seed 7 --hours 0"), ((), "3", "--seed 9 --hours 0"), ((7, 8), "3", "--seed 8 --hours 0 --only 4")],
    ids=["one seed", "the last seed when none fails", "else the last that failed, shortened"],
)
def test_the_last_line_replays(
    failing: Collection[int],
    seeds: str,
    last: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    class Ran:
        def __init__(self, seed: int, *_: Any, **__: Any) -> None:
            self._result = Result(seed, Knobs(), (), violations=["one writer: two"] if seed in failing else [])

        def run(self) -> Result:
            return self._result

    def shortened(found: Result) -> Result:
        return Result(found.seed, found.knobs, found.plan, (4,), found.violations)

    monkeypatch.setattr(run, "Simulation", Ran)
    monkeypatch.setattr(run, "shorten", shortened)
    assert run.main(["--seed", "7", "--seeds", seeds, "--shorten"]) == bool(failing)
    assert capsys.readouterr().out.splitlines()[-1] == f"python -m tests.sim.run {last}"
