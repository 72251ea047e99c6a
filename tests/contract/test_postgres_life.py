"""The Postgres port on real servers: built, started, adopted, crashed."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from haagent.core.facts import DataKind, PostgresFacts, Process, WalSender
from haagent.core.terms import Timeline
from haagent.ports import Refused
from haagent.postgres.adapter import PostgresAdapter
from haagent.postgres.leftovers import remove_stale_locks
from haagent.postgres.process import identify, serving
from tests.contract.nodes import (
    a_primary,
    a_standby,
    down,
    streaming,
    watching_for_secrets,
)
from tests.contract.pgnode import (
    REPLICATION,
    REWIND,
    SECRETS,
    SUPERUSER,
    PgNode,
    a_node,
)


async def test_a_cluster_from_nothing_to_a_switchover(home: Path) -> None:
    with watching_for_secrets() as shown:
        old = await a_primary(home)
        new = await a_standby(home, old)
    assert shown == []
    facts = await old.until(lambda facts: [s.application_name for s in senders_of(facts)] == ["b"])
    assert facts.server is not None
    assert facts.server.senders[0].usename == REPLICATION.username
    assert [(slot.name, slot.active) for slot in facts.server.slots] == [("b", True)]
    assert new.progress[-1].percent == 100
    assert new.settings.data_dir.stat().st_mode & 0o777 == 0o700

    await old.sql("CREATE TABLE kept (n int)")
    await old.stop()
    await new.adapter.promote(Timeline(1), Timeline(2))
    promoted = await new.until(lambda facts: facts.writable)
    assert promoted.server is not None
    assert promoted.server.timeline == 2
    verdict = await old.adapter.compare(new.upstream)
    assert not verdict.diverged, verdict

    await old.adapter.start(old.following(new), primary=False)
    followed = await old.until(
        lambda facts: streaming(facts) and facts.server is not None and facts.server.timeline == 2
    )
    assert followed.data.standby_signal
    assert [(line.timeline, line.reason) for line in await old.adapter.history()] == [
        (1, "no recovery target specified")
    ]
    await new.sql("INSERT INTO kept VALUES (1)")
    position = (await new.until(lambda facts: facts.writable)).server
    assert position is not None
    await old.until(lambda facts: facts.server is not None and facts.server.lsn >= position.lsn)
    assert await old.sql("SELECT n FROM kept") == [(1,)]


def senders_of(facts: PostgresFacts) -> tuple[WalSender, ...]:
    return facts.server.senders if facts.server else ()


async def test_a_bootstrap_makes_the_roles_with_their_passwords(home: Path) -> None:
    node = await a_primary(home)
    for login in (SUPERUSER, REPLICATION, REWIND):
        async with await node.connect(login):
            pass
        with pytest.raises(psycopg.OperationalError):
            await node.connect(replace(login, password="wrong"))
    rights = await node.sql(
        "SELECT rolname, rolsuper, rolreplication, rolcanlogin FROM pg_roles"
        " WHERE rolname IN ('replicator', 'rewinder') ORDER BY 1"
    )
    assert rights == [("replicator", False, True, True), ("rewinder", False, False, True)]
    written = [path for path in home.rglob("*") if path.is_file() and path.stat().st_size < 1 << 20]
    assert [path for path in written if any(s.encode() in path.read_bytes() for s in SECRETS)] == []
    checksums = await node.sql("SHOW data_checksums")
    assert checksums == [("on",)]


async def test_post_bootstrap_gets_a_connection_and_its_failure_is_told(home: Path) -> None:
    script = home / "script"
    script.write_text('#!/bin/sh\necho "to $3" >&2\nexec psql -v ON_ERROR_STOP=1 -c "$2" "$3"\n')
    script.chmod(0o755)
    good = await a_primary(home, post_bootstrap=f"{script} x 'CREATE DATABASE mine'")
    assert await good.sql("SELECT 1 FROM pg_database WHERE datname = 'mine'") == [(1,)]

    bad = a_node(home, "bad", post_bootstrap=f"{script} x 'SELECT nonsense'")
    with pytest.raises(Refused, match=r"script ended with exit code 1: .*nonsense"):
        await bad.adapter.initialize(bad.config, bad.progress.append)
    facts = await bad.adapter.probe(2.0)
    assert (facts.data.kind, facts.data.marker, facts.postmaster) == (DataKind.UNFINISHED, "initializing", None)
    async with asyncio.timeout(5):
        while serving(bad.settings.data_dir):
            await asyncio.sleep(0.02)  # they were killed, and die in their own time


async def test_initdb_that_fails_says_why(home: Path) -> None:
    node = a_node(home, "a", initdb=(("locale", "no_SUCH.locale"),))
    with pytest.raises(Refused, match=r"initdb ended with exit code 1: .*no_SUCH"):
        await node.adapter.initialize(node.config, node.progress.append)
    with pytest.raises(Refused, match="nothing to move aside"):
        await node.adapter.move_aside("failed bootstrap")
    node.adapter.settings = replace(node.settings, initdb=())
    assert await node.adapter.initialize(node.config, node.progress.append)


async def test_postgres_outlives_its_agent(home: Path) -> None:
    """Whether the agent ends in order without a word to PostgreSQL, as in pause, or is killed."""
    node = a_node(home, "a")
    await node.adapter.initialize(node.config, node.progress.append)
    agent = (
        "import asyncio, os, sys\n"
        "from pathlib import Path\n"
        "from haagent.core.facts import ServerConfig\n"
        "from haagent.postgres.adapter import PostgresAdapter\n"
        "from haagent.postgres.settings import PostgresSettings\n"
        "home, bin_dir, port, how = sys.argv[1:]\n"
        "async def none() -> int:\n"
        "    return 0\n"
        "async def main() -> None:\n"
        "    place = Path(home)\n"
        "    settings = PostgresSettings(place / 'data', place / 'state', bin_dir=Path(bin_dir), port=int(port))\n"
        "    await PostgresAdapter(settings, none).start(ServerConfig(), primary=True)\n"
        "    if how == 'killed':\n"
        "        os.kill(os.getpid(), 9)\n"
        "asyncio.run(main())\n"
    )
    for how, code in (("ended", 0), ("killed", -signal.SIGKILL)):
        argv = (sys.executable, "-c", agent, str(node.home), str(node.settings.bin_dir), str(node.settings.port), how)
        with (node.home / "log").open("ab") as out:
            process = await asyncio.create_subprocess_exec(*argv, stdout=out, stderr=out)
        assert await process.wait() == code, (node.home / "log").read_text()
        await asyncio.sleep(0.2)
        found = await node.until(lambda facts: facts.postmaster is not None and not facts.starting)
        assert found.postmaster is not None, how
        await node.stop()


async def test_the_end_of_a_postmaster_is_seen_at_once_by_whoever_watches(home: Path) -> None:
    """Fault 7: also by an agent that found it running, and its orphans are ended before the next start."""
    node = await a_primary(home)
    other = node.agent()
    took = [await kill_and_restart(node, other) for _ in range(3)]
    assert min(took) < 0.3, took


async def kill_and_restart(node: PgNode, other: PostgresAdapter) -> float:
    """Seconds from a postmaster's death to the wake of both agents; its backend is orphaned, then gone."""
    facts = await node.until(lambda facts: facts.writable)
    adopted = await other.probe(2.0)
    assert adopted.postmaster == facts.postmaster
    assert adopted.server is not None
    assert adopted.server.system_id == facts.data.system_id
    assert facts.postmaster is not None
    node.ends.clear()
    async with await node.connect() as busy:
        sleeping = asyncio.create_task(busy.execute("SELECT count(*) FROM generate_series(1, 1000000000)"))
        active = f"SELECT FROM pg_stat_activity WHERE pid = {busy.info.backend_pid} AND state = 'active'"
        while not await node.sql(active):
            await asyncio.sleep(0.01)  # one that is idle would end with its postmaster
        os.kill(facts.postmaster.pid, signal.SIGKILL)
        killed_at = time.monotonic()
        while len(node.ends) < 2 and time.monotonic() < killed_at + 5:
            await asyncio.sleep(0.001)
        took = time.monotonic() - killed_at
        assert node.ends == [f"postmaster {facts.postmaster.pid} ended"] * 2
        after = await node.adapter.probe(2.0)
        assert after.postmaster is None
        assert after.orphans > 0
        await node.adapter.start(node.config, primary=True)
        with pytest.raises(psycopg.OperationalError):
            await sleeping
    again = await node.until(lambda facts: facts.writable)
    assert again.orphans == 0
    assert again.server is not None
    assert again.server.timeline == 1
    return took


async def test_an_adopted_server_is_ruled_like_a_child(home: Path) -> None:
    node = await a_primary(home)
    await node.adapter.close()
    node.adapter = node.agent()
    await node.until(lambda facts: facts.writable)
    await node.adapter.configure(replace(node.config, parameters={**node.config.parameters, "work_mem": "7MB"}))
    await node.until_shows("work_mem", "7MB")
    with pytest.raises(Refused, match="still runs"):
        await node.adapter.start(node.config, primary=True)
    with pytest.raises(Refused, match="runs on"):
        await node.adapter.move_aside("test")
    await node.stop()
    assert (await node.adapter.probe(2.0)).data.cluster_state == "shut down"


async def test_a_start_never_kills_a_server_that_nobody_has_looked_for(home: Path) -> None:
    node = await a_primary(home)
    newcomer = node.agent()
    with pytest.raises(Refused, match="runs on"):
        await newcomer.start(node.config, primary=True)
    assert (await node.adapter.probe(2.0)).writable


async def test_stale_lock_files_are_no_postmaster_and_no_obstacle(home: Path) -> None:
    """Neither a pid that another program of the same user has now, nor a dead postmaster not yet reaped."""
    node = await a_primary(home)
    owner, pid_file = node.settings.data_dir.stat().st_uid, node.settings.data_dir / "postmaster.pid"
    lines = pid_file.read_text().splitlines()
    lock = Path(lines[4]) / f".s.PGSQL.{lines[3]}.lock"
    left = {path: path.read_text().splitlines()[1:] for path in (pid_file, lock)}
    await node.stop()
    other = subprocess.Popen(["sleep", "600"], user=owner)
    try:
        for path, rest in left.items():
            path.write_text("\n".join([str(other.pid), *rest]) + "\n")
            os.chown(path, owner, -1)
        assert (await node.adapter.probe(2.0)).postmaster is None
        await node.adapter.start(node.config, primary=True)
        await node.until(lambda facts: facts.writable)
    finally:
        other.kill()
        other.wait()


async def test_the_lock_of_another_cluster_is_left_alone(home: Path) -> None:
    node, other = await a_primary(home), await a_primary(home, "b")
    lines = (node.settings.data_dir / "postmaster.pid").read_text().splitlines()
    lock = Path(lines[4]) / f".s.PGSQL.{lines[3]}.lock"
    await node.stop()
    lock.write_text(f"1\n{other.settings.data_dir}\n")
    remove_stale_locks(node.settings)
    assert lock.exists()
    lock.unlink()


async def test_a_crash_of_a_backend_is_recovered_in_place(home: Path) -> None:
    """Fault 6: no end of the postmaster, and nothing is called writable until it is again."""
    node = await a_primary(home)
    node.ends.clear()
    async with await node.connect() as victim:
        os.kill(victim.info.backend_pid, signal.SIGKILL)
        await asyncio.sleep(0.02)
        seen = [await node.adapter.probe(2.0)]
        while not seen[-1].writable or seen[-1].unreachable_since is not None:
            await asyncio.sleep(0.01)
            seen.append(await node.adapter.probe(2.0))
            assert len(seen) < 2000
    assert node.ends == []
    assert len({facts.postmaster for facts in seen}) == 1


async def test_promotion_and_signals_need_a_server_that_can_take_them(home: Path) -> None:
    node = a_node(home, "a")
    for work in (node.adapter.promote(Timeline(1), Timeline(2)), node.adapter.stop("fast"), node.adapter.reload()):
        with pytest.raises(Refused):
            await work
    running = await a_primary(home, "b")
    with pytest.raises(Refused, match="not in recovery"):
        await running.adapter.promote(Timeline(1), Timeline(2))
    await running.adapter.checkpoint(10.0)
    await running.adapter.stop("immediate")
    facts = await running.until(down)
    assert facts.data.cluster_state == "in production"
    assert facts.data.timeline == Timeline(1)


async def test_a_server_that_cannot_start_says_so(home: Path) -> None:
    node = a_node(home, "a")
    await node.adapter.initialize(node.config, node.progress.append)
    broken = replace(node.config, parameters={"shared_buffers": "nonsense"})
    await node.adapter.start(broken, primary=True)
    facts = await node.until(down)
    assert "ended with exit code 1" in facts.data.detail
    assert facts.data.kind is DataKind.VALID
    assert "nonsense" in (node.home / "log").read_text()

    asked: list[bool] = []

    def ended_meanwhile() -> None:
        asked.append(True)
        if len(asked) > 1:
            raise Refused("the permit has ended meanwhile")

    with pytest.raises(Refused, match="ended meanwhile"):
        await node.adapter.start(node.config, primary=True, permitted=ended_meanwhile)
    assert len(asked) == 2
    await node.until(down)


def test_a_pid_used_again_is_another_process() -> None:
    me = identify(os.getpid())
    assert me is not None
    assert me != Process(me.pid, me.started_ticks + 1)
