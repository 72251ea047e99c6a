"""What the probe says while the disk or a program is late, and while processes die around it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from haagent.core.conditions import gone
from haagent.core.facts import DataKind, PostgresFacts
from haagent.core.terms import Instant
from haagent.ports import Refused, Unknown
from haagent.postgres import look as looking
from haagent.postgres import probe as probing
from haagent.postgres.control import ControlData, parse_control
from haagent.postgres.postmaster import Postmaster
from haagent.postgres.probe import Probe
from haagent.postgres.process import identify
from haagent.postgres.settings import PostgresSettings
from haagent.postgres.sql import Client
from tests.builders import a_view
from tests.unit.postgres.test_facts import CONTROL


@pytest.fixture
def settings(tmp_path: Path) -> PostgresSettings:
    """A data directory that looks like one."""
    data = tmp_path / "data"
    (data / "global").mkdir(parents=True)
    (data / "global" / "pg_control").write_bytes(b"control")
    (data / "PG_VERSION").write_text("15\n")
    return PostgresSettings(data_dir=data, state_dir=tmp_path / "state")


@pytest.fixture
def orphan(settings: PostgresSettings) -> Iterator[subprocess.Popen[bytes]]:
    """A process that works in the data directory, and whose program is called postgres."""
    copy = settings.data_dir.parent / "bin" / "postgres"
    copy.parent.mkdir()
    copy.write_bytes(Path("/bin/sleep").read_bytes())
    copy.chmod(0o755)
    process = subprocess.Popen([str(copy), "60"], cwd=settings.data_dir)
    yield process
    process.kill()
    process.wait()


class Controls:
    """Stands in for pg_controldata; what it says can be changed."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.asked = 0

    async def __call__(self, settings: PostgresSettings, timeout: float) -> ControlData:
        self.asked += 1
        if self.error is not None:
            raise self.error
        return parse_control(tuple(CONTROL.splitlines()))


@pytest.fixture
def controls(monkeypatch: pytest.MonkeyPatch) -> Controls:
    said = Controls()
    monkeypatch.setattr(probing, "read_control", said)
    return said


def now() -> Instant:
    return Instant(time.monotonic())


def a_probe(settings: PostgresSettings, postmaster: Postmaster | None = None) -> Probe:
    return Probe(settings, postmaster or Postmaster(), Client(), now)


async def one(probe: Probe, settings: PostgresSettings, timeout: float = 1.0) -> PostgresFacts:
    return await probe.probe(settings, None, timeout)


async def test_a_control_file_that_was_not_read_in_time_is_read_again(
    settings: PostgresSettings, controls: Controls
) -> None:
    probe = a_probe(settings)
    controls.error = Unknown("pg_controldata did not end within 0.9 s")
    assert (await one(probe, settings)).data.kind is DataKind.UNKNOWN
    controls.error = None
    assert (await one(probe, settings)).data.kind is DataKind.VALID


async def test_a_damaged_control_file_is_unreadable(settings: PostgresSettings, controls: Controls) -> None:
    controls.error = Refused("the control file is damaged")
    data = (await one(a_probe(settings), settings)).data
    assert (data.kind, data.detail) == (DataKind.UNREADABLE, "the control file is damaged")


async def test_a_control_file_that_was_read_is_not_read_twice(settings: PostgresSettings, controls: Controls) -> None:
    probe = a_probe(settings)
    await one(probe, settings)
    await one(probe, settings)
    assert controls.asked == 1


async def test_a_disk_that_is_late_does_not_make_data_absent(
    settings: PostgresSettings, controls: Controls, monkeypatch: pytest.MonkeyPatch
) -> None:
    probe, real = a_probe(settings), looking.look

    def late(settings: PostgresSettings) -> looking.Look:
        time.sleep(0.2)
        return real(settings)

    monkeypatch.setattr(probing, "look", late)
    data = (await one(probe, settings, 0.05)).data
    assert data.kind is DataKind.UNKNOWN
    assert "did not answer" in data.detail


async def test_backends_are_seen_although_the_look_was_before_their_postmaster_died(
    settings: PostgresSettings,
    controls: Controls,
    orphan: subprocess.Popen[bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dead = subprocess.Popen([sys.executable, "-c", "pass"])
    process = identify(dead.pid)
    dead.wait()
    seen = looking.Look(DataKind.VALID, control_key=(1, 1, 1), postmaster=process, real=os.fspath(settings.data_dir))
    monkeypatch.setattr(probing, "look", lambda settings: seen)
    facts = await one(a_probe(settings), settings)
    assert (facts.postmaster, facts.orphans) == (None, 1)
    assert not gone(a_view(postgres=facts)), "whoever has orphans must not give up its key"


async def test_orphans_are_seen_also_when_their_directory_was_removed(
    settings: PostgresSettings, orphan: subprocess.Popen[bytes], controls: Controls
) -> None:
    for path in ("global/pg_control", "PG_VERSION"):
        (settings.data_dir / path).unlink()
    (settings.data_dir / "global").rmdir()
    settings.data_dir.rmdir()
    facts = await one(a_probe(settings), settings)
    assert (facts.data.kind, facts.orphans) == (DataKind.ABSENT, 1)
