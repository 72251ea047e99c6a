"""Values for tests: defaults that hold together, plus the one thing that the test is about.

A cluster of three, ``a`` leads, ``b`` and ``c`` stand by. ``a_view()`` is what ``b`` sees, ``a_primary_view()`` what
``a`` sees; every builder takes the fields of what it builds as keywords.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from haagent.core.facts import (
    ClusterFacts,
    ConfigKey,
    DataFacts,
    DataKind,
    Document,
    GuardFacts,
    LeaderKey,
    LeaseFacts,
    Me,
    Member,
    Memory,
    PeerPoll,
    PeerReply,
    PostgresFacts,
    Process,
    Receiver,
    ServerFacts,
    Settings,
    Snapshot,
    Status,
    Tags,
    View,
    WalSender,
)
from haagent.core.lease import timing
from haagent.core.states import State
from haagent.core.terms import Instant, LeaseId, Lsn, Revision, SystemId, Term, Timeline, later

NOW = Instant(1000.0)
WALL = 1_700_000_000.0
TERM = Term(100)
LEASE = LeaseId(0x1234)
SYSTEM_ID = SystemId("7268616322854375442")
LSN = Lsn.parse("0/5000000")
PORT = 5432


def host_of(name: str) -> str:
    """The address of a node by its one-letter name: ``a`` is 10.0.0.1."""
    return f"10.0.0.{ord(name[0]) - ord('a') + 1}"


def some_tags(**tags: Any) -> Tags:
    """Tags as the operator wrote them; what differs from its default is published."""
    known = {name: value for name, value in tags.items() if name in Tags.__dataclass_fields__}
    return Tags(**known, published=tags)


def a_node(name: str = "b", **changes: Any) -> Me:
    """This node, as its own file describes it."""
    host = host_of(name)
    me = Me(
        name=name,
        scope="demo",
        host=host,
        port=PORT,
        conn_url=f"postgres://{host}:{PORT}/postgres",
        api_url=f"http://{host}:8008/patroni",
        version="0.1.0",
    )
    return replace(me, **changes)


def a_member(name: str, *, lsn: Lsn = LSN, timeline: int = 1, **changes: Any) -> Member:
    """A member key: of the primary for ``a``, else of a streaming standby."""
    host = host_of(name)
    leads = name == "a"
    member = Member(
        name=name,
        conn_url=f"postgres://{host}:{PORT}/postgres",
        api_url=f"http://{host}:8008/patroni",
        state="running",
        role="primary" if leads else "replica",
        version="4.1.0",
        timeline=Timeline(timeline),
        lsn=lsn,
        receive_lsn=None if leads else lsn,
        replay_lsn=None if leads else lsn,
        replication_state=None if leads else "streaming",
    )
    return replace(member, **changes)


def a_leader_key(name: str = "a", *, term: Term = TERM, revision: int | None = None) -> LeaderKey:
    """The leader key, rewritten by its holder a few times."""
    return LeaderKey(name, term, Revision(int(term) + 10 if revision is None else revision), LEASE)


def a_snapshot(*members: Member, leader: str | None = "a", **changes: Any) -> Snapshot:
    """All keys of a healthy cluster; ``leader=None``: nobody holds the leader key."""
    snapshot = Snapshot(
        revision=Revision(200),
        initialize=str(SYSTEM_ID),
        initialize_revision=Revision(2),
        leader=None if leader is None else a_leader_key(leader),
        members=members or (a_member("a"), a_member("b"), a_member("c")),
        config=ConfigKey(Revision(3), {"ttl": 10, "loop_wait": 3, "retry_timeout": 3}),
        status=Status(LSN),
    )
    return replace(snapshot, **changes)


def a_cluster(*members: Member, leader: str | None = "a", **changes: Any) -> ClusterFacts:
    """The DCS as just read; keywords are fields of the snapshot."""
    return ClusterFacts(snapshot=a_snapshot(*members, leader=leader, **changes), seen_at=NOW)


def a_silent_dcs(since: Instant = NOW, cluster: ClusterFacts | None = None) -> ClusterFacts:
    """The DCS does not answer since then; the last snapshot is still at hand."""
    return replace(cluster or a_cluster(), silent_since=since, silent_why="no endpoint answered within 3 s")


def some_data(kind: DataKind = DataKind.VALID, **changes: Any) -> DataFacts:
    """The data directory of a server that runs."""
    if kind is not DataKind.VALID:
        return replace(DataFacts(kind), **changes)
    data = DataFacts(kind, SYSTEM_ID, Timeline(1), "in production", LSN)
    return replace(data, **changes)


def a_sender(name: str, **changes: Any) -> WalSender:
    """A standby's row of pg_stat_replication."""
    sender = WalSender(4000 + ord(name[0]), "replicator", name, host_of(name), "streaming", "async", 0)
    return replace(sender, **changes)


def a_server(**changes: Any) -> ServerFacts:
    """A standby's answer to SQL, streaming from ``a``; change ``in_recovery`` with ``a_primary`` instead."""
    server = ServerFacts(
        seen_at=NOW,
        in_recovery=True,
        timeline=Timeline(1),
        version=150014,
        started_at="2024-08-28 19:39:26.352526+00:00",
        system_id=SYSTEM_ID,
        received_lsn=LSN,
        replayed_lsn=LSN,
        receiver=Receiver("streaming", host_of("a"), PORT, "b", Timeline(1)),
    )
    return replace(server, **changes)


def a_standby(*, lsn: Lsn = LSN, timeline: int = 1, **server: Any) -> PostgresFacts:
    """PostgreSQL in recovery, streaming; further keywords are fields of what SQL told."""
    facts = a_server(**{"received_lsn": lsn, "replayed_lsn": lsn, "timeline": Timeline(timeline)} | server)
    data = some_data(cluster_state="in archive recovery", standby_signal=True, timeline=Timeline(timeline))
    return PostgresFacts(data, Process(4242, 1), facts)


def a_primary(*, lsn: Lsn = LSN, timeline: int = 1, **server: Any) -> PostgresFacts:
    """PostgreSQL out of recovery with two standbys; further keywords are fields of what SQL told."""
    facts = a_server(
        **{
            "in_recovery": False,
            "write_lsn": lsn,
            "received_lsn": None,
            "replayed_lsn": None,
            "receiver": None,
            "timeline": Timeline(timeline),
            "senders": (a_sender("b"), a_sender("c")),
        }
        | server
    )
    return PostgresFacts(some_data(timeline=Timeline(timeline)), Process(4241, 1), facts)


def stopped(kind: DataKind = DataKind.VALID, **data: Any) -> PostgresFacts:
    """No postmaster; keywords are fields of the data directory."""
    if kind is DataKind.VALID:
        data = {"cluster_state": "shut down"} | data
    return PostgresFacts(some_data(kind, **data))


def a_lease(*, permit_s: float = 8.0, now: Instant = NOW, term: Term = TERM) -> LeaseFacts:
    """Leadership whose permit ends so many seconds from now."""
    ends = later(now, permit_s)
    return LeaseFacts(LEASE, term, later(ends, -9.5), later(ends, -1.5), ends)


def a_guard(*, permit_s: float | None = None, now: Instant = NOW, term: Term = TERM) -> GuardFacts:
    """A guard that answers; armed when a permit is given."""
    if permit_s is None:
        return GuardFacts(alive=True, heard_at=now)
    return GuardFacts(True, True, term, later(now, permit_s), heard_at=now)


def a_memory(state: State = State.STANDBY, **changes: Any) -> Memory:
    """What a node that runs for a while carries along."""
    memory = Memory(state=state, since=later(NOW, -60), row=599, why="all is well", begun=True, last_leader="a")
    return replace(memory, **changes)


def some_settings(**changes: Any) -> Settings:
    return replace(Settings(), **changes)


def a_reply(name: str, *, lsn: Lsn = LSN, timeline: int = 1, **changes: Any) -> PeerReply:
    """What a standby answers before an election."""
    reply = PeerReply(name, reached=True, running=True, timeline=Timeline(timeline), lsn=lsn, replayed_lsn=lsn)
    return replace(reply, **changes)


def a_silent_peer(name: str) -> PeerReply:
    return PeerReply(name, reached=False, why="no answer within 0.5 s")


def a_poll(*replies: PeerReply, asked_at: Instant = NOW) -> PeerPoll:
    return PeerPoll(asked_at, tuple(replies))


def a_view(**changes: Any) -> View:
    """What ``b`` sees: a standby that streams from ``a``, which leads. Keywords are fields of the view."""
    settings: Settings = changes.get("settings", Settings())
    view = View(
        now=NOW,
        wall=WALL,
        me=a_node("b"),
        settings=settings,
        timing=timing(settings.ttl, settings.loop_wait, settings.retry_timeout),
        postgres=a_standby(),
        cluster=a_cluster(),
        lease=LeaseFacts(),
        guard=a_guard(),
        memory=a_memory(),
    )
    return replace(view, **changes)


def a_primary_view(**changes: Any) -> View:
    """What ``a`` sees: it holds the leader key, its permit and guard are in force, PostgreSQL accepts writes."""
    return a_view(
        **{
            "me": a_node("a"),
            "postgres": a_primary(),
            "lease": a_lease(),
            "guard": a_guard(permit_s=8.0),
            "memory": a_memory(State.PRIMARY, last_leader="a"),
        }
        | changes
    )


def a_winner(**changes: Any) -> View:
    """``b`` has just won the leader key and is still in recovery."""
    found = {
        "lease": a_lease(),
        "guard": a_guard(permit_s=8),
        "cluster": a_cluster(leader="b"),
        "memory": a_memory(State.CANDIDATE),
    }
    return a_view(**found | changes)


def members_of(names: Sequence[str], **changes: Any) -> tuple[Member, ...]:
    """Member keys of several nodes, all changed alike."""
    return tuple(a_member(name, **changes) for name in names)


def with_config(document: Document, revision: int = 3) -> ConfigKey:
    return ConfigKey(Revision(revision), document)
