"""What the tests of the Postgres port do with nodes: primaries, standbys, and what is looked for around them."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from haagent.core.facts import DataKind, PostgresFacts
from haagent.core.terms import Timeline
from haagent.ports import Refused
from haagent.postgres.process import stat_of
from tests.contract.pgnode import (
    SECRETS,
    PgNode,
    a_node,
)


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
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if (pid := running(program)) is not None:
            return pid
        await asyncio.sleep(0.002)
    raise AssertionError(f"{program} never ran")


def running(program: str) -> int | None:
    """The process id of a program that this process started and that runs now."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            pid = int(entry.name)
            found = stat_of(pid)
            mine = found is not None and found[1] == os.getpid()
            if mine and os.readlink(entry / "exe").endswith(f"/{program}"):
                return pid
        except OSError:
            continue
    return None


async def expect_unfinished(node: PgNode, doing: str) -> None:
    facts = await node.agent().probe(2.0)
    assert (facts.data.kind, facts.data.marker) == (DataKind.UNFINISHED, doing)
    with pytest.raises(Refused):
        await node.adapter.start(node.config, primary=True)
