"""The Postgres port where operators' own programs make the data directory, of a new cluster or of a replica."""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from haagent.core.facts import DataKind
from haagent.core.methods import BootstrapMethod, ReplicaMethod
from haagent.ports import Refused
from haagent.postgres.settings import Login
from tests.contract.nodes import a_primary, streaming
from tests.contract.pgnode import REPLICATION, REWIND, SUPERUSER, PgNode, a_node


def a_script(home: Path, name: str, text: str) -> Path:
    """An executable shell script that first writes its arguments, one a line, beside itself."""
    script = home / name
    script.write_text(f"#!/bin/sh\nprintf '%s\\n' \"$@\" > {script}.arguments\n{text}\n")
    script.chmod(0o755)
    return script


async def a_backup(home: Path) -> PgNode:
    """A stopped cluster with an archive, its base backup in ``home/backup`` and three rows written after it.

    Its roles have other passwords, and it has more connections than the cluster that is restored from it.
    """
    node = a_node(home, "old", superuser=replace(SUPERUSER, password="forgotten"), rewind=Login())
    (home / "archive").mkdir()
    archive = f"cp %p {home}/archive/%f"
    parameters = {**node.config.parameters, "archive_mode": "on", "archive_command": archive, "max_connections": "40"}
    node.config = replace(node.config, parameters=parameters)
    await node.adapter.initialize(node.config, node.progress.append)
    await node.adapter.start(node.config, primary=True)
    await node.until(lambda facts: facts.writable)
    copy = a_node(home, "copy", superuser=node.settings.superuser)
    await copy.adapter.clone(node.upstream, None, copy.progress.append)
    shutil.move(copy.settings.data_dir, home / "backup")
    old = replace(SUPERUSER, password="forgotten")
    async with await node.connect(old) as connection:
        await connection.execute("CREATE TABLE kept (n int)")
        for n in range(3):
            await connection.execute("INSERT INTO kept VALUES (%s)", (n,))
            await connection.execute("SELECT pg_create_restore_point(%s)", (f"after{n}",))
        await connection.execute("SELECT pg_switch_wal()")
    await node.stop()
    return node


async def test_a_new_cluster_from_a_backup_up_to_a_point(home: Path) -> None:
    """Its roles have the present passwords afterwards, whatever they were, and nothing recovers a second time."""
    await a_backup(home)
    script = a_script(home, "restore", f'mkdir -p "$3" && cp -a {home}/backup/. "$3"')
    method = BootstrapMethod(
        "restore",
        f"{script} 'from the' vault",
        no_params=True,
        recovery_conf={"restore_command": f"cp {home}/archive/%f %p", "recovery_target_name": "after1"},
    )
    node = a_node(home, "new")
    node.adapter.settings = replace(
        node.settings, bootstrap=replace(method, command=f"{script} 'from the' vault {node.settings.data_dir}")
    )
    await node.adapter.initialize(node.config, node.progress.append)
    assert [progress.phase for progress in node.progress] == ["custom bootstrap", "recovery", "roles"]
    arguments = Path(f"{script}.arguments").read_text().splitlines()
    assert arguments == ["from the", "vault", str(node.settings.data_dir)]
    await node.adapter.start(node.config, primary=True)
    facts = await node.until(lambda facts: facts.writable)
    assert facts.server is not None
    assert facts.server.timeline == 2
    assert await node.sql("SELECT n FROM kept ORDER BY n") == [(0,), (1,)]
    for login in (SUPERUSER, REWIND):
        await (await node.connect(login)).close()
    with pytest.raises(psycopg.OperationalError):
        await node.connect(replace(SUPERUSER, password="forgotten"))
    settings = "SELECT current_setting('recovery_target_name'), current_setting('max_connections')"
    assert await node.sql(settings) == [("", "20")]
    standby = a_node(home, "b")
    await standby.adapter.clone(node.upstream, "b", standby.progress.append)
    assert (
        REPLICATION.username
        == (await node.sql("SELECT rolname FROM pg_roles WHERE rolreplication AND NOT rolsuper"))[0][0]
    )


async def test_the_program_gets_its_arguments_and_may_leave_recovery_configured(home: Path) -> None:
    """As restoring backup tools do: recovery.signal, and parameters in postgresql.auto.conf."""
    await a_backup(home)
    script = a_script(
        home,
        "restore",
        f"cp -a {home}/backup {home}/new/data\n"
        f"touch {home}/new/data/recovery.signal\n"
        f"cat >> {home}/new/data/postgresql.auto.conf <<END\n"
        f"restore_command = 'cp {home}/archive/%f %p'\n"
        "recovery_target_name = 'after0'\nrecovery_target_action = 'promote'\nEND",
    )
    method = BootstrapMethod("tool", str(script), arguments={"stanza": "main one"}, keep_existing_recovery_conf=True)
    node = a_node(home, "new", bootstrap=method)
    await node.adapter.initialize(node.config, node.progress.append)
    arguments = Path(f"{script}.arguments").read_text().splitlines()
    assert arguments == ["--scope=contract", f"--datadir={node.settings.data_dir}", "--stanza=main one"]
    await node.adapter.start(node.config, primary=True)
    await node.until(lambda facts: facts.writable)
    assert await node.sql("SELECT n FROM kept") == [(0,)]
    assert "recovery_target" not in (node.settings.data_dir / "postgresql.auto.conf").read_text()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("echo no such backup >&2; exit 3", "restore ended with exit code 3: no such backup"),
        ("mkdir -p $HOME_DIR", "pg_controldata"),
    ],
)
async def test_a_bootstrap_that_fails_is_told_and_never_started(home: Path, text: str, told: str) -> None:
    node = a_node(home, "a")
    script = a_script(home, "restore", text.replace("$HOME_DIR", str(node.settings.data_dir)))
    node.adapter.settings = replace(node.settings, bootstrap=BootstrapMethod("restore", str(script)))
    with pytest.raises(Refused, match=told):
        await node.adapter.initialize(node.config, node.progress.append)
    assert (await node.adapter.probe(2.0)).data.kind is not DataKind.VALID


async def test_a_new_cluster_takes_the_rules_of_its_bootstrap(home: Path) -> None:
    rules = ("local all all trust", "host all all 127.0.0.1/32 scram-sha-256")
    node = await a_primary(home, bootstrap_hba=rules)
    assert (node.settings.data_dir / "pg_hba.conf").read_text().splitlines()[1:] == list(rules)


async def test_replica_methods_take_turns(home: Path) -> None:
    """One fails, one claims to be done and is not, one makes a copy by the connection string; the last is not asked."""
    source = await a_primary(home)
    node = a_node(home, "b")
    data = node.settings.data_dir
    first = a_script(home, "first", f"mkdir -p {data}; touch {data}/half; echo no repository; exit 7")
    second = a_script(home, "second", f"ls {data} > {home}/seen")
    third = a_script(
        home, "third", f'ls {data} && exit 1\npg_basebackup -D {data} -d "${{4#--connstring=}}" -w -c fast'
    )
    methods = (
        ReplicaMethod("first", str(first), no_params=True),
        ReplicaMethod("second", str(second), keep_data=True),
        ReplicaMethod("third", str(third), arguments={"threads": "2"}),
        ReplicaMethod("fourth", "/no/such/program"),
    )
    await node.adapter.clone(source.upstream, "b", node.progress.append, methods)
    assert (home / "seen").read_text() == "half\n"
    assert Path(f"{first}.arguments").read_text().split() == []
    assert Path(f"{third}.arguments").read_text().splitlines() == [
        "--scope=contract",
        "--role=replica",
        f"--datadir={data}",
        f"--connstring=postgres://{REPLICATION.username}@127.0.0.1:{source.settings.port}/postgres",
        "--threads=2",
    ]
    await node.adapter.start(node.following(source, "b"), primary=False)
    await node.until(streaming)

    other = a_node(home, "c")
    failing = (ReplicaMethod("first", str(first)), ReplicaMethod("fourth", "/no/such/program"))
    with pytest.raises(
        Refused, match=r"first: first ended with exit code 7: no repository; fourth: .*cannot be started"
    ):
        await other.adapter.clone(source.upstream, "c", other.progress.append, failing)
    assert not other.settings.data_dir.exists()
    assert (await other.adapter.probe(2.0)).data.kind is DataKind.ABSENT
    assert [slot for (slot,) in await source.sql("SELECT slot_name::text FROM pg_replication_slots")] == ["b"]


async def test_a_replica_is_made_without_anybody_to_copy_from(home: Path) -> None:
    await a_backup(home)
    node = a_node(home, "b", superuser=replace(SUPERUSER, password="forgotten"))
    script = a_script(home, "restore", f"cp -a {home}/backup {node.settings.data_dir}")
    methods = (
        ReplicaMethod(),
        ReplicaMethod("away", "/no/such/program"),
        ReplicaMethod("vault", str(script), no_leader=True),
    )
    await node.adapter.clone(None, None, node.progress.append, methods)
    assert Path(f"{script}.arguments").read_text().splitlines()[3] == "--connstring="
    recovery = {"restore_command": f"cp {home}/archive/%f %p"}
    await node.adapter.start(replace(node.config, recovery=recovery), primary=False)
    await node.until(lambda facts: facts.server is not None and facts.server.archive_recovery)
    async with await node.connect(replace(SUPERUSER, password="forgotten")) as connection:
        cursor = await connection.execute("SELECT count(*) FROM kept")
        while await cursor.fetchone() != (3,):
            await asyncio.sleep(0.1)
            cursor = await connection.execute("SELECT count(*) FROM kept")
    other = a_node(home, "c")
    with pytest.raises(Refused, match="no method can make a copy without a leader"):
        await other.adapter.clone(None, None, other.progress.append, (ReplicaMethod(),))
