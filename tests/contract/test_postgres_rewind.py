"""The Postgres port on histories of real servers: compared, rewound."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from haagent.core.facts import DataKind, Progress
from haagent.core.terms import Lsn, Timeline
from haagent.ports import Refused
from haagent.postgres.control import ControlData, read_control
from haagent.postgres.settings import PostgresSettings
from tests.contract.nodes import (
    a_primary,
    a_standby,
    diverged,
    down,
    expect_unfinished,
    pid_of,
    running,
    streaming,
    watching_for_secrets,
)
from tests.contract.pgnode import (
    PgNode,
    a_node,
    without_checksums,
)


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


async def busily(node: PgNode) -> None:
    """Write until the server ends, so that pg_rewind asks for WAL that it has not copied."""
    async with await node.connect() as connection:
        while True:
            await connection.execute("INSERT INTO unknown_to_the_third SELECT generate_series(1, 100)")


async def test_a_start_that_waits_for_the_wal_of_a_dead_source_is_told_from_one_that_takes_long(home: Path) -> None:
    """Rewound to a primary whose end was lost: PostgreSQL never gets as far as to answer, and says of no divergence."""
    old, new = await diverged(home)
    third = await a_standby(home, new, "c")
    await third.stop()
    await new.sql("CREATE TABLE unknown_to_the_third (n int)")
    await old.adapter.kill_tree()
    await old.until(down)
    writing = asyncio.create_task(busily(new))
    await old.adapter.rewind(new.upstream, old.progress.append)
    await new.adapter.kill_tree()
    with contextlib.suppress(psycopg.OperationalError):
        await writing
    await third.adapter.start(third.config, primary=False)
    await third.until(lambda facts: facts.server is not None)
    await third.adapter.promote(Timeline(2), Timeline(3))
    await third.until(lambda facts: facts.writable)

    await old.adapter.start(old.following(third), primary=False)
    for _ in range(20):
        facts = await old.adapter.probe(2.0)
        assert facts.running
        assert facts.server is None
        await asyncio.sleep(0.1)
    running = await old.adapter.compare(third.upstream)
    assert running.diverged
    assert re.search("needs the WAL up to .* has it up to .*c left that history", running.wal_gone)
    await old.stop()
    assert (await old.adapter.compare(third.upstream)).wal_gone == running.wal_gone
    with pytest.raises(Refused, match="nothing was changed"):
        await old.adapter.rewind(third.upstream, old.progress.append)


async def test_a_copy_that_must_go_further_than_its_history_does_is_told_though_it_has_the_next_timeline(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rewound to a primary that died at once: PostgreSQL refuses to start, whatever WAL of the next one it has."""
    _, new = await diverged(home)
    copy = await a_standby(home, new, "c")
    await copy.until(lambda facts: streaming(facts) and facts.server is not None and facts.server.timeline == 2)
    await copy.stop()
    assert not (await copy.adapter.compare(new.upstream)).diverged
    (left,) = await new.adapter.history()

    async def of_one_that_was_not_consistent(settings: PostgresSettings, timeout: float = 5.0) -> ControlData:
        found = await read_control(settings, timeout)
        far = {
            "Minimum recovery ending location": str(Lsn(left.lsn + 65536)),
            "Min recovery ending loc's timeline": "1",
        }
        return replace(found, fields={**found.fields, **far})

    monkeypatch.setattr("haagent.postgres.adapter.read_control", of_one_that_was_not_consistent)
    verdict = await copy.adapter.compare(new.upstream)
    assert (verdict.diverged, verdict.own_timeline, verdict.leader_timeline) == (True, 1, 2)
    assert re.search("needs the WAL up to .* b left that history at", verdict.wal_gone)


async def test_a_rewind_that_is_killed_leaves_a_directory_for_a_new_clone(home: Path) -> None:
    """Fault 62."""
    old, new = await diverged(home)
    await old.stop()

    def kill(progress: Progress) -> None:
        if progress.phase == "rewinding" and (pid := running("pg_rewind")) is not None:
            os.killpg(pid, signal.SIGKILL)

    with pytest.raises(Refused, match="no longer usable"):
        await old.adapter.rewind(new.upstream, kill)
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
        while list(old.settings.data_dir.glob("pg_wal/archive_status/*.ready")):
            await asyncio.sleep(0.03)  # what is not archived yet is not removed either
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


async def test_a_timeline_followed_since_the_last_checkpoint_is_out_of_pg_rewinds_sight(home: Path) -> None:
    """Fault 64: two primaries one after the other, and a standby of the first: it is not to be rewound for ever."""
    old = await a_primary(home)
    await old.sql("CREATE TABLE much AS SELECT generate_series(1, 200000)")
    new = await a_standby(home, old)
    third = await a_standby(home, new, "c")
    await old.sql("UPDATE much SET generate_series = 0")  # to be written out before the next checkpoint ends
    reached = (await old.adapter.probe(2.0)).server
    assert reached is not None
    await third.until(lambda facts: facts.server is not None and facts.server.lsn >= reached.lsn)
    await new.adapter.promote(Timeline(1), Timeline(2))
    await new.until(lambda facts: facts.writable)
    await new.sql("CREATE TABLE lost (n int)")
    await third.until(lambda facts: facts.server is not None and facts.server.timeline == 2)
    await third.until(lambda facts: facts.server is not None and facts.server.lsn > reached.lsn + 1000)
    await third.stop()
    await new.adapter.kill_tree()
    await old.sql("UPDATE much SET generate_series = 1")
    await old.stop()
    await old.adapter.start(old.config, primary=False)
    await old.until(lambda facts: facts.server is not None and facts.server.replayed_all)
    await old.adapter.promote(Timeline(1), Timeline(3))
    await old.until(lambda facts: facts.writable)

    found = await third.adapter.compare(old.upstream)
    assert (found.diverged, found.own_timeline, found.leader_timeline) == (True, 2, 3)
    with pytest.raises(Refused, match=r"pg_rewind found nothing to do, .* clone this node anew"):
        await third.adapter.rewind(old.upstream, third.progress.append)
    assert (await third.adapter.probe(2.0)).data.kind is DataKind.VALID
    await third.adapter.move_aside("diverged")
    await third.adapter.clone(old.upstream, None, third.progress.append)
    await third.adapter.start(third.following(old), primary=False)
    await third.until(streaming)


async def test_two_timelines_of_one_number_are_told_apart_by_their_content(home: Path) -> None:
    """Fault 64: promoted at the very same position, so that no history tells them apart; never rewound or followed."""
    old = await a_primary(home)
    new = await a_standby(home, old)
    await old.stop()
    await old.adapter.start(old.config, primary=False)
    await old.until(lambda facts: facts.server is not None and facts.server.replayed_all)
    await new.until(lambda facts: facts.server is not None and facts.server.replayed_all)
    for node in (old, new):
        await node.adapter.promote(Timeline(1), Timeline(2))
        await node.until(lambda facts: facts.writable)
        await node.sql("CREATE TABLE mine (n int)")
        await node.sql("CHECKPOINT")
    await new.sql("INSERT INTO mine SELECT generate_series(1, 9999)")
    assert await old.adapter.history() == await new.adapter.history()
    await old.stop()
    found = await old.adapter.compare(new.upstream)
    assert found.diverged
    assert (found.own_timeline, found.leader_timeline) == (2, 2)
    assert "differs from" in found.reason
    with pytest.raises(Refused, match="on one timeline"):
        await old.adapter.rewind(new.upstream, old.progress.append)


async def test_a_copy_that_is_merely_behind_is_the_same_by_content(home: Path) -> None:
    """Fault 64: no false alarm, over several segments and a shutdown of either."""
    old = await a_primary(home)
    new = await a_standby(home, old)
    for _ in range(3):
        await old.sql("SELECT pg_logical_emit_message(false, 'test', repeat('x', 700000))")
    await new.stop()
    await old.sql("CREATE TABLE later (n int)")
    assert not (await new.adapter.compare(old.upstream)).diverged
    await new.adapter.start(new.following(old, "b"), primary=False)
    await new.until(streaming)
    await old.stop()
    await new.adapter.promote(Timeline(1), Timeline(2))
    await new.until(lambda facts: facts.writable)
    assert not (await old.adapter.compare(new.upstream)).diverged


async def test_a_source_that_dies_before_anything_was_changed_leaves_the_copy_as_it_was(home: Path) -> None:
    """Fault 62: what was not touched is no unfinished copy; the same rewind succeeds when the source is back."""
    old, new = await diverged(home)
    await old.adapter.kill_tree()
    await old.until(down)
    rewinding = asyncio.create_task(old.adapter.rewind(new.upstream, old.progress.append))
    pid = await pid_of("pg_rewind")
    os.kill(pid, signal.SIGSTOP)
    await new.adapter.kill_tree()
    os.kill(pid, signal.SIGCONT)
    with pytest.raises(Refused, match="nothing was changed"):
        await rewinding
    assert (await old.adapter.probe(2.0)).data.kind is DataKind.VALID
    await new.until(down)
    await new.adapter.start(new.config, primary=True)
    await new.until(lambda facts: facts.writable)
    await old.adapter.rewind(new.upstream, old.progress.append)
    await old.adapter.start(old.following(new), primary=False)
    await old.until(streaming)


async def test_a_damaged_control_file_is_neither_started_nor_copied_from(home: Path) -> None:
    """Fault 52: a running primary is told by its own questions; a stopped one is not readable, and never starts."""
    node = await a_primary(home)
    await node.adapter.probe(2.0)
    control = node.settings.data_dir / "global" / "pg_control"
    content = bytearray(control.read_bytes())
    content[100] ^= 0xFF
    control.write_bytes(content)
    facts = await node.adapter.probe(2.0)
    assert facts.unreachable_since is not None
    assert "CRC" in facts.unreachable_why
    await node.adapter.kill_tree()
    facts = await node.until(down)
    assert facts.data.kind is DataKind.UNREADABLE
    assert "damaged" in facts.data.detail
    for primary in (True, False):
        with pytest.raises(Refused, match="damaged"):
            await node.adapter.start(node.config, primary=primary)
