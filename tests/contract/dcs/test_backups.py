"""etcd runs out of its quota, or is put back to an old backup: what is told, and that what is told mends it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from haagent.core.terms import Revision
from haagent.dcs import freshness
from haagent.ports import Refused, Unreachable
from tests.contract.dcs.lone import free_port, member
from tests.contract.dcs.stores import SOON_S, RealStore
from tests.real.programs import program

S = SOON_S
PREFIX = "/service/demo/"


def etcdctl(url: str, *words: str) -> str:
    """What etcdctl says; its environment is this one's and nothing more."""
    argv = [program("etcdctl"), f"--endpoints={url}", *words]
    environment = {"ETCDCTL_API": "3", "PATH": os.environ["PATH"]}
    done = subprocess.run(argv, check=True, capture_output=True, text=True, env=environment, timeout=20)
    return done.stdout


async def test_a_full_quota_is_named_and_mended_by_the_commands_that_are_told(tmp_path: Path, transport: str) -> None:
    """Fault 41: with the alarm raised by etcd itself; the commands of the message are typed as they stand."""
    with member(tmp_path, "--quota-backend-bytes=2000000") as url:
        async with contextlib.aclosing(RealStore((url,), PREFIX, transport=transport)) as store:
            a, kv = store.dcs(), store.kv()
            lease = await a.open_lease(30, S)
            term = await a.campaign("a", lease, S)
            with pytest.raises(Unreachable, match="alarm NOSPACE") as told:
                await _fill(store)
            with pytest.raises(Unreachable, match="alarm NOSPACE"):
                await a.renew("a", term, lease, 1.0)
            await a.keepalive(lease, S)
            revision = (await kv.range(PREFIX, S, prefix=True)).revision
            advice = re.search(r"\((?:alarm.*?freed: )(.*)\)", str(told.value))
            assert advice is not None
            for command in advice[1].replace("REVISION", str(revision)).split(";"):
                await asyncio.to_thread(etcdctl, url, *shlex.split(command)[1:])
            await a.renew("a", term, lease, S)


async def _fill(store: RealStore) -> None:
    for _ in range(200):
        await store.dcs().put_config({"filler": "x" * 200_000}, await _revision(store), S)


async def _revision(store: RealStore) -> Revision | None:
    config = (await store.dcs().snapshot(S)).config
    return None if config is None else config.revision


async def test_an_old_backup_is_not_believed_at_once_and_gives_nobody_the_key_back(
    tmp_path: Path, transport: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Fault 42: the leader of today is refused by the store of yesterday, and the log says that etcd was set back."""
    monkeypatch.setattr(freshness, "REBUILT_AFTER_S", 4.0)
    port, backup = free_port(), tmp_path / "backup.db"
    async with contextlib.AsyncExitStack() as stack:
        with member(tmp_path / "before", port=port) as url:
            store = await stack.enter_async_context(contextlib.aclosing(RealStore((url,), PREFIX, transport=transport)))
            a, b = store.dcs(), store.dcs()
            await a.put_config({"ttl": 10}, None, S)
            old = await a.open_lease(60, S)
            yesterday = await a.campaign("a", old, S)
            await asyncio.to_thread(etcdctl, url, "snapshot", "save", str(backup))
            await a.resign(yesterday, S)
            lease = await b.open_lease(60, S)
            today = await b.campaign("b", lease, S)
            await b.put_config({"ttl": 20}, await _revision(store), S)
        after = tmp_path / "after"
        after.mkdir()
        await asyncio.to_thread(etcdctl, url, "snapshot", "restore", str(backup), f"--data-dir={after}/data")
        with member(after, port=port):
            with pytest.raises(
                Refused, match=rf"the leader key of term {today} .* is lost: a holds it|lease {lease:x} is dead"
            ):
                await b.renew("b", today, lease, S)
            with pytest.raises(Unreachable, match=r"older than an earlier one.*the answer is ignored"):
                await b.snapshot(0.5)
            await asyncio.sleep(4.0)
            seen = await b.snapshot(S)
            assert seen.leader is not None
            assert (seen.leader.name, seen.leader.term) == ("a", yesterday)
            with pytest.raises(Refused):
                await b.campaign("b", lease, S)
    said = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert any("etcd was set back, which is now believed" in line for line in said)
