"""Everything a decision may look at, as frozen values; the whole of it is one ``View``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from haagent.core.methods import ReplicaMethod
from haagent.core.states import State
from haagent.core.terms import Instant, LeaseId, Lsn, Revision, SystemId, Term, Timeline

Document = Mapping[str, Any]
"""A JSON object as it stands in etcd or came over REST."""


# --- who I am, and what is configured ---


@dataclass(frozen=True, slots=True)
class Tags:
    """What the operator said of a node; ``published`` is how it stands in the member key."""

    nofailover: bool = False
    failover_priority: int | None = None
    noloadbalance: bool = False
    clonefrom: bool = False
    nosync: bool = False
    sync_priority: int | None = None
    nostream: bool = False
    replicatefrom: str | None = None
    published: Document = field(default_factory=dict)

    @property
    def may_lead(self) -> bool:
        """Whether the operator lets this node lead; ``nofailover: true`` wins over a priority."""
        return not self.nofailover and (self.failover_priority is None or self.failover_priority > 0)

    @property
    def priority(self) -> int:
        """Order of preference among equals; 1 when nothing is said."""
        return 1 if self.failover_priority is None else self.failover_priority


@dataclass(frozen=True, slots=True)
class Me:
    """This node, as its own file describes it."""

    name: str
    scope: str
    host: str
    port: int
    conn_url: str
    api_url: str
    tags: Tags = Tags()
    version: str = "0"
    proxy_url: str = ""


@dataclass(frozen=True, slots=True)
class Timing:
    """Every deadline of leadership in seconds, derived once from ``ttl`` in ``core/lease.py``."""

    ttl: float
    renew_every: float
    renew_timeout: float
    demote_after: float
    fence_after: float
    margin: float
    drift: float
    hold: float


PRIMARY, REPLICA, STANDBY_LEADER = "primary", "replica", "standby_leader"
"""Roles for which configuration may be given apart."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What PostgreSQL's configuration files say besides what the agent rules itself."""

    parameters: Mapping[str, str] = field(default_factory=dict)
    pg_hba: tuple[str, ...] = ()
    pg_ident: tuple[str, ...] = ()
    recovery: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Remote:
    """The PostgreSQL elsewhere that a standby cluster follows."""

    host: str = ""
    """Or several, with commas between them, of which the primary is chosen; empty: its WAL comes from an archive."""
    port: int = 5432
    slot: str | None = None
    """The physical slot there to stream from; None: without one."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The dynamic configuration in use: the ``config`` key, adjusted, with this node's own values on top."""

    ttl: float = 10
    loop_wait: float = 3
    retry_timeout: float = 3
    maximum_lag_on_failover: int = 1048576
    maximum_lag_on_syncnode: int = -1
    max_timelines_history: int = 0
    check_timeline: bool = False
    primary_start_timeout: float = 300
    primary_stop_timeout: float = 0
    pause: bool = False
    synchronous_mode: str = "off"
    """``off``, ``on`` or ``quorum``."""
    synchronous_mode_strict: bool = False
    synchronous_node_count: int = 1
    failsafe_mode: bool = False
    use_pg_rewind: bool = False
    use_slots: bool = True
    remove_data_directory_on_rewind_failure: bool = False
    remove_data_directory_on_diverged_timelines: bool = False
    member_slots_ttl: float = 1800
    slots: Document = field(default_factory=dict)
    ignore_slots: tuple[Document, ...] = ()
    standby_cluster: Remote | None = None
    """Set: this cluster follows a primary elsewhere, and nothing here is writable."""
    parameters: Mapping[str, str] = field(default_factory=dict)
    """PostgreSQL parameters by name, as text, dynamic and local merged; the agent's own are not among them."""
    pg_hba: tuple[str, ...] = ()
    pg_ident: tuple[str, ...] = ()
    recovery: Mapping[str, str] = field(default_factory=dict)
    """``restore_command`` and its kin."""
    by_role: Mapping[str, Rules] = field(default_factory=dict)
    """The four above as they are in a role for which something else is given, whole."""
    bootstrap_document: Document = field(default_factory=dict)
    """``bootstrap.dcs``: what the node that initializes the cluster writes into the ``config`` key."""
    known_document: Document = field(default_factory=dict)
    """The dynamic configuration that these settings come from, as stored or last known: what a primary puts back."""
    peer_timeout: float = 0.5
    pre_promote: str | None = None
    """The operator's program that may veto a promotion."""
    before_stop: str | None = None
    """The operator's program that runs before a stop in good order."""
    pg_ctl_timeout: float = 60
    replica_methods: tuple[ReplicaMethod, ...] = (ReplicaMethod(),)
    """Ways to make a replica, in the order in which they are tried."""

    def rules(self, role: str) -> Rules:
        """What PostgreSQL is told in a role."""
        return self.by_role.get(role) or Rules(self.parameters, self.pg_hba, self.pg_ident, self.recovery)


# --- what PostgreSQL shows ---


class DataKind(Enum):
    """What lies in the data directory."""

    ABSENT = "absent"
    EMPTY = "empty"
    VALID = "valid"
    UNFINISHED = "unfinished"
    """A bootstrap, clone or rewind that did not end left its marker: never startable."""
    UNREADABLE = "unreadable"
    """Files are there, but no control file that pg_controldata can read."""
    UNMOUNTED = "unmounted"
    """Nothing is there, and the file system on which the data lay is not mounted."""
    UNKNOWN = "unknown"
    """The disk has not said: it did not answer in time, and may do so at the next look."""


@dataclass(frozen=True, slots=True)
class DataFacts:
    """The data directory, read without starting anything."""

    kind: DataKind
    system_id: SystemId | None = None
    timeline: Timeline | None = None
    cluster_state: str = ""
    """As pg_controldata prints it: ``shut down``, ``in production``, ``in archive recovery``, …"""
    checkpoint_lsn: Lsn | None = None
    standby_signal: bool = False
    heard: Timeline = Timeline(0)
    """The newest timeline of a standby's .history files, also of those that it never followed; 0: none."""
    bound: Timeline = Timeline(0)
    """The newest one that PostgreSQL may be on its way to without any WAL of it; 0: none."""
    marker: str | None = None
    """What was under way (``initializing``, ``cloning``, ``rewinding``) when it was interrupted."""
    mount_point: bool = False
    """A file system is mounted right here, so that it can't be moved aside."""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Process:
    """A postmaster: its pid, and the kernel's start time of that pid, which tells a reused pid apart."""

    pid: int
    started_ticks: int


@dataclass(frozen=True, slots=True)
class Receiver:
    """One row of pg_stat_wal_receiver."""

    status: str
    sender_host: str
    sender_port: int
    slot_name: str | None
    timeline: Timeline | None


@dataclass(frozen=True, slots=True)
class WalSender:
    """One row of pg_stat_replication."""

    pid: int
    usename: str
    application_name: str
    client_addr: str | None
    state: str
    sync_state: str
    sync_priority: int
    sent_lsn: Lsn | None = None
    write_lsn: Lsn | None = None
    flush_lsn: Lsn | None = None
    replay_lsn: Lsn | None = None


@dataclass(frozen=True, slots=True)
class SlotFacts:
    """One row of pg_replication_slots."""

    name: str
    kind: str
    """``physical`` or ``logical``."""
    active: bool
    restart_lsn: Lsn | None = None
    confirmed_flush_lsn: Lsn | None = None
    xmin: bool = False
    plugin: str | None = None
    database: str | None = None
    wal_status: str | None = None
    """``lost``: what it should keep is gone, so that it is of no use any more."""
    failover: bool = False
    """PostgreSQL 17+: standbys keep a copy of it."""
    synced: bool = False
    """PostgreSQL 17+: this is such a copy, or was one before a promotion."""
    temporary: bool = False
    """It ends with its session; a copy is temporary until it could be used after a promotion."""


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """What one round of SQL told of a running PostgreSQL."""

    seen_at: Instant
    in_recovery: bool
    timeline: Timeline
    version: int
    """``server_version_num``."""
    started_at: str
    """pg_postmaster_start_time() as ISO 8601."""
    system_id: SystemId
    write_lsn: Lsn | None = None
    """Primary: pg_current_wal_lsn()."""
    received_lsn: Lsn | None = None
    replayed_lsn: Lsn | None = None
    replayed_at: str | None = None
    replay_paused: bool = False
    short_of: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """Parameters of which this standby has less than its primary, which pauses replay: (it has, it needs)."""
    receiver: Receiver | None = None
    senders: tuple[WalSender, ...] = ()
    slots: tuple[SlotFacts, ...] = ()
    pending_restart: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """Parameter → (value in force, value after a restart)."""
    archive_recovery: bool = False
    """In recovery with a restore_command and no WAL receiver streaming."""
    synchronous_standby_names: str = ""
    fenced: bool = False
    """The commit fence is loaded and reads this node's page."""
    settled: bool = True
    """The checkpointer, on whose word commits begin to wait for standbys, is not too busy to take a reload in."""
    stale: bool = False
    """Only that it answers, and its role, are of this look: the rest could not be asked and is as it was before."""
    replayed_all: bool = True
    """In recovery with no WAL left on its own disk to replay: its position is the end of what it has."""

    @property
    def lsn(self) -> Lsn:
        """How far this node's WAL reaches: written (primary), or received or replayed (standby)."""
        if not self.in_recovery:
            return self.write_lsn or Lsn(0)
        return max(self.received_lsn or Lsn(0), self.replayed_lsn or Lsn(0))


@dataclass(frozen=True, slots=True)
class Upstream:
    """Whom a standby streams from; ``host`` may be several with commas between them: the primary among those."""

    name: str
    host: str
    port: int

    @property
    def hosts(self) -> tuple[str, ...]:
        return tuple(host.strip() for host in self.host.split(","))


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """What PostgreSQL's configuration files should say; compared as a whole with what was last written."""

    upstream: Upstream | None = None
    slot_name: str | None = None
    application_name: str = ""
    parameters: Mapping[str, str] = field(default_factory=dict)
    pg_hba: tuple[str, ...] = ()
    pg_ident: tuple[str, ...] = ()
    recovery: Mapping[str, str] = field(default_factory=dict)
    synchronous_standby_names: str | None = None
    keeps_logical: bool = False
    """Logical slots are to survive a failover: standbys copy them, and the primary keeps for them what they need."""
    awaited_slots: tuple[str, ...] = ()
    """Physical slots whose standbys must have what is sent to subscribers (``synchronized_standby_slots``)."""


@dataclass(frozen=True, slots=True)
class DiskFacts:
    """Whether the file systems of data and WAL take writes and have room, tried by a small write every few seconds."""

    full: str = ""
    """Which one lacks the room that PostgreSQL needs, with numbers; empty while there is enough."""
    refusing_since: Instant | None = None
    """Since when small writes are refused."""
    waiting_since: Instant | None = None
    """When the small write was begun that has not come back."""
    why: str = ""
    """Which file system refuses writes, and with what words."""
    data_free: int | None = None
    """Bytes that may still be written; None until known."""
    wal_free: int | None = None


@dataclass(frozen=True, slots=True)
class PostgresFacts:
    """PostgreSQL as found this tick; ``server`` is None while it does not answer SQL."""

    data: DataFacts
    postmaster: Process | None = None
    server: ServerFacts | None = None
    starting: bool = False
    """The postmaster is there and says that it is starting up (SQLSTATE 57P03), or does not listen yet."""
    unreachable_since: Instant | None = None
    """Since when a running postmaster has not answered SQL; ``server`` may then hold the last answer."""
    unreachable_why: str = ""
    configured: ServerConfig | None = None
    orphans: int = 0
    """Processes of this data directory that outlived their postmaster."""
    disk: DiskFacts = DiskFacts()
    slots_staged_at: Instant | None = None
    """Since when copied logical slots wait for PostgreSQL to be started."""

    @property
    def running(self) -> bool:
        """Whether a postmaster runs on this data directory."""
        return self.postmaster is not None

    @property
    def writable(self) -> bool:
        """Whether it was out of recovery when last asked."""
        return self.server is not None and not self.server.in_recovery


# --- what the DCS shows ---


@dataclass(frozen=True, slots=True)
class LeaderKey:
    """The leader key as read; ``term`` is its creation revision, ``revision`` its last modification."""

    name: str
    term: Term
    revision: Revision
    lease_id: LeaseId

    @property
    def beats(self) -> bool:
        """Whether its holder has rewritten it, so that a standstill of its revision means something."""
        return int(self.revision) > int(self.term)


@dataclass(frozen=True, slots=True)
class Member:
    """A node as its member key tells, and as this node publishes itself."""

    name: str
    conn_url: str = ""
    api_url: str = ""
    state: str = ""
    """As in the wire format: ``running``, ``starting``, ``stopped``, ``creating replica``, …"""
    role: str = ""
    version: str = ""
    timeline: Timeline | None = None
    lsn: Lsn | None = None
    """``xlog_location`` on the wire."""
    receive_lsn: Lsn | None = None
    replay_lsn: Lsn | None = None
    replication_state: str | None = None
    tags: Document = field(default_factory=dict)
    pending_restart: Document | None = None
    checkpoint_after_promote: bool | None = None
    pause: bool = False
    scheduled_restart: Document | None = None
    patroni: bool = False
    """Its agent is Patroni: the key tells a version, and not one of haagent."""
    extra: Document = field(default_factory=dict)
    """Fields of the JSON that are not listed above, kept as they were."""

    @property
    def running(self) -> bool:
        return self.state == "running"

    @property
    def leading(self) -> bool:
        """Whether it says that it leads, as a primary or as the leader of a standby cluster."""
        return self.role in ("primary", "master", STANDBY_LEADER)


@dataclass(frozen=True, slots=True)
class FailoverKey:
    """The ``failover`` key: somebody asked for a change of leader."""

    revision: Revision
    leader: str | None = None
    """Set: a switchover away from this leader. None: a failover."""
    candidate: str | None = None
    scheduled_at: str | None = None
    """ISO 8601 with zone."""
    scheduled_epoch: float | None = None
    """The same as seconds since 1970, by the wall clock of whoever acts on it."""

    @property
    def empty(self) -> bool:
        return self.leader is None and self.candidate is None


@dataclass(frozen=True, slots=True)
class HistoryLine:
    """One past promotion: the timeline that ended, where, why, when, and who led from then on."""

    timeline: Timeline
    lsn: Lsn
    reason: str
    at: str | None = None
    new_leader: str | None = None


@dataclass(frozen=True, slots=True)
class Status:
    """The ``status`` key: how far the leader's WAL reached and what slots to keep."""

    optime: Lsn
    slots: Mapping[str, Lsn] = field(default_factory=dict)
    retain_slots: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SyncKey:
    """The ``sync`` key: who acknowledged commits synchronously, hence who may be elected."""

    revision: Revision
    leader: str | None = None
    quorum: int = 0
    standbys: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ConfigKey:
    """The ``config`` key: the dynamic configuration as stored."""

    revision: Revision
    document: Document


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All keys of this cluster as of one etcd revision, read linearizably in one request."""

    revision: Revision
    initialize: str | None = None
    """None: no such key. Empty: a bootstrap is under way. Else the system identifier."""
    initialize_revision: Revision = Revision(0)
    leader: LeaderKey | None = None
    members: tuple[Member, ...] = ()
    config: ConfigKey | None = None
    failover: FailoverKey | None = None
    history: tuple[HistoryLine, ...] = ()
    history_revision: Revision = Revision(0)
    status: Status | None = None
    sync: SyncKey | None = None
    failsafe: Mapping[str, str] | None = None
    """Who alone may lead while it stands there: all members as their leader knew them, and their ``api_url``."""
    failsafe_revision: Revision = Revision(0)
    """0: there is no such key."""
    claimed: Timeline | None = None
    """The highest timeline number that was ever claimed for a promotion."""
    claimed_revision: Revision = Revision(0)
    released: Term | None = None
    """The last term that its holder gave up in good order; a key that went otherwise may have a holder that writes."""
    released_revision: Revision = Revision(0)
    led_revision: Revision = Revision(0)
    """The last write of a key that only a leader writes: later than the release, the last leader did not release."""

    def member(self, name: str | None) -> Member | None:
        """The member of that name, if it has a key."""
        return next((m for m in self.members if m.name == name), None)


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The leader key's last change as this node saw it: the start of its standstill on this node's own clock."""

    term: Term
    revision: Revision
    seen_at: Instant
    granted_ttl: float | None = None
    """What etcd granted to the lease on which the key hangs, in seconds; None until asked."""
    name: str = ""
    """Whom the key names, or named before it went."""


@dataclass(frozen=True, slots=True)
class ClusterFacts:
    """The DCS as last read; nothing is decided on a ``snapshot`` while ``silent_since`` is set."""

    snapshot: Snapshot | None = None
    seen_at: Instant | None = None
    silent_since: Instant | None = None
    silent_why: str = ""
    heartbeat: Heartbeat | None = None


# --- lease, guard, peers, jobs ---


@dataclass(frozen=True, slots=True)
class LeaseFacts:
    """This node's lease as the keeper knows it. All instants count from when the renewal was *sent*."""

    lease_id: LeaseId | None = None
    term: Term | None = None
    """The term this node leads, None when it does not."""
    renewed_at: Instant | None = None
    """When the last proven renewal of the leader key was sent, or the last request to which all members consented."""
    demote_at: Instant | None = None
    permit_until: Instant | None = None
    vouched_until: Instant | None = None
    """Set: the permit reaches further than etcd's lease does, because every other member promised to wait for it."""
    lost: str | None = None
    """Why leadership is surely over (key gone, other holder, lease dead); None while it is not."""


@dataclass(frozen=True, slots=True)
class FenceReport:
    """What the guard did when the permit ended: the content of its marker."""

    term: Term
    processes: int
    took_ms: float
    reason: str
    at: str = ""


@dataclass(frozen=True, slots=True)
class GuardFacts:
    """The guard process as last heard."""

    alive: bool = False
    armed: bool = False
    term: Term | None = None
    permit_until: Instant | None = None
    fired: FenceReport | None = None
    heard_at: Instant | None = None
    """When it last answered; old while alive means frozen."""


@dataclass(frozen=True, slots=True)
class FenceFacts:
    """The commit fence inside PostgreSQL: whether it is wanted, and whether it can be loaded."""

    mode: str = "off"
    """``auto``, ``required`` or ``off``."""
    installed: bool = False
    page: str = ""
    """The file that it reads the permit from."""
    why: str = ""
    """Why it is not installed, in words."""


@dataclass(frozen=True, slots=True)
class WatchdogFacts:
    """The kernel's watchdog device, which resets this machine when nobody proves the lease any more."""

    mode: str = "off"
    """``off``, ``automatic`` or ``required``."""
    device: str = ""
    open: bool = False
    """Its timer runs, and every proven renewal starts it anew."""
    timeout_s: float | None = None
    """How long after the last keepalive the machine is reset, as the driver granted it."""
    left: bool = False
    """An earlier agent, or a failure, left its timer running."""
    why: str = ""
    """Why it can't be used, in words; empty while nothing speaks against it."""
    failed_at: Instant | None = None
    """When it was last tried in vain."""
    absent_since: Instant | None = None
    """Since when it has been unusable."""


@dataclass(frozen=True, slots=True)
class PeerReply:
    """What another agent said of its node; ``reached`` False when it said nothing within the deadline."""

    name: str
    reached: bool
    why: str = ""
    running: bool = False
    in_recovery: bool = True
    leads: bool = False
    """It answered that it is a primary that holds the leader key."""
    timeline: Timeline = Timeline(0)
    lsn: Lsn = Lsn(0)
    replayed_lsn: Lsn = Lsn(0)
    tags: Tags = Tags()
    watchdog_failed: bool = False
    unfit: str = ""
    """Why its agent would not have it lead, whatever its position."""
    stray: bool = False
    """Its timeline was made by other hands, without a term."""
    demoted: bool = False
    """It is Patroni's, and says that it has demoted its PostgreSQL and that this is stopped."""
    complete: bool = True
    """Its position is the end of all the WAL that it has, not only of what it has replayed so far."""
    lacks_slots: Mapping[str, str] = field(default_factory=dict)
    """Permanent logical slots that would be missing if it led now, and why."""


@dataclass(frozen=True, slots=True)
class PeerPoll:
    """All peers asked at once."""

    asked_at: Instant
    replies: tuple[PeerReply, ...] = ()

    def reply(self, name: str | None) -> PeerReply | None:
        return next((r for r in self.replies if r.name == name), None)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a long job is."""

    phase: str
    done_bytes: int = 0
    total_bytes: int = 0
    bytes_per_s: float = 0.0
    eta_s: float | None = None

    @property
    def percent(self) -> int | None:
        return None if self.total_bytes <= 0 else min(100, self.done_bytes * 100 // self.total_bytes)


@dataclass(frozen=True, slots=True)
class JobFacts:
    """The one long job under way or just ended."""

    kind: str
    """``initialize``, ``clone``, ``rewind``, ``move aside``, ``check``, ``checkpoint``, ``pre_promote``, …"""
    started_at: Instant
    done: bool = False
    error: str | None = None
    failure: Failure | None = None
    """Which of the three failures it was; None when it was none of them."""
    result: Any = None
    progress: Progress | None = None


@dataclass(frozen=True, slots=True)
class Divergence:
    """How this node's history lies to another's; a result of the ``check`` job.

    ``fork_lsn`` is where the histories part, None when they do not; ``lost_bytes`` and ``lost_commits`` are what this
    node wrote past it and would give up.
    """

    leader: str
    leader_timeline: Timeline
    own_timeline: Timeline
    own_lsn: Lsn
    fork_lsn: Lsn | None = None
    lost_bytes: int = 0
    lost_commits: int | None = None
    reason: str = ""
    wal_gone: str = ""
    """That the WAL which this copy needs next is gone, in words; empty when it is not, or when that was not asked."""

    @property
    def diverged(self) -> bool:
        return self.fork_lsn is not None


class Failure(Enum):
    """The three ways in which a port can fail."""

    REFUSED = "refused"
    UNKNOWN = "unknown"
    UNREACHABLE = "unreachable"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one action of the last plan."""

    action: str
    """The class name of the action."""
    failure: Failure | None = None
    detail: str = ""
    result: Any = None

    @property
    def ok(self) -> bool:
        return self.failure is None


IMMOVABLE = "immovable"
"""As the result of a failed ``MoveAside``: it will fail again, until an operator does something."""


# --- failsafe mode ---


@dataclass(frozen=True, slots=True)
class Promise:
    """This node's word that it does not take the leader key before an instant, by its own clock."""

    until: Instant
    length_s: float
    """How long it was given for; an agent that is restarted keeps it so long again."""
    name: str = ""
    """The primary it was given to; empty: given by this node's previous agent, or before the machine started."""
    conn_url: str = ""
    term: Term | None = None
    """That primary's term, where it tells it."""
    slots: Mapping[str, Lsn] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Consent:
    """What one member answered to a primary that asked to go on without etcd."""

    name: str
    accepted: bool
    why: str = ""


@dataclass(frozen=True, slots=True)
class Mandate:
    """Who must all consent before the permit is extended without etcd, and what they are told."""

    members: Mapping[str, str]
    """Name and ``api_url`` of everybody else who might lead."""
    body: Document


@dataclass(frozen=True, slots=True)
class Asked:
    """The last time that all members were asked for their consent."""

    at: Instant
    replies: tuple[Consent, ...] = ()

    @property
    def unanimous(self) -> bool:
        return all(reply.accepted for reply in self.replies)


@dataclass(frozen=True, slots=True)
class FailsafeFacts:
    """Failsafe mode as seen from this node."""

    promise: Promise | None = None
    """None: this node has promised nothing, or the time is over."""
    asked: Asked | None = None
    """None: this node has not had to ask since etcd answered last."""


@dataclass(frozen=True, slots=True)
class KnownMembers:
    """The ``failsafe`` key as it may stand in etcd: as it was read, and what was written since and may have landed."""

    revision: Revision
    members: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Standing:
    """Whether this node's PostgreSQL was last seen as a standby, and the timeline that other hands made of it since."""

    stood: bool = False
    stray: Timeline | None = None


# --- what operators ask ---


@dataclass(frozen=True, slots=True)
class Intent:
    """A request that came over REST and waits for its answer."""

    id: int
    kind: str
    """``switchover``, ``failover``, ``restart``, ``reinitialize``, ``reload``, ``patch_config``, ``put_config``, …"""
    body: Document
    received_at: Instant
    origin: str = ""
    """Who asked (address and user), for the journal."""


# --- what is carried from tick to tick ---


@dataclass(frozen=True, slots=True)
class InForce:
    """``synchronous_standby_names`` as this primary is seen to obey them, and since when."""

    names: str
    started_at: str
    """Of which start of PostgreSQL."""
    since: Instant
    settled_at: Instant | None = None
    lsn: Lsn | None = None
    """All that was acknowledged under other names lies before it; None until that is sure."""


@dataclass(frozen=True, slots=True)
class Stalled:
    """A standby that neither streams nor gets any further, although its leader runs."""

    lsn: Lsn
    since: Instant
    asked_at: Instant | None = None
    """When the leader was last asked why."""
    why: str = ""
    blinked: bool = False
    """It seemed to stream at the last look: PostgreSQL says so of a WAL receiver that has only just connected."""


@dataclass(frozen=True, slots=True)
class Handover:
    """What is known of the end of a Patroni member's term, which deletes the leader key without a note."""

    term: Term
    led: bool
    """Its PostgreSQL was a primary when the key was last seen to stand."""
    over: bool = False
    """It said after the key was gone that its PostgreSQL does not write: it can't again without another term."""


class Goal(Enum):
    """Why PostgreSQL is being stopped, hence what comes after."""

    NONE = "none"
    LEASE = "lease"
    """The lease was lost or its deadline is near."""
    SWITCHOVER = "switchover"
    HANDOVER = "handover"
    """This node gives leadership up because its PostgreSQL is not well."""
    RESTART = "restart"
    REINIT = "reinit"
    SHUTDOWN = "shutdown"
    ELSEWHERE = "elsewhere"
    """The cluster is to follow a primary elsewhere."""
    FOLLOW = "follow"
    """A standby must be stopped to follow (rewind, or an old PostgreSQL)."""


@dataclass(frozen=True, slots=True)
class Pending:
    """An operator's request under way across ticks."""

    intent: Intent
    leader: str | None = None
    candidate: str | None = None
    until: Instant = Instant(0.0)
    phase: str = ""
    loss: str = ""
    """What the operator was told may be lost by it."""


@dataclass(frozen=True, slots=True)
class Memory:
    """The only thing carried from tick to tick."""

    state: State = State.VACANT
    since: Instant = Instant(0.0)
    row: int = 0
    why: str = ""
    goal: Goal = Goal.NONE
    trouble: str = ""
    """What brought this node to ``FAILED``, in words."""
    begun: bool = False
    """Whether the first look around has happened since the agent started."""
    starts: tuple[Instant, ...] = ()
    """When PostgreSQL was last started as a primary in place: the breaker counts these."""
    start_failures: int = 0
    attempts: int = 0
    """Failed tries of what the present state is about (clone, rewind, start)."""
    retry_at: Instant = Instant(0.0)
    stand_back_until: Instant = Instant(0.0)
    """A node that just gave up the key, or vetoed its promotion, does not campaign before this."""
    divergence: Divergence | None = None
    """The verdict on this data against the present leader; forgotten when PostgreSQL has been primary again."""
    stop_asked_at: Instant | None = None
    stop_mode: str = ""
    switch_to: str | None = None
    """The candidate that the present demotion hands over to."""
    switch_started_at: Instant | None = None
    pending: tuple[Pending, ...] = ()
    promoted_at: Instant | None = None
    checkpointed: bool = True
    """False from a promotion until its first checkpoint."""
    clone_source: str | None = None
    scheduled_restart: Document | None = None
    last_leader: str | None = None
    reload_wanted: bool = False
    told_role: str = ""
    """The role last told to callbacks."""
    told_stop: bool = False
    """And that PostgreSQL stops in it."""
    refusal: str = ""
    """Why the last request for a change of leader was refused."""
    called_off: Revision | None = None
    """The request that was begun and given up: it is not begun again before somebody asks anew."""
    initialize_begun: Revision | None = None
    """The revision of the ``initialize`` key that this node created."""
    job_seen: Instant | None = None
    """The start of the last job whose end was acted upon."""
    prepared: bool = False
    """``pre_promote`` allowed this promotion."""
    published_under: LeaseId | None = None
    """The lease under which this node's member key was last written: under another one it must be written again."""
    claim: tuple[Term, Timeline] | None = None
    """The timeline number last claimed for a promotion, and the term in which it was."""
    standing: Standing = Standing()
    rejoins: int = 0
    """How often PostgreSQL was started anew because it did not follow a leader whose history it is a part of."""
    history_of: Timeline | None = None
    """The timeline whose history this agent last published."""
    resumable: tuple[Term, LeaseId] | None = None
    """The term and lease of this node's previous agent, as its local store has them."""
    sync_revision: Revision | None = None
    """The revision of the ``sync`` key as this agent last wrote it; None when it may have a write under way."""
    sync_names: InForce | None = None
    stalled: Stalled | None = None
    slots_seen: Mapping[str, Instant] = field(default_factory=dict)
    """When the member of each slot was last there: its slot outlives it for ``member_slots_ttl``."""
    handover: Handover | None = None
    """None: the last leader is, or was, no member of Patroni, or nobody led while this node looked."""
    failsafe_known: KnownMembers | None = None
    """All who may stand in the ``failsafe`` key, as the local store has it."""
    leaderless_since: Instant | None = None
    """Since when this node sees no leader key, without a gap."""
    leaving_at: Instant | None = None
    """Since when this synchronous standby asks to be let go, before it stops."""
    guardless_since: Instant | None = None
    """Since when this primary has asked for a guard in vain; a guard that nobody needed in a pause is not missed."""


@dataclass(frozen=True, slots=True)
class View:
    """All that one decision may look at."""

    now: Instant
    wall: float
    """Seconds since 1970 by this machine's wall clock; for schedules and texts, never for leadership."""
    me: Me
    settings: Settings
    timing: Timing
    postgres: PostgresFacts
    cluster: ClusterFacts
    lease: LeaseFacts
    guard: GuardFacts
    memory: Memory
    fence: FenceFacts = FenceFacts()
    watchdog: WatchdogFacts = WatchdogFacts()
    peers: PeerPoll | None = None
    failsafe: FailsafeFacts = FailsafeFacts()
    job: JobFacts | None = None
    outcomes: tuple[Outcome, ...] = ()
    intents: tuple[Intent, ...] = ()
    stopping: bool = False
    """SIGTERM was received."""

    @property
    def snapshot(self) -> Snapshot | None:
        """The cluster, only while the DCS answers."""
        return None if self.cluster.silent_since is not None else self.cluster.snapshot

    @property
    def leader(self) -> LeaderKey | None:
        return self.snapshot.leader if self.snapshot else None

    @property
    def state(self) -> State:
        return self.memory.state
