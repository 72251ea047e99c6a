"""What breaks of etcd and of the way there: members killed, frozen and cut off, answers lost, alarms raised."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from haagent.core.facts import Member
from haagent.core.terms import LeaseId, SystemId, Term
from haagent.dcs.etcd import EtcdDcs
from haagent.dcs.race import PACE
from haagent.ports import PortError, Refused, Unknown, Unreachable
from tests.contract.dcs.conftest import Trial
from tests.contract.dcs.proxy import Proxy
from tests.contract.dcs.stores import SOON_S, RealStore
from tests.real.waiting import wait_until

S = SOON_S
RENEW_TIMEOUT_S = 1.5
"""Rather short: of a ttl of 6 s."""

STRIKES: dict[str, Callable[[Trial, int], None]] = {
    "killed (35)": Trial.kill,
    "frozen (35)": Trial.freeze,
    "cut off from the others": Trial.isolate,
    "cut off from all": lambda trial, index: trial.isolate(index, from_client=True),
}


def follower(trial: Trial) -> int:
    """A member that does not lead etcd."""
    leading = wait_until(trial.cluster.leader, "an etcd leader", 5)
    return next(index for index, member in enumerate(trial.cluster.members) if member is not leading)


def first(trial: Trial, index: int) -> list[str]:
    """The endpoints, that one first: it is the one in use."""
    return [*trial.urls[index:], *trial.urls[:index]]


async def elect(dcs: EtcdDcs, name: str = "a") -> tuple[LeaseId, Term]:
    lease = await dcs.open_lease(10, S)
    return lease, await dcs.campaign(name, lease, S)


def now() -> float:
    return asyncio.get_running_loop().time()


@pytest.mark.parametrize("strike", STRIKES)
async def test_a_renewal_outlives_the_member_in_use(trial: Trial, real: RealStore, strike: str) -> None:
    used = follower(trial)
    a = real.dcs(real.client(*first(trial, used)))
    lease, term = await elect(a)
    before = await a.renew("a", term, lease, S)
    STRIKES[strike](trial, used)
    assert await a.renew("a", term, lease, RENEW_TIMEOUT_S) > before
    took = []
    for _ in range(3):
        begun_at = now()
        await a.renew("a", term, lease, RENEW_TIMEOUT_S)
        took.append(now() - begun_at)
    assert min(took) < RENEW_TIMEOUT_S / PACE, "the good endpoint is kept: the other one would be waited for so long"


async def test_a_renewal_outlives_the_leader_of_etcd(trial: Trial, real: RealStore) -> None:
    """Fault 33: no later than the deadline of a leader whose ttl is 10 s."""
    leading = trial.cluster.members.index(wait_until(trial.cluster.leader, "an etcd leader", 5))
    a = real.dcs(real.client(*first(trial, leading)))
    lease, term = await elect(a)
    trial.kill(leading)
    begun_at = now()
    while True:
        with contextlib.suppress(Unknown, Unreachable):
            await a.renew("a", term, lease, 2.5)
            break
        assert now() - begun_at < 7
    assert now() - begun_at < 7
    seen = await a.snapshot(S)
    assert seen.leader is not None
    assert seen.leader.term == term


async def test_silence_of_all_is_within_the_deadline_and_says_who_was_asked(trial: Trial, real: RealStore) -> None:
    a = real.dcs()
    lease, term = await elect(a)
    for index in range(3):
        trial.freeze(index)
    begun_at = now()
    with pytest.raises(Unknown) as told:
        await a.renew("a", term, lease, 1.0)
    with pytest.raises(Unreachable, match=r"reading /service/.* got nowhere in \d\.\d\d s: no answer from http://"):
        await a.snapshot(0.5)
    assert now() - begun_at < 5
    assert all(url in str(told.value) for url in trial.urls)


async def test_nobody_listening_is_surely_not_done(trial: Trial, real: RealStore) -> None:
    nobody = "http://127.0.0.1:1"
    with pytest.raises(Unreachable, match=rf"{nobody} after \d\.\d\d s: .*onnect"):
        await real.dcs(real.client(nobody)).open_lease(10, 0.4)


async def test_a_member_that_is_dead_from_the_start_costs_nothing(trial: Trial, real: RealStore) -> None:
    a = real.dcs(real.client("http://127.0.0.1:1", *trial.urls))
    begun_at = now()
    await elect(a)
    assert now() - begun_at < S / PACE, "nobody is waited for"


# --- answers that are lost ---


@pytest.fixture
async def lossy(trial: Trial) -> AsyncIterator[Proxy]:
    async with Proxy(trial.urls[0]).serving() as proxy:
        yield proxy


async def test_lost_answers_are_read_back(real: RealStore, lossy: Proxy) -> None:
    """Fault 25: every write is done once, and knows it, though the answer to its first copy never came."""
    a, b = real.dcs(real.client(lossy.url)), real.dcs()
    lease = await a.open_lease(10, S)

    async def losing(what: Callable[[], Any]) -> Any:
        before, lossy.lose = lossy.lost, 1
        result = await what()
        assert (lossy.lost, lossy.lose) == (before + 1, 0)
        return result

    term = await losing(lambda: a.campaign("a", lease, 1.0))
    key = (await b.snapshot(S)).leader
    assert key is not None
    assert (key.name, key.term, key.lease_id) == ("a", term, lease)
    revision = await losing(lambda: a.renew("a", term, lease, 1.0))
    key = (await b.snapshot(S)).leader
    assert key is not None
    assert key.revision == revision
    begun = await losing(lambda: a.begin_initialize(1.0))
    assert (await b.snapshot(S)).initialize_revision == begun
    await losing(lambda: a.finish_initialize(SystemId("7"), begun, 1.0))
    await losing(lambda: a.put_config({"ttl": 10}, None, 1.0))
    sync = await losing(lambda: a.put_sync("a", 0, ["b"], None, term, 1.0))
    synced = (await b.snapshot(S)).sync
    assert synced is not None
    assert synced.revision == sync
    await losing(lambda: a.drop_sync(sync, term, 1.0))
    await losing(lambda: a.put_member(Member("a", state="running"), lease, 1.0))
    await losing(lambda: a.resign(term, 1.0))
    seen = await b.snapshot(S)
    assert (seen.leader, seen.sync, seen.initialize, seen.released) == (None, None, "7", term)
    assert seen.member("a") == Member("a", state="running")


async def test_a_loss_of_all_answers_leaves_the_outcome_unknown(real: RealStore, lossy: Proxy) -> None:
    a, b = real.dcs(real.client(lossy.url)), real.dcs()
    await a.snapshot(S)  # gRPC sends nothing before the server has greeted
    lossy.lose = 100
    with pytest.raises(Unknown, match=r"the transaction on .*/config got nowhere"):
        await a.put_config({"ttl": 10}, None, 0.4)
    assert (await b.snapshot(S)).config is not None


async def test_a_lost_answer_to_a_write_that_was_overtaken_is_not_called_refused(real: RealStore, lossy: Proxy) -> None:
    a, b = real.dcs(real.client(lossy.url)), real.dcs()
    await a.snapshot(S)
    lossy.lose = 1
    writing = asyncio.create_task(a.put_config({"ttl": 10}, None, 2.0))
    while (seen := (await b.snapshot(S)).config) is None:
        await asyncio.sleep(0.01)
    await b.put_config({"ttl": 20}, seen.revision, S)
    with pytest.raises(Unknown, match=r"changed by somebody else.*an earlier copy"):
        await writing


# --- what etcd says no to ---


async def test_an_alarm_is_named_with_its_cure_and_is_no_loss_of_the_key(trial: Trial, real: RealStore) -> None:
    """Fault 41: NOSPACE; whoever leads goes on trying until the deadline."""
    a = real.dcs()
    lease, term = await elect(a)
    status = await real.post("/v3/maintenance/status", {})
    alarm = {"memberID": status["header"]["member_id"], "alarm": "NOSPACE"}
    await real.post("/v3/maintenance/alarm", {**alarm, "action": "ACTIVATE"})
    try:
        with pytest.raises(Unreachable, match=r"alarm NOSPACE.*etcdctl alarm disarm"):
            await a.renew("a", term, lease, 1.0)
        assert (await a.snapshot(S)).leader is not None
    finally:
        await real.post("/v3/maintenance/alarm", {**alarm, "action": "DEACTIVATE"})
    await a.renew("a", term, lease, S)


async def test_wiped_keys_end_leadership(real: RealStore) -> None:
    """Fault 43: the renewal is refused although the lease still lives."""
    a = real.dcs()
    lease, term = await elect(a)
    await real.post("/v3/kv/deleterange", {"key": "AA==", "range_end": "AA=="})
    await a.keepalive(lease, S)
    with pytest.raises(Refused, match="nobody holds it"):
        await a.renew("a", term, lease, S)


async def test_only_the_three_failures_cross_the_port(trial: Trial, real: RealStore) -> None:
    """Something that is not etcd answers."""

    ok = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s"
    bodies = [b"", b"[]", b"{}", b'{"header":{"revision":"x"}}', b'{"header":null}', b"<html>", b"\xff\xfe"]
    answers = [ok % (len(body), body) for body in bodies]
    answers += [b"garbage\r\n\r\n", b"", b"HTTP/1.1 302 Found\r\nLocation: http://x/\r\n\r\n", ok % (99, b"short")]

    current = [b""]

    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(current[0])
            await writer.drain()

    server = await asyncio.start_server(babble, "127.0.0.1", 0)
    async with server:
        kv = real.client(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        for current[0] in answers:
            with pytest.raises(PortError):
                await kv.txn([], [], [], 0.1)
