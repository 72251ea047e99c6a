"""What the samples tell of a disk, and what they do not."""

from __future__ import annotations

import asyncio
import errno
import os
from pathlib import Path

import pytest

from haagent.core.facts import DiskFacts
from haagent.core.terms import Instant
from haagent.postgres import volumes
from haagent.postgres.settings import PostgresSettings
from haagent.postgres.volumes import VolumeWatch


class Disk:
    """Answers samples below a directory with an error, or not yet, and counts them; others' threads may write too."""

    def __init__(self, below: Path) -> None:
        self._below = below
        self.error: int | None = None
        self.samples: list[Path] = []

    def __call__(self, path: Path) -> None:
        if not path.is_relative_to(self._below):
            return
        self.samples.append(path)
        if self.error is not None:
            raise OSError(self.error, os.strerror(self.error), os.fspath(path))


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Disk:
    made = Disk(tmp_path)
    monkeypatch.setattr(volumes, "_write_sample", made)
    monkeypatch.setattr(volumes, "EVERY_S", 0.01)
    monkeypatch.setattr(volumes, "AGAIN_S", 0.01)
    return made


@pytest.fixture
def settings(tmp_path: Path) -> PostgresSettings:
    data, state = tmp_path / "data", tmp_path / "state"
    for path in (data, state):
        path.mkdir()
    (data / "PG_VERSION").write_text("15\n")
    return PostgresSettings(data_dir=data, state_dir=state)


async def told(watch: VolumeWatch, settings: PostgresSettings, disk: Disk) -> DiskFacts:
    """The facts after two more samples."""
    watch.facts(settings, None, at_work=False)
    enough = len(disk.samples) + 2
    while len(disk.samples) < enough:
        await asyncio.sleep(0.005)
    return watch.facts(settings, None, at_work=False)


async def test_a_disk_that_fails_is_told_from_an_agent_that_may_not_write(
    settings: PostgresSettings, disk: Disk
) -> None:
    """Fault 48: wrong permissions on the state directory must not cost a primary."""
    watch, woken = VolumeWatch(lambda: Instant(7.0)), asyncio.Event()
    watch.on_change(lambda reason: woken.set())
    assert (await told(watch, settings, disk)).refusing_since is None
    for innocent in (errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENOENT):
        disk.error = innocent
        assert (await told(watch, settings, disk)).refusing_since is None
    assert not woken.is_set()
    for failing in (errno.EROFS, errno.EIO):
        disk.error = failing
        facts = await told(watch, settings, disk)
        assert facts.refusing_since == 7.0
        assert os.strerror(failing) in facts.why
    await asyncio.wait_for(woken.wait(), 1)
    disk.error = errno.EDQUOT
    assert "quota" in (await told(watch, settings, disk)).full
    disk.error = None
    await told(watch, settings, disk)
    facts = await told(watch, settings, disk)
    assert (facts.refusing_since, facts.full) == (None, "")
    watch.close()


async def test_no_foreign_file_lies_in_the_data_directory(settings: PostgresSettings, disk: Disk) -> None:
    watch = VolumeWatch(lambda: Instant(7.0))
    await told(watch, settings, disk)
    watch.close()
    assert {path.parent for path in disk.samples} == {settings.state_dir}


async def test_a_directory_that_is_being_built_is_left_alone(settings: PostgresSettings, disk: Disk) -> None:
    watch = VolumeWatch(lambda: Instant(7.0))
    watch.facts(settings, None, at_work=True)
    await asyncio.sleep(0.1)
    assert disk.samples == []
    (settings.data_dir / "PG_VERSION").unlink()
    watch.facts(settings, None, at_work=False)
    await asyncio.sleep(0.1)
    assert disk.samples == []
    watch.close()
