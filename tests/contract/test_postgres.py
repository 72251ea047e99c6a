"""The Postgres port on real servers: built, started, adopted, cloned, promoted, rewound, hung and killed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from haagent.core.facts import DataKind, PostgresFacts, Process, Progress, SlotFacts
from haagent.core.terms import Lsn, Timeline
from haagent.ports import Refused, Unknown
from haagent.postgres import look, newcomer, probe
from haagent.postgres.adapter import PostgresAdapter
from haagent.postgres.process import identify, serving, stat_of
from haagent.postgres.sql import Address
from tests.contract.pgnode import (
    REPLICATION,
    REWIND,
    SECRETS,
    SUPERUSER,
    PgNode,
    a_home,
    a_node,
    ordinary_user,
    without_checksums,
)


@pytest.fixture
async def home() -> AsyncIterator[Path]:
    with ordinary_user():
        async with a_home() as path:
            yield path


async def a_primary(home: Path, name: str = "a", **changes: object) -> PgNode:
    node = a_node(home, name, **changes)
    await node.adapter.initialize(node.config, node.progress.append)
    await node.adapter.start(node.config, primary=True)
    await node.until(lambda facts: facts.writable)
    return node


async def a_standby(home: Path, source: PgNode, name: str = "b", **changes: object) -> PgNode:
    node = a_node(home, name, **changes)
    await node.adapter.clone(source.upstream, name, node.progress.append)
    await node.adapter.start(node.following(source, name), primary=False)
    await node.until(streaming)
    return node


async def diverged(home: Path) -> tuple[PgNode, PgNode]:
    """An old primary that went on after its standby was promoted, and that standby; both run."""
    old = await a_primary(home)
    new = await a_standby(home, old)
    await new.adapter.promote(Timeline(1), Timeline(2))
    await new.until(lambda facts: facts.writable)
    for statement in ("CREATE TABLE lost (n int)", "INSERT INTO lost VALUES (1)", "INSERT INTO lost VALUES (2)"):
        await old.sql(statement)
    return old, new


def streaming(facts: PostgresFacts) -> bool:
    receiver = facts.server.receiver if facts.server else None
    return receiver is not None and receiver.status == "streaming"


def down(facts: PostgresFacts) -> bool:
    return facts.postmaster is None


@contextmanager
def watching_for_secrets() -> Iterator[list[str]]:
    """What any process of this user shows of the passwords in its command line or environment."""
    found: list[str] = []
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.01):
            for entry in Path("/proc").glob("[0-9]*"):
                found.extend(shown_by(entry))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield found
    finally:
        over.set()
        thread.join()


def shown_by(entry: Path) -> list[str]:
    shown = []
    for name in ("cmdline", "environ"):
        try:
            content = (entry / name).read_bytes()
        except OSError:
            continue
        shown += [f"{entry}/{name}: {content!r}" for secret in SECRETS if secret.encode() in content]
    return shown


async def pid_of(program: str) -> int:
    """The process id of a program that this process started, once it runs."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                pid = int(entry.name)
                found = stat_of(pid)
                mine = found is not None and found[1] == os.getpid()
                if mine and os.readlink(entry / "exe").endswith(f"/{program}"):
                    return pid
            except OSError:
                continue
        await asyncio.sleep(0.002)
    raise AssertionError(f"{program} never ran")


# --- a cluster's life -----------------------------------------------------------------------------------------


async def test_a_cluster_from_nothing_to_a_switchover(home: Path) -> None:
    with watching_for_secrets() as shown:
        old = await a_primary(home)
        new = await a_standby(home, old)
    assert shown == []
    facts = await old.until(lambda facts: bool(facts.server and facts.server.senders))
    assert facts.server is not None
    assert facts.server.senders[0].application_name == "b"
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
    assert serving(bad.settings.data_dir) == []


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


# --- crash, adoption, orphans ---------------------------------------------------------------------------------


async def test_the_end_of_a_postmaster_is_seen_at_once_by_whoever_watches(home: Path) -> None:
    """Fault 7: also by an agent that found it running, and its orphans are ended before the next start."""
    node = await a_primary(home)
    other = node.agent()
    took = [await kill_and_restart(node, other) for _ in range(3)]
    assert min(took) < 0.05, took


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
        await asyncio.sleep(0.1)
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
    await asyncio.sleep(0.1)
    assert await node.sql("SHOW work_mem") == [("7MB",)]
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


async def test_a_stale_pid_file_is_no_postmaster_and_no_obstacle(home: Path) -> None:
    node = await a_primary(home)
    pid_file = node.settings.data_dir / "postmaster.pid"
    text = pid_file.read_text()
    await node.stop()
    pid_file.write_text("\n".join([str(os.getpid()), *text.splitlines()[1:]]) + "\n")
    assert (await node.adapter.probe(2.0)).postmaster is None
    await node.adapter.start(node.config, primary=True)
    await node.until(lambda facts: facts.writable)


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
            assert len(seen) < 500
    assert node.ends == []
    assert len({facts.postmaster for facts in seen}) == 1


# --- silence --------------------------------------------------------------------------------------------------


async def test_exhausted_connections_do_not_blind_the_agent(home: Path) -> None:
    """Fault 76: the kept connection goes on; who has none says so."""
    node = await a_primary(home)
    before = await node.adapter.probe(2.0)
    crowd: list[psycopg.AsyncConnection[tuple[object, ...]]] = []
    try:
        with contextlib.suppress(psycopg.OperationalError):
            while len(crowd) < 40:
                crowd.append(await node.connect())
        assert 10 < len(crowd) < 20
        facts = await node.adapter.probe(2.0)
        assert facts.unreachable_since is None
        assert facts.server is not None
        assert before.server is not None
        assert facts.server.seen_at > before.server.seen_at
        newcomer = node.agent()
        blind = await newcomer.probe(2.0)
        assert blind.server is None
        assert blind.unreachable_since is not None
        assert "too many clients" in blind.unreachable_why
        assert not blind.starting
    finally:
        for connection in crowd:
            await connection.close()


async def test_a_frozen_postmaster_is_unreachable_and_its_last_answer_is_kept(home: Path) -> None:
    """Fault 9."""
    node = await a_primary(home)
    process = (await node.adapter.probe(2.0)).postmaster
    assert process is not None
    os.kill(process.pid, signal.SIGSTOP)
    try:
        first = await node.until(lambda facts: facts.unreachable_since is not None)
        second = await node.adapter.probe(1.0)
    finally:
        os.kill(process.pid, signal.SIGCONT)
    assert "SIGSTOP" in first.unreachable_why
    assert first.postmaster == second.postmaster == process
    assert second.unreachable_since == first.unreachable_since
    assert second.server is not None
    await node.until(lambda facts: facts.unreachable_since is None and facts.writable)


async def test_a_postmaster_that_hangs_lets_nobody_in_though_kept_connections_work(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fault 9, of a postmaster that does not look stopped: it hangs, and only a newcomer notices."""
    monkeypatch.setattr(look, "is_stopped", lambda process: False)
    monkeypatch.setattr(probe, "EVERY_S", 0.0)
    node = await a_primary(home)
    process = (await node.adapter.probe(2.0)).postmaster
    assert process is not None
    os.kill(process.pid, signal.SIGSTOP)
    try:
        facts = await node.until(lambda facts: facts.unreachable_since is not None)
        again = await node.adapter.probe(2.0)
    finally:
        os.kill(process.pid, signal.SIGCONT)
    assert "although present ones work: the postmaster hangs" in facts.unreachable_why
    assert f"/proc/{process.pid}/wchan" in facts.unreachable_why
    assert again.unreachable_since == facts.unreachable_since
    assert again.writable
    await node.until(lambda facts: facts.unreachable_since is None and facts.writable)
    assert node.settings.server_log is not None
    assert "startup packet" not in node.settings.server_log.read_text()


async def test_a_newcomer_tells_who_does_not_answer_as_postgresql_does() -> None:
    def closes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(closes, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    here = Address(Process(os.getpid(), 1), "127.0.0.1", port)
    assert "was closed without an answer" in await newcomer.turned_away(here, 1.0)
    server.close()
    await server.wait_closed()
    assert "failed, although present ones work" in await newcomer.turned_away(here, 1.0)


async def test_a_query_that_hangs_ends_with_the_deadline(home: Path) -> None:
    """Fault 77: bounded, the last answer is kept, and it heals by itself."""
    node = await a_primary(home)
    ((pid,),) = await node.sql("SELECT pid FROM pg_stat_activity WHERE application_name = 'haagent'")
    assert isinstance(pid, int)
    os.kill(pid, signal.SIGSTOP)
    try:
        for _ in range(2):
            started = time.monotonic()
            facts = await node.adapter.probe(0.5)
            assert time.monotonic() - started < 0.8
            assert facts.unreachable_since is not None
            assert facts.writable
    finally:
        os.kill(pid, signal.SIGCONT)
    await node.until(lambda facts: facts.unreachable_since is None)


async def test_probes_are_cheap(home: Path) -> None:
    """Twenty a minute are to cost next to nothing of the 0.4 s of CPU that an idle agent may use."""
    node = await a_primary(home)
    started = time.process_time()
    for _ in range(50):
        await node.adapter.probe(2.0)
    assert (time.process_time() - started) / 50 < 0.004


# --- unfinished work ------------------------------------------------------------------------------------------


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
    aside = Path(await node.adapter.move_aside("unfinished clone"))
    assert aside.parent == node.settings.data_dir.parent
    assert aside.name.startswith("data.unfinished-clone.20")
    assert (await node.adapter.probe(2.0)).data.kind is DataKind.ABSENT
    node.adapter.settings = replace(node.settings, basebackup=())
    await node.adapter.clone(source.upstream, "b", node.progress.append)
    assert (await node.adapter.probe(2.0)).data.kind is DataKind.VALID


async def expect_unfinished(node: PgNode, doing: str) -> None:
    facts = await node.agent().probe(2.0)
    assert (facts.data.kind, facts.data.marker) == (DataKind.UNFINISHED, doing)
    with pytest.raises(Refused):
        await node.adapter.start(node.config, primary=True)


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


# --- compare, rewind ------------------------------------------------------------------------------------------


async def test_a_diverged_primary_is_told_what_it_gives_up_and_rewound(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    old, new = await diverged(home)
    running = await old.adapter.compare(new.upstream)
    assert (running.own_timeline, running.leader_timeline, running.lost_commits) == (1, 2, 3)
    assert running.fork_lsn is not None
    assert running.lost_bytes == running.own_lsn - running.fork_lsn > 0
    await old.adapter.kill_tree()
    await old.until(down)
    assert await old.adapter.compare(new.upstream) == replace(running, own_lsn=running.own_lsn)

    with watching_for_secrets() as shown, caplog.at_level("WARNING"):
        await old.adapter.rewind(new.upstream, old.progress.append)
    assert shown == []
    assert f"{running.lost_bytes} bytes of WAL and 3 commits past {running.fork_lsn}" in caplog.text
    assert old.progress[-1].percent == 100
    await old.adapter.start(old.following(new), primary=False)
    await old.until(lambda facts: streaming(facts) and facts.server is not None and facts.server.timeline == 2)
    assert await old.sql("SELECT to_regclass('lost') IS NULL") == [(True,)]
    assert not (await old.adapter.compare(new.upstream)).diverged


async def test_a_rewind_that_is_killed_leaves_a_directory_for_a_new_clone(home: Path) -> None:
    """Fault 62."""
    old, new = await diverged(home)
    await old.stop()

    def kill(progress: Progress) -> None:
        if progress.phase == "rewinding" and identify(pid := int(pids[0])):
            os.killpg(pid, signal.SIGKILL)

    rewinding = asyncio.create_task(old.adapter.rewind(new.upstream, kill))
    pids = [await pid_of("pg_rewind")]
    with pytest.raises(Refused, match="no longer usable"):
        await rewinding
    await expect_unfinished(old, "rewinding")
    with pytest.raises(Refused, match="clone this node anew"):
        await old.adapter.rewind(new.upstream, old.progress.append)
    await old.adapter.move_aside("rewind interrupted")
    await old.adapter.clone(new.upstream, "a", old.progress.append)
    await old.adapter.start(old.following(new, "a"), primary=False)
    await old.until(streaming)


async def test_a_rewind_that_needs_wal_gone_from_the_node_takes_it_from_the_archive(home: Path) -> None:
    """Fault 63."""
    archive = home / "archive"
    archive.mkdir()
    old = a_node(home, "a")
    archiving = {
        "archive_mode": "on",
        "archive_command": f"cp %p {archive}/%f",
        "wal_keep_size": "0",
        "min_wal_size": "2MB",
    }
    old.config = replace(old.config, parameters={**old.config.parameters, **archiving})
    await old.adapter.initialize(old.config, old.progress.append)
    await old.adapter.start(old.config, primary=True)
    await old.until(lambda facts: facts.writable)
    new = await a_standby(home, old)
    await new.adapter.promote(Timeline(1), Timeline(2))
    await new.until(lambda facts: facts.writable)
    await old.adapter.sync_slots((), (), {}, 5.0)
    await new.stop()
    await old.sql("SELECT pg_drop_replication_slot('b')")
    fork = (await old.adapter.probe(2.0)).server
    assert fork is not None
    for n in range(5):
        await old.sql(f"CREATE TABLE t{n} (n int)")
        await old.sql("SELECT pg_switch_wal()")
        await old.adapter.checkpoint(10.0)
    await new.adapter.start(new.config, primary=True)
    await new.until(lambda facts: facts.writable)
    await old.stop()
    with pytest.raises(Refused, match=r"pg_rewind ended with exit code 1, nothing was changed"):
        await old.adapter.rewind(new.upstream, old.progress.append)
    restoring = replace(old.config, recovery={"restore_command": f"cp {archive}/%f %p"})
    await old.adapter.configure(restoring)
    await old.adapter.rewind(new.upstream, old.progress.append)
    await old.adapter.start(replace(old.following(new), recovery=restoring.recovery), primary=False)
    await old.until(streaming)


async def test_a_rewind_without_hints_or_checksums_is_refused_with_the_remedy(home: Path) -> None:
    node = a_node(home, "a", initdb=without_checksums())
    node.config = replace(node.config, parameters={**node.config.parameters, "wal_log_hints": "off"})
    await node.adapter.initialize(node.config, node.progress.append)
    with pytest.raises(Refused, match="clone this node anew, and set wal_log_hints: on"):
        await node.adapter.rewind(node.upstream, node.progress.append)
    assert (await node.adapter.probe(2.0)).data.kind is DataKind.VALID


async def test_another_cluster_is_told_by_both_numbers(home: Path) -> None:
    one, two = await a_primary(home, "a"), await a_primary(home, "b")
    ids = [(await node.adapter.probe(2.0)).data.system_id for node in (one, two)]
    assert ids[0] != ids[1]
    with pytest.raises(Refused, match=f"{ids[1]}.*{ids[0]}"):
        await one.adapter.compare(two.upstream)


async def test_a_divergence_on_one_timeline_is_seen_and_never_rewound(home: Path) -> None:
    """Fault 64: the standby was made primary without a promotion, so both write on timeline 1."""
    old = await a_primary(home)
    new = await a_standby(home, old)
    await new.stop()
    await old.sql("CREATE TABLE lost (n int)")
    await old.stop()
    (new.settings.data_dir / "standby.signal").unlink()
    await new.adapter.start(new.config, primary=True)
    await new.until(lambda facts: facts.writable)
    verdict = await old.adapter.compare(new.upstream)
    assert verdict.diverged
    assert (verdict.own_timeline, verdict.leader_timeline, verdict.lost_commits) == (1, 1, 1)
    with pytest.raises(Refused, match="on one timeline"):
        await old.adapter.rewind(new.upstream, old.progress.append)


async def test_a_standby_that_received_more_than_the_promoted_one_has_diverged(home: Path) -> None:
    primary = await a_primary(home)
    ahead = await a_standby(home, primary, "b")
    behind = await a_standby(home, primary, "c")
    await behind.stop()
    await primary.sql("CREATE TABLE lost (n int)")
    written = (await primary.adapter.probe(2.0)).server
    assert written is not None
    await ahead.until(lambda facts: facts.server is not None and facts.server.lsn >= written.lsn)
    await primary.adapter.kill_tree()
    await behind.adapter.start(behind.config, primary=False)
    await behind.until(lambda facts: facts.server is not None)
    await behind.adapter.promote(Timeline(1), Timeline(2))
    await behind.until(lambda facts: facts.writable)
    verdict = await ahead.adapter.compare(behind.upstream)
    assert verdict.diverged
    assert verdict.lost_commits == 1
    await ahead.stop()
    assert (await ahead.adapter.compare(behind.upstream)).diverged
    await ahead.adapter.rewind(behind.upstream, ahead.progress.append)
    await ahead.adapter.start(ahead.following(behind), primary=False)
    await ahead.until(streaming)


# --- standbys -------------------------------------------------------------------------------------------------


async def test_a_standby_follows_another_upstream_by_a_reload(home: Path) -> None:
    primary = await a_primary(home)
    near, far = await a_standby(home, primary, "b"), await a_standby(home, primary, "c")
    before = (await far.adapter.probe(2.0)).postmaster
    await primary.stop()
    await near.adapter.promote(Timeline(1), Timeline(2))
    await near.until(lambda facts: facts.writable)
    await far.adapter.configure(far.following(near))
    facts = await far.until(lambda facts: streaming(facts) and facts.server is not None and facts.server.timeline == 2)
    assert facts.postmaster == before
    assert facts.server is not None
    assert facts.server.receiver is not None
    assert facts.server.receiver.sender_port == near.settings.port


async def test_the_timeline_of_a_standby_is_known_when_its_upstream_is_gone(home: Path) -> None:
    """Its control file still shows the old timeline until its next restartpoint; the WAL it received does not."""
    primary = await a_primary(home)
    near, far = await a_standby(home, primary, "b"), await a_standby(home, primary, "c")
    await primary.stop()
    await near.adapter.promote(Timeline(1), Timeline(2))
    await near.until(lambda facts: facts.writable)
    await far.adapter.configure(far.following(near))
    await far.until(lambda facts: facts.server is not None and facts.server.timeline == 2)
    await near.sql("CREATE TABLE t (n int)")
    written = (await near.adapter.probe(2.0)).server
    assert written is not None
    await far.until(lambda facts: facts.server is not None and facts.server.lsn >= written.lsn)
    await near.adapter.kill_tree()
    alone = await far.until(lambda facts: facts.server is not None and not streaming(facts))
    assert alone.server is not None
    assert alone.server.timeline == 2
    newcomer = await far.agent().probe(2.0)
    assert newcomer.server is not None
    assert newcomer.server.timeline == 2


async def test_a_standby_never_starts_with_less_than_its_primary_had(home: Path) -> None:
    """Fault 75."""
    primary = await a_primary(home)
    standby = a_node(home, "b")
    await standby.adapter.clone(primary.upstream, "b", standby.progress.append)
    standby.config = replace(standby.config, parameters={**standby.config.parameters, "max_connections": "10"})
    await standby.adapter.start(standby.following(primary, "b"), primary=False)
    await standby.until(streaming)
    assert await standby.sql("SHOW max_connections") == [("20",)]
    await standby.adapter.reload()
    facts = await standby.until(lambda facts: facts.server is not None and bool(facts.server.pending_restart))
    assert facts.server is not None
    assert facts.server.pending_restart == {"max_connections": ("20", "10")}


async def test_slots_are_made_moved_and_dropped_on_both_roles(home: Path) -> None:
    primary = await a_primary(home)
    standby = await a_standby(home, primary)
    wanted = SlotFacts("c", "physical", active=False)
    for node in (primary, standby):
        await node.adapter.sync_slots((wanted,), (), {}, 5.0)
        await node.adapter.sync_slots((wanted,), (), {}, 5.0)
    await primary.sql("SELECT pg_switch_wal()")
    await primary.sql("CREATE TABLE t (n int)")
    to = (await primary.adapter.probe(2.0)).server
    assert to is not None
    await standby.until(lambda facts: facts.server is not None and (facts.server.replayed_lsn or 0) >= to.lsn)
    for node in (primary, standby):
        await node.adapter.sync_slots((), (), {"c": to.lsn}, 5.0)
        server = (await node.adapter.probe(2.0)).server
        assert server is not None
        assert next(slot for slot in server.slots if slot.name == "c").restart_lsn == to.lsn
        await node.adapter.sync_slots((), (), {"c": Lsn(to.lsn - 100)}, 5.0)
        await node.adapter.sync_slots((), ("c", "never was"), {}, 5.0)
        assert "c" not in [slot.name for slot in slots_of(await node.adapter.probe(2.0))]
    with pytest.raises(Refused, match=r"cannot drop slot b: .*active"):
        await primary.adapter.sync_slots((), ("b",), {}, 5.0)


def slots_of(facts: PostgresFacts) -> tuple[SlotFacts, ...]:
    assert facts.server is not None
    return facts.server.slots


# --- configuration, directories, hooks ------------------------------------------------------------------------


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


async def test_hooks_are_bounded_and_take_their_children_with_them(home: Path) -> None:
    node = a_node(home, "a")
    assert await node.adapter.run_hook("/bin/sh -c 'exit $0'", ("7",), 5.0) == 7
    with pytest.raises(Refused, match="cannot be started"):
        await node.adapter.run_hook("/no/such/program", (), 5.0)
    pid_file = home / "pid"
    with pytest.raises(Unknown, match="was killed with its children"):
        await node.adapter.run_hook("/bin/sh -c", (f"sleep 60 & echo $! > {pid_file}; wait",), 0.3)
    await asyncio.sleep(0.05)
    assert identify(int(pid_file.read_text())) is None


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


def test_a_pid_used_again_is_another_process() -> None:
    me = identify(os.getpid())
    assert me is not None
    assert me != Process(me.pid, me.started_ticks + 1)
