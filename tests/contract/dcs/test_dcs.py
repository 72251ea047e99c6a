"""What the ``Dcs`` promises, over etcd in memory and over real members: the same suite keeps the fake honest."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable

import pytest

from haagent.core.facts import Grounds, HistoryLine, LeaderKey, Member, Status, SyncKey
from haagent.core.terms import LeaseId, Lsn, Revision, SystemId, Term, Timeline
from haagent.dcs.etcd import EtcdDcs
from haagent.ports import Refused
from tests.contract.dcs.stores import SOON_S, Ears, Store

S = SOON_S


async def elect(dcs: EtcdDcs, name: str = "a", ttl: float = 10) -> tuple[LeaseId, Term]:
    """Make a node leader."""
    lease = await dcs.open_lease(ttl, S)
    return lease, await dcs.campaign(name, lease, S)


async def leader(store: Store) -> LeaderKey | None:
    return (await store.dcs().snapshot(S)).leader


@contextlib.asynccontextmanager
async def watching(dcs: EtcdDcs) -> AsyncIterator[Ears]:
    """Let a node watch, for as long as the block lasts; it has seen what was there before."""
    ears = Ears()
    await dcs.snapshot(S)
    task = asyncio.create_task(dcs.watch(ears.wake))
    try:
        yield ears
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def refused(what: Awaitable[object], match: str) -> None:
    with pytest.raises(Refused, match=match):
        await what


# --- the leader key ---


async def test_one_campaign_wins(store: Store) -> None:
    a, b = store.dcs(), store.dcs()
    lease, term = await elect(a)
    other = await b.open_lease(10, S)
    await refused(b.campaign("b", other, S), f"a holds it, term {term}, revision {term}, lease {lease:x}")
    assert await leader(store) == LeaderKey("a", term, Revision(term), lease)


async def test_a_campaign_knows_its_own_success(store: Store) -> None:
    a = store.dcs()
    lease, term = await elect(a)
    won = await leader(store)
    assert await a.campaign("a", lease, S) == term
    again = await leader(store)
    assert won is not None
    assert again is not None
    assert again.revision > won.revision, "what was won before is no proof: it is written anew"
    await refused(a.campaign("a", await a.open_lease(10, S), S), "a holds it")


async def test_a_campaign_under_a_dead_lease_is_refused(store: Store) -> None:
    a = store.dcs()
    await refused(a.campaign("a", LeaseId(0x1234), S), "lease not found")
    assert await leader(store) is None


async def test_a_renewal_moves_the_revision_and_not_the_term(store: Store) -> None:
    a = store.dcs()
    lease, term = await elect(a)
    first = await a.renew("a", term, lease, S)
    second = await a.renew("a", term, lease, S)
    assert term < first < second
    assert await leader(store) == LeaderKey("a", term, second, lease)


async def test_a_renewal_is_refused_once_the_key_is_gone(store: Store) -> None:
    a = store.dcs()
    lease, term = await elect(a)
    await a.resign(term, S)
    await refused(a.renew("a", term, lease, S), f"of term {term} .* is lost: nobody holds it")


async def test_a_renewal_is_refused_once_another_leads(store: Store) -> None:
    a, b = store.dcs(), store.dcs()
    lease, term = await elect(a)
    await a.resign(term, S)
    await elect(b, "b")
    await refused(a.renew("a", term, lease, S), "b holds it")
    key = await leader(store)
    assert key is not None
    assert key.name == "b"


async def test_a_renewal_is_refused_for_an_earlier_term_of_ones_own(store: Store) -> None:
    a = store.dcs()
    lease, term = await elect(a)
    await a.resign(term, S)
    await a.campaign("a", lease, S)
    await refused(a.renew("a", term, lease, S), "a holds it")


async def test_a_renewal_is_refused_once_the_lease_is_revoked(store: Store) -> None:
    a, kv = store.dcs(), store.kv()
    lease, term = await elect(a)
    await kv.revoke(lease, S)
    await refused(a.renew("a", term, lease, S), "is dead|nobody holds it")
    await refused(a.keepalive(lease, S), "is dead")


async def test_the_key_moves_to_another_lease_in_the_same_term(store: Store) -> None:
    a = store.dcs()
    old, term = await elect(a)
    new = await a.open_lease(20, S)
    revision = await a.renew("a", term, new, S, old)
    assert await leader(store) == LeaderKey("a", term, revision, new)
    again = await a.renew("a", term, new, S, old)
    assert again > revision, "what was done before is no proof: it is written anew"
    assert await leader(store) == LeaderKey("a", term, again, new)
    await refused(a.renew("a", term, old, S), f"of term {term} under lease {old:x} is lost: a holds it")
    await store.kv().revoke(old, S)
    await a.renew("a", term, new, S)


async def test_a_resign_is_for_its_own_term(store: Store) -> None:
    a = store.dcs()
    _, term = await elect(a)
    await refused(a.resign(Term(term - 1), S), f"the leader key is not of term {term - 1}: a holds it")
    await a.resign(term, S)
    seen = await a.snapshot(S)
    assert (seen.leader, seen.released) == (None, term)
    await refused(a.resign(term, S), "nobody holds it")


async def test_a_heartbeat_that_stood_still_can_be_deposed(store: Store) -> None:
    a, b = store.dcs(), store.dcs()
    lease, term = await elect(a)
    seen = Revision(term)
    await a.renew("a", term, lease, S)
    await refused(b.depose(seen, S), f"the leader key is not of revision {seen}: a holds it")
    key = await leader(store)
    assert key is not None
    await b.depose(key.revision, S)
    assert await leader(store) is None
    assert (await b.snapshot(S)).released is None
    _, later = await elect(b, "b")
    assert later > term


async def test_a_deposed_past_of_ones_own_may_be_noted_as_released(store: Store) -> None:
    a = store.dcs()
    _, term = await elect(a)
    await a.depose(Revision(term), S, term)
    assert (await a.snapshot(S)).released == term


async def test_a_lease_that_nobody_keeps_alive_takes_its_keys_along(store: Store) -> None:
    a, b = store.dcs(), store.dcs()
    async with watching(b) as ears:
        lease, term = await elect(a, ttl=2)
        await a.put_member(Member("a", state="running"), lease, S)
        await ears.hear("the leader key is gone", 15)
        await ears.hear("the member key of a is gone")
    assert (await b.snapshot(S)).members == ()
    await refused(a.renew("a", term, lease, S), "is dead|nobody holds it")


async def test_a_lease_that_is_kept_alive_stays(store: Store) -> None:
    a = store.dcs()
    lease, term = await elect(a, ttl=3)
    for _ in range(5):
        await asyncio.sleep(0.7)
        revision = await a.renew("a", term, lease, S)
    assert await leader(store) == LeaderKey("a", term, revision, lease)


async def test_what_was_granted_is_at_least_what_was_asked(store: Store) -> None:
    a = store.dcs()
    assert await a.granted_ttl(await a.open_lease(0.5, S), S) >= 1
    assert await a.granted_ttl(await a.open_lease(9.2, S), S) == 10
    await refused(a.granted_ttl(LeaseId(0x1234), S), "is dead")


# --- what nodes write ---


async def test_a_member_key_hangs_on_its_lease(store: Store) -> None:
    a = store.dcs()
    member = Member("a", state="running", lsn=Lsn(2**60), timeline=Timeline(3), extra={"proxy_url": "é"})
    lease = await a.open_lease(10, S)
    await a.put_member(member, lease, S)
    await a.put_member(member, lease, S)
    assert (await a.snapshot(S)).members == (member,)
    await store.kv().revoke(lease, S)
    assert (await a.snapshot(S)).members == ()
    await refused(a.put_member(member, lease, S), "lease not found")


async def test_one_node_initializes(store: Store) -> None:
    a, b = store.dcs(), store.dcs()
    begun = await a.begin_initialize(S)
    await refused(b.begin_initialize(S), "a bootstrap is under way")
    seen = await b.snapshot(S)
    assert (seen.initialize, seen.initialize_revision) == ("", begun)
    await a.finish_initialize(SystemId("7268616322854375442"), begun, S)
    assert (await b.snapshot(S)).initialize == "7268616322854375442"
    await refused(b.begin_initialize(S), "names system identifier 7268616322854375442")
    await refused(b.finish_initialize(SystemId("1"), begun, S), "7268616322854375442 .*; this node's .* is 1")


async def test_a_failed_bootstrap_gives_way(store: Store) -> None:
    a, b = store.dcs(), store.dcs()
    begun = await a.begin_initialize(S)
    await a.abandon_initialize(begun, S)
    assert (await a.snapshot(S)).initialize is None
    again = await b.begin_initialize(S)
    await refused(a.abandon_initialize(begun, S), "not as it was")
    assert (await a.snapshot(S)).initialize_revision == again


async def test_a_running_cluster_names_itself_in_an_empty_store(store: Store) -> None:
    a, b = store.dcs(), store.dcs()
    await a.finish_initialize(SystemId("7"), None, S)
    await a.finish_initialize(SystemId("7"), None, S)
    await refused(b.finish_initialize(SystemId("8"), None, S), "names system identifier 7")


async def test_the_configuration_is_replaced_by_whoever_saw_it_last(store: Store) -> None:
    a, b = store.dcs(), store.dcs()
    await a.put_config({"ttl": 10, "slots": {"x": None}}, None, S)
    await refused(b.put_config({"ttl": 20}, None, S), "changed by somebody else: expected no such key")
    seen = (await b.snapshot(S)).config
    assert seen is not None
    assert seen.document == {"ttl": 10, "slots": {"x": None}}
    await b.put_config({"ttl": 20}, seen.revision, S)
    await refused(a.put_config({"ttl": 30}, seen.revision, S), f"expected revision {seen.revision}")
    now = (await a.snapshot(S)).config
    assert now is not None
    assert now.document == {"ttl": 20}


async def test_of_two_operators_one_is_told_that_he_came_second(store: Store) -> None:
    a, b = store.dcs(), store.dcs()
    await a.put_failover("a", "b", None, None, S)
    await refused(b.put_failover("a", "b", None, None, S), "changed by somebody else")
    request = (await b.snapshot(S)).failover
    assert request is not None
    assert (request.leader, request.candidate) == ("a", "b")
    await b.put_failover(None, None, None, request.revision, S)
    done = (await a.snapshot(S)).failover
    assert done is not None
    assert done.empty


async def test_only_the_leader_of_the_term_publishes(store: Store) -> None:
    a = store.dcs()
    _, term = await elect(a)
    lines = [HistoryLine(Timeline(1), Lsn(16), "no recovery target specified", "2026-01-01T00:00:00+00:00", "a")]
    await a.put_status(Lsn(5), {"b": Lsn(4)}, ["b"], term, S)
    await a.put_history(lines, term, S)
    await a.put_failsafe({"a": "http://a"}, Revision(0), term, S)
    seen = await a.snapshot(S)
    assert seen.status == Status(Lsn(5), {"b": Lsn(4)}, ("b",))
    assert seen.history == tuple(lines)
    assert seen.failsafe == {"a": "http://a"}
    await a.resign(term, S)
    await elect(store.dcs(), "b")
    await refused(a.put_status(Lsn(9), {}, [], term, S), f"for the leader of term {term} to write: b holds it")
    await refused(a.put_history([], term, S), "b holds it")
    await refused(a.put_failsafe({}, Revision(0), term, S), "b holds it")
    assert (await a.snapshot(S)).status == seen.status


async def test_a_timeline_is_claimed_by_the_leader_who_saw_the_last_claim(store: Store) -> None:
    a = store.dcs()
    _, term = await elect(a)
    assert (await a.snapshot(S)).claimed is None
    first = await a.claim_timeline(Timeline(5), None, term, S)
    seen = await a.snapshot(S)
    assert (seen.claimed, seen.claimed_revision) == (Timeline(5), first)
    await refused(a.claim_timeline(Timeline(5), None, term, S), "changed by somebody else")
    await refused(a.claim_timeline(Timeline(6), first, Term(term + 1), S), "for the leader of term")
    await a.claim_timeline(Timeline(6), first, term, S)
    assert (await a.snapshot(S)).claimed == Timeline(6)


async def test_sync_is_written_by_the_leader_who_saw_it_last(store: Store) -> None:
    a = store.dcs()
    _, term = await elect(a)
    first = await a.put_sync("a", 0, ["b"], None, term, S)
    await refused(a.put_sync("a", 0, ["c"], None, term, S), "changed by somebody else")
    second = await a.put_sync("a", 1, ["c", "b"], first, term, S)
    assert (await a.snapshot(S)).sync == SyncKey(second, "a", 1, ("b", "c"))
    await refused(a.drop_sync(first, term, S), "changed by somebody else")
    await refused(a.put_sync("a", 0, [], second, Term(term + 1), S), "for the leader of term")
    await refused(a.drop_sync(second, Term(term + 1), S), "for the leader of term")
    await a.drop_sync(second, term, S)
    assert (await a.snapshot(S)).sync is None


# --- what nodes see ---


async def test_the_watch_wakes_for_what_matters_and_for_nothing_else(store: Store) -> None:
    a, b = store.dcs(), store.dcs()
    async with watching(b) as ears:
        lease, term = await elect(a)
        await ears.hear("the leader key names a")
        await a.put_member(Member("a", state="starting"), lease, S)
        await ears.hear("member a changed")
        ears.heard.clear()
        await a.renew("a", term, lease, S)
        await a.put_member(Member("a", state="starting", lsn=Lsn(5)), lease, S)
        await a.put_status(Lsn(5), {}, [], term, S)
        await a.put_config({"ttl": 10}, None, S)
        await ears.hear("the config key changed")
        assert ears.heard == ["the config key changed"]
        await a.put_failover("a", None, None, None, S)
        await ears.hear("the failover key changed")
        await a.put_sync("a", 0, [], None, term, S)
        await ears.hear("the sync key changed")
        await a.begin_initialize(S)
        await ears.hear("the initialize key changed")
        await a.resign(term, S)
        await ears.hear("the leader key is gone")


async def test_the_watch_alone_moves_the_heartbeat(store: Store) -> None:
    a, b = store.dcs(), store.dcs()
    async with watching(b) as ears:
        lease, term = await elect(a)
        await ears.until(lambda: b.heartbeat() is not None, "a first heartbeat")
        revision = await a.renew("a", term, lease, S)

        def beaten() -> bool:
            beat = b.heartbeat()
            return beat is not None and beat.revision == revision and beat.granted_ttl is not None

        await ears.until(beaten, "the heartbeat of the renewal, with what was granted")
        beat = b.heartbeat()
        assert beat is not None
        assert (beat.term, beat.granted_ttl, beat.name) == (term, 10, "a")
        await a.resign(term, S)
        await ears.hear("the leader key is gone")
        assert b.heartbeat() == beat


async def test_snapshots_alone_move_the_heartbeat(store: Store) -> None:
    a, b = store.dcs(), store.dcs()
    lease, term = await elect(a)
    await b.snapshot(S)
    first = b.heartbeat()
    await asyncio.sleep(0.02)
    await b.snapshot(S)
    again = b.heartbeat()
    assert first is not None
    assert again is not None
    assert again.seen_at == first.seen_at
    revision = await a.renew("a", term, lease, S)
    await b.snapshot(S)
    moved = b.heartbeat()
    assert moved is not None
    assert moved.revision == revision
    assert moved.seen_at > first.seen_at


async def test_nothing_is_missed_between_a_snapshot_and_the_watch(store: Store) -> None:
    a, b = store.dcs(), store.dcs()
    await b.snapshot(S)
    await a.put_config({"ttl": 10}, None, S)
    ears = Ears()
    task = asyncio.create_task(b.watch(ears.wake))
    await ears.hear("the config key changed")
    task.cancel()


async def test_a_compacted_past_is_read_anew(store: Store) -> None:
    a, b = store.dcs(), store.dcs()
    await b.snapshot(S)
    await a.put_config({"ttl": 10}, None, S)
    lease, _ = await elect(a)
    await store.compact()
    ears = Ears()
    task = asyncio.create_task(b.watch(ears.wake))
    await ears.hear("the watch had to begin anew")
    await ears.until(lambda: b.heartbeat() is not None, "the heartbeat that was read anew")
    await asyncio.sleep(0.1)
    await a.put_member(Member("a", state="running"), lease, S)
    await ears.hear("member a changed")
    task.cancel()


async def test_who_may_lead_is_written_by_the_leader_and_by_what_it_has_seen(store: Store) -> None:
    a = store.dcs()
    _, term = await elect(a)
    await a.put_failsafe({"a": "http://a", "b": "http://b"}, Revision(0), term, S)
    seen = await a.snapshot(S)
    assert (seen.failsafe, seen.failsafe_revision > 0) == ({"a": "http://a", "b": "http://b"}, True)
    await refused(a.put_failsafe({"a": "http://a"}, Revision(0), term, S), "changed by somebody else")
    await a.put_failsafe({"a": "http://a"}, seen.failsafe_revision, term, S)
    await refused(a.put_failsafe(None, seen.failsafe_revision, term, S), "changed by somebody else")
    last = (await a.snapshot(S)).failsafe_revision
    await a.put_failsafe(None, last, term, S)
    gone = await a.snapshot(S)
    assert (gone.failsafe, gone.failsafe_revision) == (None, 0)


async def test_a_campaign_counts_only_by_the_failsafe_key_that_was_seen(store: Store) -> None:
    """Whom the key left out meanwhile is not asked by the leader that did so."""
    a, b = store.dcs(), store.dcs()
    _, term = await elect(a)
    await a.put_failsafe({"a": "http://a"}, Revision(0), term, S)
    present = (await a.snapshot(S)).failsafe_revision
    await a.resign(term, S)
    lease = await b.open_lease(10, S)
    await refused(b.campaign("b", lease, S, Grounds()), "who may lead has changed")
    await refused(b.campaign("b", lease, S, Grounds(Revision(present - 1))), "who may lead has changed")
    assert await b.campaign("b", lease, S, Grounds(present)) > term


@pytest.mark.parametrize("what", ["sync", "claimed"])
async def test_a_campaign_that_arrives_when_another_has_led_meanwhile_is_refused(store: Store, what: str) -> None:
    """It was decided by whom the last leader trusted; the one after that may have acknowledged commits without it."""
    a, b = store.dcs(), store.dcs()
    decided = await b.snapshot(S)
    old = Grounds(decided.failsafe_revision, Revision(0), decided.claimed_revision)
    _, term = await elect(a)
    if what == "sync":
        await a.put_sync("a", 0, (), None, term, S)
    else:
        await a.claim_timeline(Timeline(2), None, term, S)
    await a.resign(term, S)
    lease = await b.open_lease(10, S)
    await refused(b.campaign("b", lease, S, old), "another has led")
    seen = await b.snapshot(S)
    synced = seen.sync.revision if seen.sync else Revision(0)
    assert await b.campaign("b", lease, S, Grounds(sync=synced, claimed=seen.claimed_revision)) > term
