"""HAProxy accepts the configuration that the project gives."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.real.hosts import LoopbackHost
from tests.real.programs import postgres_bin, program
from tests.real.proxy import SAMPLE, Proxy
from tests.real.settings import NodePlace


def _check(file: Path) -> None:
    done = subprocess.run([program("haproxy"), "-c", "-f", str(file)], capture_output=True, text=True, timeout=20)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr


def test_the_sample_is_valid() -> None:
    """As it stands in ``config``, without a warning."""
    _check(SAMPLE)


@pytest.mark.parametrize("count", [2, 3])
def test_made_for_other_nodes_it_is_valid_too(tmp_path: Path, count: int) -> None:
    """With the servers of a trial in place of the sample's, each in both sections."""
    places = [
        NodePlace(f"n{number}", f"10.1.1.{number}", 5432, 8008, tmp_path, postgres_bin())
        for number in range(1, count + 1)
    ]
    proxy = Proxy(LoopbackHost("trial", "client"), places, tmp_path)
    _check(proxy.file)
    for place in places:
        assert proxy.file.read_text().count(f" {place.address}:5432 ") == 2
