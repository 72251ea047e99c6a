"""The Postgres port on real standbys: whom they follow, their slots and their limits."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from haagent.core.facts import PostgresFacts, SlotFacts
from haagent.core.terms import Lsn, Timeline
from haagent.guard.tree import members
from haagent.ports import Refused, Unreachable
from haagent.postgres.process import identify
from haagent.postgres.sameness import gone_from
from tests.contract.nodes import (
    a_primary,
    a_standby,
    streaming,
)
from tests.contract.pgnode import (
    PgNode,
    a_node,
)


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


async def test_a_standby_of_which_a_process_crashes_ends_and_a_primary_recovers_by_itself(home: Path) -> None:
    """In the midst of its promotion it would come back writable on the old timeline, as it was before."""
    primary = await a_primary(home)
    standby = await a_standby(home, primary, "b")
    config = replace(standby.following(primary, "b"), restarts_after_crash=False)
    await standby.adapter.configure(config)

    async def crash() -> None:
        async with await standby.connect() as client:
            os.kill(client.info.backend_pid, signal.SIGKILL)

    await standby.until_shows("restart_after_crash", "off")
    await crash()
    await standby.until(lambda facts: facts.postmaster is None)
    await standby.adapter.start(config, primary=False)
    await standby.until(streaming)
    await standby.adapter.promote(Timeline(1), Timeline(2))
    await standby.until(lambda facts: facts.writable)
    await standby.adapter.configure(standby.config)
    await standby.until_shows("restart_after_crash", "on")
    postmaster = (await standby.adapter.probe(2.0)).postmaster
    await crash()
    again = await standby.until(lambda facts: facts.writable and facts.server is not None)
    assert again.postmaster == postmaster


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


async def test_a_standby_whose_wal_is_gone_says_so(home: Path) -> None:
    """Fault 73: asked when it stalls; while the WAL is there, that is not the reason."""
    config = {"wal_keep_size": "0", "max_wal_size": "2MB", "min_wal_size": "2MB"}
    source = await a_primary(home)
    source.config = replace(source.config, parameters={**source.config.parameters, **config})
    await source.adapter.configure(source.config)
    standby = await a_standby(home, source)
    there = await standby.adapter.compare(source.upstream)
    assert there.wal_gone == ""
    not_made_yet = Lsn(there.own_lsn + (1 << 36))
    assert await gone_from(standby.settings, source.upstream, not_made_yet, 16 << 20) == ""
    await standby.stop()
    await source.until(lambda facts: not any(slot.active for slot in slots_of(facts)))
    await source.adapter.sync_slots((), ("b",), {}, 5.0)
    for _ in range(6):
        await source.sql("SELECT pg_logical_emit_message(false, 'test', repeat('x', 600000)), pg_switch_wal()")
    await source.sql("CHECKPOINT")
    await standby.adapter.start(standby.following(source), primary=False)
    await standby.until(lambda facts: facts.server is not None and facts.server.replayed_all)
    found = await standby.adapter.compare(source.upstream)
    assert not found.diverged
    assert "a has removed the WAL from there on" in found.wal_gone


async def test_a_wrong_password_is_told_as_such(home: Path) -> None:
    """Fault 78: the agent asks with the credentials of the WAL receiver, so it hears what that one hears."""
    source = await a_primary(home)
    standby = await a_standby(home, source)
    await source.sql("ALTER ROLE replicator PASSWORD 'another'")
    with pytest.raises(Unreachable, match="password authentication failed"):
        await standby.adapter.compare(source.upstream)


async def test_more_connections_on_the_primary_stop_a_standby_until_it_is_restarted(home: Path) -> None:
    """Fault 75: the primary was restarted first; what the standby lacks is told, and its next start has as much."""
    source = await a_primary(home)
    standby = await a_standby(home, source)
    await source.stop()
    more = {**source.config.parameters, "max_connections": "30"}
    await source.adapter.start(replace(source.config, parameters=more), primary=True)
    await source.until(lambda facts: facts.writable)
    facts = await standby.until(lambda facts: bool(facts.server and facts.server.short_of), 30)
    assert facts.server is not None
    assert facts.server.replay_paused
    assert facts.server.short_of == {"max_connections": (20, 30)}
    await standby.stop()
    await standby.adapter.start(standby.following(source, "b"), primary=False)
    await standby.until(streaming)
    assert await standby.sql("SHOW max_connections") == [("30",)]


async def test_a_promotion_that_waits_for_the_archive_is_seen_and_can_be_ended(home: Path) -> None:
    """Fault 60: not writable while restore_command hangs, and its child goes with the rest."""
    source = await a_primary(home)
    standby = await a_standby(home, source)
    flag = standby.home / "hang"
    hanging = {"restore_command": f"test -e {flag} && exec sleep 600; false"}
    await standby.adapter.configure(replace(standby.following(source, "b"), recovery=hanging))
    flag.touch()
    await source.stop()
    await standby.adapter.promote(Timeline(1), Timeline(2))
    sleeper = await pid_of_child(standby, "sleep")
    facts = await standby.adapter.probe(2.0)
    assert not facts.writable
    await standby.adapter.stop("immediate")
    await asyncio.sleep(0.5)
    await standby.adapter.kill_tree()
    await standby.until(lambda facts: facts.postmaster is None and facts.orphans == 0)
    assert identify(sleeper) is None


async def pid_of_child(node: PgNode, program: str) -> int:
    """A program that PostgreSQL runs."""
    deadline = asyncio.get_running_loop().time() + 20
    while asyncio.get_running_loop().time() < deadline:
        for pid in members(str(node.settings.data_dir))[0]:
            with contextlib.suppress(OSError):
                if os.readlink(f"/proc/{pid}/exe").rpartition("/")[2] == program:
                    return pid
        await asyncio.sleep(0.05)
    raise AssertionError(f"{program} never ran")
