"""What a leader does about its synchronous standbys, and who may be elected by the key that it leaves."""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from haagent.core import synchrony
from haagent.core.actions import Action, Configure, Promote, PublishMember, PutSync, StartPrimary, StirStandbys
from haagent.core.decide import decide
from haagent.core.facts import (
    FailoverKey,
    Failure,
    Intent,
    Memory,
    Outcome,
    PeerPoll,
    ServerConfig,
    SyncKey,
    View,
    WalSender,
)
from haagent.core.publish import clone_source
from haagent.core.quorums import ALONE, Acknowledgers, parse
from haagent.core.states import State
from haagent.core.terms import Instant, Lsn, Revision, later
from tests.builders import (
    LSN,
    NOW,
    TERM,
    a_cluster,
    a_guard,
    a_lease,
    a_member,
    a_memory,
    a_poll,
    a_primary,
    a_primary_view,
    a_reply,
    a_sender,
    a_silent_peer,
    a_standby,
    a_view,
    members_of,
    some_settings,
    stopped,
)

# --- a primary, its standbys, and everything that can come between two steps ---


@dataclass
class World:
    """A primary ``a`` whose agent decides for real; its commits are acknowledged as unluckily as the names allow."""

    rng: random.Random
    standbys: tuple[str, ...]
    mode: str = "on"
    strict: bool = False
    count: int = 1
    now: float = float(NOW)
    written: int = int(LSN)
    acked: int = 0
    file: str = ""
    obeyed: str = ""
    """In force in the session that the agent asks."""
    elsewhere: list[tuple[str, float]] = field(default_factory=list)
    """Still in force in some walsender, until then."""
    key: SyncKey | None = None
    revision: int = 10
    late: list[PutSync] = field(default_factory=list)
    """Writes of unknown outcome that may yet be carried out."""
    flushed: dict[str, int] = field(default_factory=dict)
    streaming: set[str] = field(default_factory=set)
    memory: Memory = field(default_factory=Memory)
    configured: bool = True
    outcomes: tuple[Outcome, ...] = ()

    def view(self) -> View:
        senders = tuple(
            WalSender(5000 + i, "r", name, None, "streaming", "async", 0, flush_lsn=Lsn(self.flushed[name]))
            for i, name in enumerate(sorted(self.streaming))
        )
        facts = a_primary(lsn=Lsn(self.written), senders=senders, synchronous_standby_names=self.obeyed)
        config = ServerConfig(synchronous_standby_names=self.file) if self.configured else None
        return a_primary_view(
            now=Instant(self.now),
            lease=a_lease(now=Instant(self.now)),
            postgres=replace(facts, configured=config),
            cluster=a_cluster(*members_of(["a", *self.standbys]), sync=self.key),
            settings=some_settings(
                synchronous_mode=self.mode, synchronous_mode_strict=self.strict, synchronous_node_count=self.count
            ),
            memory=self.memory,
            outcomes=self.outcomes,
        )

    # --- what happens ---

    def tick(self) -> synchrony.Change:
        """The agent looks, decides and acts."""
        self.now += 0.15
        v = self.view()
        self.memory = replace(self.memory, **synchrony.remembered(v))
        v = replace(v, memory=self.memory)
        found = synchrony.change(v)
        self.outcomes = ()
        if found.names != self.file:
            assert not (found.actions and self.configured), "names and key changed at once"
            self.elsewhere.append((self.file, self.now + 0.19))
            self.file = found.names
        self.configured = True
        for action in found.actions:
            self.write(action)
        return found

    def write(self, action: Action) -> None:
        """Write the key, or not, or later; and the answer may be lost."""
        luck = self.rng.random()
        if not isinstance(action, PutSync):
            self.key = None
        elif luck < 0.6:
            self.carry_out(action)
            self.outcomes = (Outcome("PutSync", result=self.key.revision if self.key else None),)
            return
        elif luck < 0.7:
            self.carry_out(action)
        elif luck < 0.95:
            self.late.append(action)
        self.outcomes = (Outcome(type(action).__name__, Failure.UNKNOWN, "no answer"),)

    def carry_out(self, action: PutSync) -> None:
        present = self.key.revision if self.key else None
        if action.expected == present:
            self.revision += 1
            self.key = SyncKey(Revision(self.revision), action.leader, action.quorum, action.standbys)

    def obey(self) -> None:
        if self.obeyed != self.file:
            self.elsewhere.append((self.obeyed, self.now + 0.19))
            self.obeyed = self.file

    def commit(self) -> None:
        """One commit, acknowledged if the names in force in some process are content."""
        self.written += 8
        possible = [self.obeyed, self.file, *(names for names, until in self.elsewhere if self.now < until)]
        wanted = parse(self.rng.choice(possible)) or ALONE
        able = sorted(wanted.members & self.streaming)
        if wanted.count > len(able):
            return
        for name in self.rng.sample(able, wanted.count):
            self.flushed[name] = self.written
        self.acked = self.written

    def happen(self) -> None:
        """Something, at a moment that nobody chose."""
        (event,) = self.rng.choices(("tick", "commit", "obey", "flush", "late", "come", "go"), (5, 5, 3, 3, 1, 1, 1))
        if event == "tick":
            self.tick()
        elif event == "obey":
            self.obey()
        elif event == "commit":
            self.commit()
        elif event == "late" and self.late:
            self.carry_out(self.late.pop(self.rng.randrange(len(self.late))))
        elif event == "come":
            self.come(self.rng.choice(self.standbys))
        elif event == "go":
            self.streaming.discard(self.rng.choice(self.standbys))
        elif event == "flush":
            for name in self.streaming:
                self.flushed[name] = max(self.flushed[name], self.rng.randint(self.flushed[name], self.written))
        if self.rng.random() < 0.03:
            self.memory, self.configured, self.outcomes = Memory(), False, ()
        if self.rng.random() < 0.1:
            self.count, self.strict = self.rng.randint(1, 3), self.rng.random() < 0.5
            self.mode = self.rng.choice(("on", "quorum"))

    def come(self, name: str) -> None:
        self.streaming.add(name)
        self.flushed.setdefault(name, self.rng.randint(int(LSN), self.written))

    # --- what must hold ---

    def assert_safe(self) -> None:
        """Any set that may elect sees all that was acknowledged, and will see all that may be."""
        if self.key is None or self.key.leader != "a":
            return
        electing = list(itertools.combinations(self.key.standbys, self.key.quorum + 1))
        for some in electing:
            best = max(self.flushed.get(name, 0) for name in some)
            assert best >= self.acked, f"{some} may elect, and lack what was acknowledged"
        for names in {self.obeyed, self.file}:
            wanted = parse(names) or ALONE
            for enough in itertools.combinations(sorted(wanted.members), wanted.count):
                assert all(set(enough) & set(some) for some in electing), (names, self.key)


@settings(max_examples=250, deadline=None)
@given(seed=st.integers(0, 2**32), standbys=st.integers(1, 5))
def test_whoever_may_be_elected_holds_every_acknowledged_commit_whatever_comes_between(
    seed: int, standbys: int
) -> None:
    rng = random.Random(seed)
    world = World(rng, tuple("bcdef"[:standbys]), rng.choice(("on", "quorum")), rng.random() < 0.3, rng.randint(1, 3))
    for _ in range(150):
        world.happen()
        world.assert_safe()
    calm(world)
    names = parse(world.file) or ALONE
    expected = min(world.count, standbys)
    members = frozenset(world.standbys) if world.mode == "quorum" else names.members
    assert names == Acknowledgers(expected, members, world.mode == "quorum")
    assert world.key is not None
    assert (world.key.leader, set(world.key.standbys)) == ("a", set(members) if len(members) > 0 else set())
    assert world.key.quorum == len(members) - expected


def calm(world: World) -> None:
    """Nothing goes wrong any more, and everybody streams."""
    world.late.clear()
    for name in world.standbys:
        world.come(name)
    for _ in range(20):
        for name in world.streaming:
            world.flushed[name] = world.written
        world.rng = Lucky()
        world.tick()
        world.obey()
        world.assert_safe()


class Lucky(random.Random):
    """Every write is carried out and answered."""

    def random(self) -> float:
        return 0.0


# --- who is chosen ---


def leading(*senders: WalSender, key: SyncKey | None = None, names: str = "", **changes: Any) -> View:
    """What a leader sees whose key is its own; keywords are settings or ``members``."""
    members = changes.pop("members", members_of(["a", *(s.application_name for s in senders)]))
    facts = a_primary(senders=tuple(senders), synchronous_standby_names=names)
    return a_primary_view(
        postgres=replace(facts, configured=ServerConfig(synchronous_standby_names=names)),
        cluster=a_cluster(*members, sync=key or SyncKey(Revision(7), "a")),
        settings=some_settings(**{"synchronous_mode": "on"} | changes),
        memory=a_memory(State.PRIMARY, sync_revision=(key or SyncKey(Revision(7), "a")).revision),
    )


def test_a_vote_counts_only_by_a_look_that_came_after_the_key_was_free() -> None:
    """A voter that waits for etcd answers of what it saw before, and the last leader may have gone on by its word."""
    memory = a_memory(State.CANDIDATE, since=later(NOW, -1.0))
    found = SyncKey(Revision(7), "a", 1, ("b", "c"))
    settings = some_settings(synchronous_mode="quorum")
    seen = [
        a_view(
            memory=memory,
            settings=settings,
            cluster=a_cluster(leader=None, sync=found),
            peers=PeerPoll(NOW, (replace(a_reply("c"), looked_s=looked_s),)),
        )
        for looked_s in (0.0, 0.9, 1.0, 5.0)
    ]
    assert [synchrony.votes_missing(view) is None for view in seen] == [True, True, False, False]


def test_a_key_that_came_back_with_an_older_etcd_elects_nobody_whom_commits_do_not_wait_for() -> None:
    """Fault 42: what c alone acknowledged would be missed by b and d, whom the backup's key lists."""
    brought_back = SyncKey(Revision(7), "a", 0, ("b", "d"))
    started = a_memory(State.PRIMARY)
    (put,) = synchrony.change(replace(leading(key=brought_back, names='ANY 1 ("b","c")'), memory=started)).actions
    assert isinstance(put, PutSync)
    assert (put.quorum, put.standbys) == (0, ())
    (put,) = synchrony.change(replace(leading(key=brought_back, names='2 ("b","d")'), memory=started)).actions
    assert isinstance(put, PutSync)
    assert put.standbys == ("b", "d")


def streams(name: str, behind: int = 0, **changes: Any) -> WalSender:
    return a_sender(name, flush_lsn=Lsn(int(LSN) - behind), **changes)


def test_whoever_acknowledges_already_is_kept_and_more_wal_is_no_reason_to_change() -> None:
    v = leading(streams("b", 100), streams("c"), key=SyncKey(Revision(7), "a", 0, ("b",)), names='"b"')
    assert synchrony.change(v) == synchrony.Change('"b"')


def test_without_one_the_standby_with_the_most_wal_is_taken() -> None:
    assert synchrony.change(leading(streams("b", 100), streams("c"))).names == '"c"'


@pytest.mark.parametrize(
    ("tags", "chosen"),
    [
        ({"nosync": True}, '"c"'),
        ({"nostream": True}, '"c"'),
        ({"sync_priority": 0}, '"c"'),
        ({"nofailover": True}, '"c"'),
        ({"sync_priority": "2"}, '"b"'),
        ({}, '"b"'),
    ],
)
def test_tags_say_who_is_preferred(tags: dict[str, Any], chosen: str) -> None:
    members = (a_member("a"), a_member("b", tags=tags), a_member("c"))
    assert synchrony.change(leading(streams("b"), streams("c", 8), members=members)).names == chosen


def test_only_running_members_that_stream_from_here_count() -> None:
    """Fault 79: neither a stranger's WAL receiver, nor one that catches up, nor a member that is about to stop."""
    members = (a_member("a"), a_member("b", state="stopping"), a_member("c"))
    v = leading(streams("b"), streams("c", state="catchup"), streams("pg_receivewal"), members=members)
    assert synchrony.change(v).names == ""


def test_a_newcomer_far_behind_is_not_waited_for() -> None:
    v = leading(streams("b", 17 * 1024 * 1024))
    assert synchrony.change(v).names == ""
    assert synchrony.change(leading(streams("b", 15 * 1024 * 1024))).names == '"b"'


def test_one_that_falls_back_is_let_go_only_where_the_operator_set_a_limit() -> None:
    key = SyncKey(Revision(7), "a", 0, ("b",))
    lagging = (streams("b", 20 * 1024 * 1024), streams("c"))
    assert synchrony.change(leading(*lagging, key=key, names='"b"')).actions == ()
    found = synchrony.change(leading(*lagging, key=key, names='"b"', maximum_lag_on_syncnode=1048576))
    assert found.actions == (PutSync(TERM, "a", 0, (), Revision(7)),)


def test_strict_without_a_standby_keeps_the_last_known_names_else_a_placeholder() -> None:
    key = SyncKey(Revision(7), "a", 0, ("b",))
    assert synchrony.change(leading(key=key, names='"b"', synchronous_mode_strict=True)).names == '"b"'
    assert synchrony.change(leading(synchronous_mode_strict=True)).names == f'"{synchrony.PLACEHOLDER}"'


def test_the_key_of_another_hand_is_written_over_before_anything_else() -> None:
    v = leading(streams("b"), key=SyncKey(Revision(7), "a", 0, ("b",)), names='"b"')
    v = replace(v, memory=replace(v.memory, sync_revision=None))
    assert synchrony.change(v).actions == (PutSync(TERM, "a", 0, ("b",), Revision(7)),)


def test_switched_off_the_key_goes_first_and_then_the_names() -> None:
    key = SyncKey(Revision(7), "a", 0, ("b",))
    found = synchrony.change(leading(streams("b"), key=key, names='"b"', synchronous_mode="off"))
    assert (found.names, len(found.actions)) == ('"b"', 1)
    v = leading(streams("b"), names='"b"', synchronous_mode="off")
    assert synchrony.change(replace(v, cluster=a_cluster(sync=None))).names == ""


def test_new_names_come_with_a_little_wal_so_that_waiting_commits_are_looked_at() -> None:
    """Fault 69: PostgreSQL wakes no commit by a reload, and an idle standby answers every ten seconds."""
    plan = decide(leading(streams("b"), streams("c"), names='"c"', key=SyncKey(Revision(7), "a", 0, ("c",))))
    assert any(isinstance(action, StirStandbys) for action in plan.actions)
    later_plan = decide(replace(leading(streams("b")), memory=replace(plan.memory, sync_names=None)))
    assert not any(isinstance(action, StirStandbys) for action in later_plan.actions)


# --- who may be elected ---


def leaderless(*replies: Any, key: SyncKey | None = None, **changes: Any) -> View:
    """What ``b`` sees as a candidate after the end of ``a``."""
    changes = {"postgres": a_standby()} | changes
    return a_view(
        cluster=replace(a_cluster(leader=None, sync=key), heartbeat=None),
        settings=some_settings(synchronous_mode=changes.pop("mode", "on")),
        memory=a_memory(State.CANDIDATE, since=NOW),
        peers=a_poll(*replies),
        lease=changes.pop("lease", a_view().lease),
        **changes,
    )


def test_who_is_not_in_the_key_does_not_lead_and_says_why() -> None:
    """Fault 15."""
    v = leaderless(a_reply("c"), key=SyncKey(Revision(7), "a", 0, ("c",)))
    plan = decide(v)
    assert plan.memory.state is State.STANDBY
    told = decide(replace(v, memory=plan.memory)).why
    assert "by the sync key a or c may lead" in told
    assert "haagent-ctl failover demo --candidate b" in told


@pytest.mark.parametrize("key", [SyncKey(Revision(7), "a", 0, ("b", "c")), SyncKey(Revision(7), "b"), None])
def test_who_is_in_the_key_or_was_the_last_leader_may(key: SyncKey | None) -> None:
    v = leaderless(a_reply("c"), key=key)
    assert synchrony.objection(v) is None
    assert decide(v).row == 699


def test_a_peer_that_may_not_lead_is_not_waited_for() -> None:
    ahead = Lsn(int(LSN) + 1000)
    assert decide(leaderless(a_reply("c", lsn=ahead), key=SyncKey(Revision(7), "a", 0, ("b",)))).row == 699
    assert decide(leaderless(a_reply("c", lsn=ahead), key=SyncKey(Revision(7), "a", 0, ("b", "c")))).row == 680


def test_a_lag_that_is_no_loss_does_not_keep_a_synchronous_standby_from_leading() -> None:
    v = leaderless(key=SyncKey(Revision(7), "a", 0, ("b",)), postgres=a_standby(lsn=Lsn(int(LSN) - 5_000_000)))
    assert decide(v).row == 699


@pytest.mark.parametrize(
    ("replies", "row"),
    [
        ((a_reply("c"), a_silent_peer("d")), 699),
        ((a_silent_peer("c"), a_silent_peer("d")), 685),
        ((a_reply("c", complete=False), a_silent_peer("d")), 685),
        ((a_reply("e"), a_silent_peer("d")), 685),
        ((a_reply("a", lsn=Lsn(int(LSN) - 8)), a_silent_peer("c")), 699),
        ((replace(a_reply("c"), running=False),), 685),
    ],
    ids=["a vote", "silence", "WAL not yet replayed", "no voter", "the last leader's word", "PostgreSQL down"],
)
def test_in_quorum_mode_others_must_show_that_nothing_is_missing(replies: tuple[Any, ...], row: int) -> None:
    v = leaderless(*replies, key=SyncKey(Revision(7), "a", 1, ("b", "c", "d")), mode="quorum")
    assert decide(v).row == row


def test_an_operator_may_force_it_and_is_told_the_loss() -> None:
    key = SyncKey(Revision(7), "a", 0, ("c",))
    v = leaderless(a_reply("c"), key=key)
    assert v.cluster.snapshot is not None
    forced = replace(v.cluster.snapshot, failover=FailoverKey(Revision(9), None, "b"))
    plan = decide(replace(v, cluster=replace(v.cluster, snapshot=forced)))
    assert plan.row == 699
    assert "an operator ordered this failover; b may lack acknowledged commits" in plan.why


def test_a_request_to_hand_over_to_another_than_a_synchronous_standby_is_refused() -> None:
    """Fault 84."""
    v = leading(streams("b"), streams("c"), key=SyncKey(Revision(7), "a", 0, ("b",)), names='"b"')
    intent = Intent(1, "switchover", {"leader": "a", "candidate": "c"}, NOW)
    (reply, *_) = decide(replace(v, intents=(intent,))).actions
    assert "c is not a synchronous standby (the sync key has b)" in str(reply)


# --- becoming writable ---


def winner(key: SyncKey | None, **changes: Any) -> View:
    """What ``b`` sees that holds the leader key and is still in recovery."""
    return a_view(
        cluster=a_cluster(leader="b", sync=key),
        lease=a_lease(),
        guard=a_guard(permit_s=8.0),
        settings=some_settings(**{"synchronous_mode": "on"} | changes),
        memory=a_memory(State.CANDIDATE, since=NOW),
    )


def test_the_key_names_the_new_primary_before_it_is_one() -> None:
    plan = decide(winner(SyncKey(Revision(7), "a", 0, ("b", "c"))))
    kinds = [type(action) for action in plan.actions]
    assert kinds.index(PutSync) < kinds.index(Promote)
    assert PutSync(TERM, "b", 0, (), Revision(7)) in plan.actions


def test_a_strict_primary_begins_with_names_that_hold_commits_back() -> None:
    v = winner(SyncKey(Revision(7), "a", 0, ("b",)), synchronous_mode_strict=True)
    plan = decide(v)
    assert plan.memory.state is State.PROMOTING
    assert not any(isinstance(action, Promote) for action in plan.actions)
    (configure,) = (action for action in plan.actions if isinstance(action, Configure))
    assert configure.config.synchronous_standby_names == f'"{synchrony.PLACEHOLDER}"'
    facts = replace(a_standby(synchronous_standby_names=f'"{synchrony.PLACEHOLDER}"'), configured=configure.config)
    again = decide(replace(v, postgres=facts, memory=plan.memory))
    assert any(isinstance(action, Promote) for action in again.actions)


def test_a_primary_that_starts_again_in_place_begins_with_the_names_of_its_key() -> None:
    """Fault 72."""
    v = a_primary_view(
        postgres=stopped(cluster_state="in production"),
        cluster=a_cluster(sync=SyncKey(Revision(7), "a", 0, ("b", "c"))),
        settings=some_settings(synchronous_mode="on"),
        memory=a_memory(State.PRIMARY, sync_revision=Revision(7)),
    )
    (start,) = (action for action in decide(v).actions if isinstance(action, StartPrimary))
    assert start.config.synchronous_standby_names == '2 ("b","c")'


def test_a_running_primary_that_was_followed_by_another_is_stopped() -> None:
    v = leaderless(key=SyncKey(Revision(7), "c"), postgres=a_primary())
    assert decide(v).row == 648


# --- leaving ---


def test_a_synchronous_standby_asks_to_be_let_go_before_it_stops() -> None:
    """Fault 70."""
    key = SyncKey(Revision(7), "a", 0, ("b",))
    v = a_view(cluster=a_cluster(sync=key), settings=some_settings(synchronous_mode="on"), stopping=True)
    v = replace(v, lease=replace(v.lease, lease_id=a_lease().lease_id))
    plan = decide(v)
    assert (plan.row, plan.memory.state) == (508, State.STANDBY)
    (published,) = (action for action in plan.actions if isinstance(action, PublishMember))
    assert published.member.state == "stopping"
    gone = a_cluster(sync=SyncKey(Revision(8), "a", 0, ("c",)))
    assert decide(replace(v, cluster=gone, memory=plan.memory, now=later(NOW, 0.1))).row == 508
    assert decide(replace(v, cluster=gone, memory=plan.memory, now=later(NOW, 0.4))).row == 510
    assert decide(replace(v, memory=plan.memory, now=later(NOW, 2.1))).row == 510


def test_an_asynchronous_standby_stops_at_once() -> None:
    v = a_view(cluster=a_cluster(sync=SyncKey(Revision(7), "a", 0, ("c",))), stopping=True)
    assert decide(replace(v, settings=some_settings(synchronous_mode="on"))).row == 510


def test_a_node_that_counts_as_complete_is_cloned_from_the_leader_only() -> None:
    members = (a_member("a"), a_member("b"), a_member("c", tags={"clonefrom": True}))
    on = some_settings(synchronous_mode="on")
    listed = a_view(cluster=a_cluster(*members, sync=SyncKey(Revision(7), "a", 0, ("b",))), settings=on)
    free = replace(listed, cluster=a_cluster(*members, sync=SyncKey(Revision(7), "a", 0, ("c",))))
    assert [getattr(clone_source(v), "name", None) for v in (listed, free)] == ["a", "c"]
