"""The simulator's soak runs beside all other tests, on the time that real clusters leave idle, and is judged last."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

LIMIT_S = 960.0
"""After so long no further seed is begun; a run that came to less than a quarter of its hours by then fails."""
LAST_SEEDS_S = 180.0
"""What the seeds under way may still take, and the shortening of a failing one."""


@dataclass
class Soak:
    """A soak in the background and its output so far."""

    process: subprocess.Popen[bytes]
    output: Path

    def ended(self) -> tuple[int, str]:
        """Wait for its end: exit code and output; TimeoutExpired when it is long overdue."""
        return self.process.wait(LIMIT_S + LAST_SEEDS_S), self.output.read_text()

    def stop(self) -> None:
        """End it, and with it its workers."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--sim-hours", type=float, default=0.0, help="simulated hours to soak beside the other tests")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    items.sort(key=_judges)
    if not config.getoption("--sim-hours"):
        config.hook.pytest_deselected(items=[item for item in items if _judges(item)])
        items[:] = [item for item in items if not _judges(item)]


def _judges(item: pytest.Item) -> bool:
    return "soak" in getattr(item, "fixturenames", ()) and item.name.startswith("test_soak")


@pytest.fixture(scope="session", autouse=True)
def soak(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Soak | None]:
    """Begun with the first test, at the lowest priority, if the test that judges it was chosen."""
    if not any(_judges(item) for item in request.session.items):
        yield None
        return
    hours = request.config.getoption("--sim-hours")
    output = tmp_path_factory.mktemp("soak") / "output"
    with output.open("wb") as file:
        process = subprocess.Popen(
            ["nice", "-n", "19", sys.executable, "-m", "tests.sim.soak", f"--hours={hours}", f"--limit={LIMIT_S}"],
            cwd=request.config.rootpath,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    running = Soak(process, output)
    try:
        yield running
    finally:
        running.stop()
