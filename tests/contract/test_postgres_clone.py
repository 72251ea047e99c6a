"""The Postgres port while data directories are made from others: base backups, whole and unfinished."""

from __future__ import annotations

import asyncio
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from haagent.core.facts import DataKind
from haagent.core.terms import Instant
from haagent.ports import Refused
from haagent.postgres.files import Marker, set_marker
from haagent.postgres.process import identify
from haagent.postgres.volumes import VolumeWatch
from tests.contract.nodes import (
    a_primary,
    expect_unfinished,
    pid_of,
    streaming,
)
from tests.contract.pgnode import (
    a_node,
    tmpfs,
)


async def test_a_clone_that_is_killed_leaves_a_directory_that_never_starts(home: Path) -> None:
    source = await a_primary(home)
    node = a_node(home, "b", basebackup=(("max-rate", "1M"), ("verbose", None)))
    cloning = asyncio.create_task(node.adapter.clone(source.upstream, "b", node.progress.append))
    pid = await pid_of("pg_basebackup")
    while not (node.settings.data_dir / "base").exists():
        await asyncio.sleep(0.01)
    os.killpg(pid, signal.SIGKILL)
    with pytest.raises(Refused, match="pg_basebackup was ended by signal 9"):
        await cloning
    await expect_unfinished(node, "cloning")
    assert "is removed" in await node.adapter.move_aside("unfinished clone")
    assert (await node.adapter.probe(2.0)).data.kind is DataKind.ABSENT
    while list(node.home.glob("data*")):
        await asyncio.sleep(0.02)
    node.adapter.settings = replace(node.settings, basebackup=())
    await node.adapter.clone(source.upstream, "b", node.progress.append)
    assert (await node.adapter.probe(2.0)).data.kind is DataKind.VALID


async def test_a_cancelled_clone_leaves_no_process(home: Path) -> None:
    source = await a_primary(home)
    node = a_node(home, "b", basebackup=(("max-rate", "1M"),))
    cloning = asyncio.create_task(node.adapter.clone(source.upstream, None, node.progress.append))
    pid = await pid_of("pg_basebackup")
    cloning.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cloning
    assert identify(pid) is None
    assert (await node.adapter.probe(2.0)).data.kind is not DataKind.VALID


async def test_what_a_killed_agent_left_running_is_ended_before_its_directory_is_moved(home: Path) -> None:
    source = await a_primary(home)
    node = a_node(home, "b", basebackup=(("max-rate", "1M"),))
    cloning = asyncio.create_task(node.adapter.clone(source.upstream, None, node.progress.append))
    pid = await pid_of("pg_basebackup")
    await asyncio.sleep(0.3)
    newcomer = node.agent()
    await newcomer.move_aside("left over")
    assert identify(pid) is None
    assert not node.settings.data_dir.exists()
    with pytest.raises(Refused):
        await cloning


async def test_a_clone_never_writes_over_data(home: Path) -> None:
    source = await a_primary(home)
    node = a_node(home, "b")
    node.settings.data_dir.mkdir()
    (node.settings.data_dir / "precious").write_text("x")
    with pytest.raises(Refused, match="not empty"):
        await node.adapter.clone(source.upstream, None, node.progress.append)
    assert (node.settings.data_dir / "precious").read_text() == "x"
    facts = await node.adapter.probe(2.0)
    assert facts.data.kind is DataKind.UNREADABLE


async def test_a_clone_that_runs_out_of_space_leaves_nothing_behind(home: Path) -> None:
    """Fault 53: the reason with the bytes, no slot at the source, no copy that takes up room; later it succeeds."""
    source = await a_primary(home)
    node = a_node(home, "b")
    with tmpfs(node.home, "size=16m,nr_inodes=20k") as resize:
        with pytest.raises(Refused, match=r"No space left on device.*; \d+ bytes are free in "):
            await node.adapter.clone(source.upstream, "b", node.progress.append)
        assert (await source.adapter.probe(2.0)).server is not None
        assert await source.sql("SELECT slot_name FROM pg_replication_slots") == []
        assert (await node.adapter.probe(2.0)).data.kind in (DataKind.ABSENT, DataKind.EMPTY)
        with pytest.raises(Refused):
            await node.adapter.start(node.config, primary=False)
        resize("size=512m")
        await node.adapter.clone(source.upstream, "b", node.progress.append)
        await node.adapter.start(node.following(source, "b"), primary=False)
        await node.until(streaming)
        await node.stop()


async def test_nothing_is_cloned_into_a_bare_mount_point(home: Path) -> None:
    """Fault 51: also an agent that is started without the disk knows where its data lay."""
    source = await a_primary(home)
    node = a_node(home, "b")
    disk = node.home / "disk"
    disk.mkdir()
    node.settings = node.adapter.settings = replace(node.settings, data_dir=disk / "data")
    with tmpfs(disk, "size=512m"):
        await node.adapter.clone(source.upstream, "b", node.progress.append)
        assert (await node.adapter.probe(2.0)).data.kind is DataKind.VALID
    newcomer = node.agent()
    facts = await newcomer.probe(2.0)
    assert facts.data.kind is DataKind.UNMOUNTED
    assert f"mounted at {disk}" in facts.data.detail
    with pytest.raises(Refused, match="not mounted now"):
        await newcomer.clone(source.upstream, "b", node.progress.append)
    assert list(disk.iterdir()) == []


async def test_a_whole_copy_that_an_operator_put_there_is_never_deleted(home: Path) -> None:
    """After an agent was killed while it cloned, and its marker is still there."""
    node = a_node(home, "b")
    (node.settings.data_dir / "global").mkdir(parents=True)
    (node.settings.data_dir / "global" / "pg_control").write_text("restored from a backup")
    set_marker(node.settings, Marker("cloning"))
    kept = Path(await node.adapter.move_aside("clone interrupted"))
    assert (kept / "global" / "pg_control").read_text() == "restored from a backup"
    assert (await node.adapter.probe(2.0)).data.kind is DataKind.ABSENT


def test_two_volumes_are_counted_apart(tmp_path: Path) -> None:
    """Fault 46: WAL on a disk of its own that is full, and one that has room again only with a margin."""
    data, wal = tmp_path / "data", tmp_path / "wal"
    wal.mkdir()
    data.mkdir()
    settings = replace(a_node(tmp_path, "n").settings, data_dir=data)
    (data / "pg_wal").symlink_to(wal)
    watch = VolumeWatch(lambda: Instant(0.0))
    with tmpfs(wal, "size=40m") as resize:
        for filled, full in ((0, False), (10, True), (2, True), (0, True)):
            (wal / "ballast").write_bytes(bytes(filled * 1024 * 1024))
            watch.measure(settings)
            assert [volume.full for volume in watch.room] == [False, full]
        assert [volume.path for volume in watch.room] == [data, wal]
        resize("size=100m")
        watch.measure(settings)
        assert not any(volume.full for volume in watch.room)
