"""Timeline numbers on real servers: one that a dead primary took is skipped, and everybody follows through the gap."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from haagent.core.facts import PostgresFacts
from haagent.core.terms import Timeline
from haagent.ports import Refused
from haagent.postgres.taken import HELD, MOST_HELD, UNREACHED, hold
from tests.contract.pgnode import PgNode, a_home, a_node, ordinary_user


@pytest.fixture
async def home() -> AsyncIterator[Path]:
    with ordinary_user():
        async with a_home() as path:
            yield path


async def a_primary(home: Path, archive: Path | None) -> PgNode:
    node = a_node(home, "a")
    parameters = {**node.config.parameters, "wal_keep_size": "100MB", "wal_retrieve_retry_interval": "200ms"}
    node.config = replace(node.config, parameters=parameters)
    if archive is not None:
        archiving = {"archive_mode": "on", "archive_command": f"test ! -f {archive}/%f && cp %p {archive}/%f"}
        restoring = {"restore_command": f"cp {archive}/%f %p"}
        node.config = replace(node.config, parameters={**parameters, **archiving}, recovery=restoring)
    await node.adapter.initialize(node.config, node.progress.append)
    await node.adapter.start(node.config, primary=True)
    await node.until(lambda facts: facts.writable)
    await node.sql("CREATE TABLE kept (n int)")
    return node


async def a_standby(home: Path, source: PgNode, name: str, timeline: int = 1) -> PgNode:
    node = a_node(home, name)
    node.config = replace(source.config, application_name=name)
    await node.adapter.clone(source.upstream, None, node.progress.append)
    await node.adapter.start(node.following(source), primary=False)
    await node.until(streaming(timeline))
    return node


def streaming(timeline: int) -> Callable[[PostgresFacts], bool]:
    def holds(facts: PostgresFacts) -> bool:
        receiver = facts.server.receiver if facts.server else None
        return receiver is not None and receiver.status == "streaming" and receiver.timeline == timeline

    return holds


def histories(node: PgNode) -> dict[str, str]:
    """The .history files of a node by their numbers."""
    wal = node.settings.data_dir / "pg_wal"
    return {path.name.lstrip("0").removesuffix(".history"): path.read_text() for path in wal.glob("*.history*")}


async def end(node: PgNode) -> None:
    await node.adapter.stop("immediate")
    await node.until(lambda facts: facts.postmaster is None)


@pytest.mark.parametrize("archived", [False, True], ids=["alone", "with an archive"])
async def test_the_number_that_a_dead_primary_took_is_skipped_and_everybody_follows(home: Path, archived: bool) -> None:
    archive = home / "archive" if archived else None
    if archive is not None:
        archive.mkdir()
    old = await a_primary(home, archive)
    dead, new, misled, asleep = [await a_standby(home, old, name) for name in "bcde"]
    await end(asleep)
    await end(old)

    await dead.adapter.promote(Timeline(1), Timeline(2))
    await dead.until(lambda facts: facts.writable)
    await misled.adapter.configure(misled.following(dead))
    await misled.until(streaming(2))
    await dead.sql("INSERT INTO kept VALUES (0)")
    await end(dead)

    await new.adapter.promote(Timeline(1), Timeline(3))
    made = await new.until(lambda facts: facts.writable)
    assert made.server is not None
    assert made.server.timeline == 3
    if not archived:
        assert histories(new)["2"] == HELD
        assert [line.timeline for line in await new.adapter.history()] == [1]
    await new.sql("INSERT INTO kept VALUES (1)")

    await old.adapter.start(old.following(new), primary=False)
    await old.until(streaming(3))
    for node in (misled, dead):
        verdict = await node.adapter.compare(new.upstream)
        assert verdict.diverged, verdict
        if node is misled:
            await end(node)
        await node.adapter.rewind(new.upstream, node.progress.append)
        await node.adapter.start(node.following(new), primary=False)
        await node.until(streaming(3))
    for node in (old, misled, dead):
        await node.until(lambda facts: bool(facts.server and facts.server.replayed_all))
        assert await node.sql("SELECT n FROM kept") == [(1,)]
    await asleep.adapter.start(asleep.following(await a_standby(home, new, "f", 3)), primary=False)
    await asleep.until(lambda facts: facts.data.heard == 3)
    if archive is None:  # a copy knows the way, but has no WAL from before its own making
        await asleep.adapter.configure(asleep.following(new))
    await asleep.until(streaming(3))
    await asleep.until(lambda facts: bool(facts.server and facts.server.replayed_all and facts.server.timeline == 3))
    assert await asleep.sql("SELECT n FROM kept") == [(1,)]
    if archive is not None:
        assert HELD not in {path.read_text() for path in archive.glob("*.history")}


async def test_numbers_of_timelines_that_were_never_reached_do_not_hold_a_standby_up(home: Path) -> None:
    """A promotion that was ordered and did not happen, and one that was heard of and never followed."""
    primary = await a_primary(home, None)
    standby = await a_standby(home, primary, "b")
    wal = standby.settings.data_dir / "pg_wal"
    hold(standby.settings, Timeline(1), Timeline(4))
    hold(standby.settings, Timeline(1), Timeline(4))
    assert sorted(histories(standby)) == ["2", "3"]
    (wal / "00000004.history").write_text("1\t0/F000000\tno recovery target specified\n")
    facts = await standby.until(lambda facts: facts.data.heard == 4)
    assert facts.data.bound == 4
    with pytest.raises(Refused, match="haagent_timeline"):
        hold(standby.settings, Timeline(1), Timeline(MOST_HELD + 2))
    await end(standby)
    await standby.adapter.start(standby.following(primary), primary=False)
    facts = await standby.until(streaming(1))
    assert [path.name for path in wal.glob("*.history*")] == [f"00000004.history{UNREACHED}"]
    assert (facts.data.heard, facts.data.bound) == (4, 0)


async def test_a_timeline_that_the_archive_lacks_is_followed_all_the_same_and_archived_when_it_can_be(
    home: Path,
) -> None:
    """Fault 65: no standby starts again and again; the archive gets the .history file and the first segment."""
    archive = home / "archive"
    archive.mkdir()
    old = await a_primary(home, archive)
    new, other = [await a_standby(home, old, name) for name in "bc"]
    archive.chmod(0o500)
    await end(old)
    await new.adapter.promote(Timeline(1), Timeline(2))
    await new.until(lambda facts: facts.writable)
    await other.adapter.configure(other.following(new))
    first = await other.until(streaming(2))
    await end(other)
    await other.adapter.start(other.following(new), primary=False)
    again = await other.until(streaming(2))
    assert again.postmaster != first.postmaster
    assert not (archive / "00000002.history").exists()
    archive.chmod(0o700)
    await new.sql("INSERT INTO kept VALUES (1)")
    await new.sql("SELECT pg_switch_wal()")

    def archived(_: PostgresFacts) -> bool:
        segments = [path.name for path in archive.glob("00000002" + "?" * 16)]
        return (archive / "00000002.history").exists() and bool(segments)

    facts = await new.until(archived, 90)
    assert facts.writable
    assert (await other.adapter.probe(2.0)).postmaster == again.postmaster
