"""What the DCS shows, key by key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from haagent.core.facts.node import STANDBY_LEADER, Document
from haagent.core.terms import Instant, LeaseId, Lsn, Revision, Term, Timeline


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

    def due(self, wall: float) -> bool:
        """Whether its time has come by that wall clock; without a schedule it has."""
        return self.scheduled_epoch is None or self.scheduled_epoch <= wall


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
class Grounds:
    """The revisions of the keys that say who may lead, as a decision to campaign read them; 0: absent."""

    failsafe: Revision = Revision(0)
    sync: Revision = Revision(0)
    claimed: Revision = Revision(0)


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
