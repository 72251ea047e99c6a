"""What the data directory, the processes and SQL show of PostgreSQL."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from haagent.core.terms import Instant, Lsn, SystemId, Timeline


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
    """The newest timeline of the .history files, also of one never followed; 0: none, or not looked for (a primary)."""
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
    restarts_after_crash: bool = True
    """PostgreSQL recovers by itself when one of its processes has crashed, if its operator lets it.

    Not before it is a primary: a crash in the midst of a promotion, when standby.signal is gone and the new timeline
    not yet begun, would let it come back writable on the old one, which another node may have written on.
    """
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
