"""The Postgres port on configuration files, directories and operators' programs."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from haagent.core.facts import IMMOVABLE, DataKind
from haagent.core.terms import Timeline
from haagent.ports import Refused, Unknown
from haagent.postgres.process import identify
from tests.contract.nodes import (
    a_primary,
    a_standby,
    down,
    streaming,
)
from tests.contract.pgnode import (
    a_node,
    tmpfs,
)


async def test_the_configuration_may_lie_outside_the_data_directory(home: Path) -> None:
    """As Debian has it, with a base configuration that names files of its own."""
    etc = home / "etc"
    etc.mkdir()
    node = a_node(home, "a", config_dir=etc)
    (etc / "postgresql.conf").write_text(
        f"data_directory = '{node.settings.data_dir}'\nhba_file = '/nonexistent'\nwork_mem = '3MB'\n"
    )
    await node.adapter.initialize(node.config, node.progress.append)
    await node.adapter.start(node.config, primary=True)
    await node.until(lambda facts: facts.writable)
    shown = await node.sql(
        "SELECT current_setting('config_file'), current_setting('hba_file'), current_setting('work_mem')"
    )
    assert shown == [(str(etc / "postgresql.conf"), str(etc / "pg_hba.conf"), "3MB")]
    standby = a_node(home, "b", config_dir=home / "etc-b")
    await standby.adapter.clone(node.upstream, "b", standby.progress.append)
    await standby.adapter.start(standby.following(node, "b"), primary=False)
    await standby.until(streaming)
    await standby.adapter.promote(Timeline(1), Timeline(2))
    await standby.until(lambda facts: facts.writable)
    await node.sql("CREATE TABLE lost (n int)")
    await node.adapter.kill_tree()
    await node.until(down)
    await node.adapter.rewind(standby.upstream, node.progress.append)
    await node.adapter.start(node.following(standby), primary=False)
    await node.until(streaming)


async def test_configure_writes_and_reloads_only_what_differs(home: Path) -> None:
    node = await a_primary(home)
    conf = node.settings.data_dir / "postgresql.conf"
    before = conf.stat().st_ino
    await node.adapter.configure(node.config)
    assert conf.stat().st_ino == before
    assert (await node.adapter.probe(2.0)).configured == node.config
    changed = replace(
        node.config, parameters={**node.config.parameters, "max_connections": "30"}, pg_hba=("local all all trust",)
    )
    await node.adapter.configure(changed)
    facts = await node.until(lambda facts: facts.server is not None and bool(facts.server.pending_restart))
    assert facts.server is not None
    assert facts.server.pending_restart == {"max_connections": ("20", "30")}
    assert "local all all trust" in (node.settings.data_dir / "pg_hba.conf").read_text()


async def test_alter_system_does_not_turn_a_standby_elsewhere(home: Path) -> None:
    primary = await a_primary(home)
    await primary.sql("ALTER SYSTEM SET primary_conninfo = 'host=nowhere.invalid'")
    await primary.sql("ALTER SYSTEM SET work_mem = '9MB'")
    standby = await a_standby(home, primary)
    assert await standby.sql("SHOW work_mem") == [("9MB",)]


@pytest.mark.parametrize(
    ("files", "kind"),
    [
        (None, DataKind.ABSENT),
        ((), DataKind.EMPTY),
        (("x",), DataKind.UNREADABLE),
        (("PG_VERSION", "global/pg_control"), DataKind.UNREADABLE),
    ],
)
async def test_a_directory_without_a_cluster(home: Path, files: tuple[str, ...] | None, kind: DataKind) -> None:
    node = a_node(home, "a")
    if files is not None:
        (node.settings.data_dir / "global").mkdir(
            parents=True
        ) if "PG_VERSION" in files else node.settings.data_dir.mkdir()
        for name in files:
            (node.settings.data_dir / name).write_text("15\n")
    facts = await node.adapter.probe(2.0)
    assert facts.data.kind is kind
    assert bool(facts.data.detail) is (kind is DataKind.UNREADABLE)
    assert facts.postmaster is None


async def test_a_data_directory_behind_a_link_is_moved_where_it_is(home: Path) -> None:
    disk = home / "disk"
    disk.mkdir()
    (disk / "real").mkdir()
    (disk / "real" / "file").write_text("x")
    node = a_node(home, "a")
    node.settings.data_dir.symlink_to(disk / "real")
    aside = Path(await node.adapter.move_aside("Test of links"))
    assert (aside / "file").read_text() == "x"
    assert aside.parent == disk
    assert (await node.adapter.probe(2.0)).data.kind is DataKind.EMPTY


async def test_a_data_directory_that_is_a_mount_point_stays_and_the_reason_says_what_to_do(home: Path) -> None:
    node = a_node(home, "a")
    node.settings.data_dir.mkdir()
    (node.settings.data_dir / "PG_VERSION").write_text("15\n")
    with tmpfs(node.settings.data_dir, "size=1M"):
        (node.settings.data_dir / "file").write_text("x")
        assert (await node.adapter.probe(2.0)).data.mount_point
        with pytest.raises(Refused, match=r"find \S+/data -mindepth 1 -maxdepth 1 -exec mv -t") as refusal:
            await node.adapter.move_aside("test")
        assert refusal.value.reason == IMMOVABLE
        assert (node.settings.data_dir / "file").exists()


async def test_hooks_are_bounded_and_take_their_children_with_them(home: Path) -> None:
    node = a_node(home, "a")
    assert await node.adapter.run_hook("/bin/sh -c 'exit $0'", ("7",), 5.0) == 7
    with pytest.raises(Refused, match="cannot be started"):
        await node.adapter.run_hook("/no/such/program", (), 5.0)
    pid_file = home / "pid"
    with pytest.raises(Unknown, match="was killed with its children"):
        await node.adapter.run_hook("/bin/sh -c", (f"sleep 60 & echo $! > {pid_file}; wait",), 2.0)
    async with asyncio.timeout(5):
        while identify(int(pid_file.read_text())) is not None:
            await asyncio.sleep(0.01)
