"""The Postgres port while a real server does not answer, or lets nobody in."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import time
from pathlib import Path

import psycopg
import pytest

from haagent.core.facts import Process
from haagent.postgres import look, newcomer, probe
from haagent.postgres.process import identify
from haagent.postgres.sql import Address
from tests.contract.nodes import (
    a_primary,
)


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


async def test_a_postmaster_that_works_but_does_not_answer_is_busy_for_a_while(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fault 100: many clients come back at once, and the newcomer waits behind them; the primary stays one."""
    monkeypatch.setattr(probe, "EVERY_S", 0.0)
    node = await a_primary(home)

    async def behind_others(address: Address, timeout: float) -> str:
        raise newcomer.BusyError("a new connection was not answered within 0.5 s")

    monkeypatch.setattr(probe, "turned_away", behind_others)
    assert (await node.adapter.probe(2.0)).unreachable_since is None
    monkeypatch.setattr(probe, "BUSY_S", 0.0)
    facts = await node.adapter.probe(2.0)
    assert facts.unreachable_since is not None
    assert "was not answered within 0.5 s, for " in facts.unreachable_why


async def test_a_newcomer_behind_others_is_told_from_one_that_nobody_hears() -> None:
    spinning = await asyncio.create_subprocess_exec("sh", "-c", "while :; do :; done", start_new_session=True)
    try:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            here = Address(Process(spinning.pid, 1), "127.0.0.1", silent.getsockname()[1])
            with pytest.raises(newcomer.BusyError):
                await newcomer.turned_away(here, 1.0)
            os.kill(spinning.pid, signal.SIGSTOP)
            await asyncio.sleep(0.1)
            assert "the postmaster hangs" in await newcomer.turned_away(here, 0.1)
    finally:
        spinning.kill()
        await spinning.wait()


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


async def test_a_full_queue_before_a_postmaster_is_waited_for(tmp_path: Path) -> None:
    """A Unix socket turns newcomers away at once while others wait before it."""
    here = Address(Process(os.getpid(), 1), str(tmp_path), 5432)
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as other:
        listener.bind(str(tmp_path / ".s.PGSQL.5432"))
        listener.listen(0)
        other.connect(str(tmp_path / ".s.PGSQL.5432"))
        asking = asyncio.create_task(newcomer.turned_away(here, 5.0))
        await asyncio.sleep(0.2)
        assert not asking.done()
        listener.accept()[0].close()
        listener.settimeout(2.0)
        postmaster, _ = await asyncio.to_thread(listener.accept)
        postmaster.sendall(b"N")
        assert await asking == ""
        postmaster.close()


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
            assert time.monotonic() - started < 5
            assert facts.unreachable_since is not None
            assert facts.writable
    finally:
        os.kill(pid, signal.SIGCONT)
    await node.until(lambda facts: facts.unreachable_since is None)


async def test_probes_are_cheap(home: Path) -> None:
    """Twenty a minute are to cost next to nothing of the 0.4 s of CPU that an idle agent may use."""
    node = await a_primary(home)
    took = []
    for _ in range(5):
        started = time.process_time()
        for _ in range(10):
            await node.adapter.probe(2.0)
        took.append((time.process_time() - started) / 10)
    assert min(took) < 0.004, "the best of some rounds: whoever shares the processor makes the others dearer"


async def test_a_lock_that_holds_the_questions_up_is_no_outage(home: Path) -> None:
    """Fault 77: the role is still asked, the rest is as before and marked so; it heals by itself."""
    node = await a_primary(home)
    await node.adapter.probe(2.0)
    async with await node.connect() as connection, connection.transaction():
        await connection.execute("LOCK TABLE pg_authid IN ACCESS EXCLUSIVE MODE")
        await node.adapter.probe(1.0)
        for _ in range(3):
            facts = await node.adapter.probe(1.0)
            assert facts.unreachable_since is None
            assert facts.server is not None
            assert (facts.server.stale, facts.writable) == (True, True)
            assert "could not be asked" in facts.unreachable_why
    facts = await node.until(lambda facts: facts.server is not None and not facts.server.stale)
    assert facts.unreachable_why == ""


async def test_a_primary_that_lets_nobody_in_is_one_still(home: Path) -> None:
    """Fault 76: even when the agent's own connection is lost and every slot taken, superusers' too."""
    node = await a_primary(home)
    crowd: list[psycopg.AsyncConnection[tuple[object, ...]]] = []
    try:
        await node.adapter.probe(2.0)
        with contextlib.suppress(psycopg.OperationalError):
            while len(crowd) < 40:
                crowd.append(await node.connect())
        found = await crowd[0].execute("SELECT pid FROM pg_stat_activity WHERE application_name = 'haagent'")
        for (pid,) in await found.fetchall():
            await crowd[0].execute("SELECT pg_terminate_backend(%s)", (pid,))
            while identify(int(str(pid))) is not None:
                await asyncio.sleep(0.01)  # its place is free when it has ended
        with contextlib.suppress(psycopg.OperationalError):
            while len(crowd) < 40:
                crowd.append(await node.connect())
        facts = await node.adapter.probe(2.0)
        assert facts.unreachable_since is None
        assert facts.writable
        assert facts.server is not None
        assert facts.server.stale
        assert "too many clients" in facts.unreachable_why
    finally:
        for connection in crowd:
            await connection.close()
    await node.until(lambda facts: facts.server is not None and not facts.server.stale)
