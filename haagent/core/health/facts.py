"""What was gathered of one node for the doctor, as frozen values; the core only judges it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from haagent.core.facts import Me, Settings, Snapshot, Timing, View


@dataclass(frozen=True, slots=True)
class PathFacts:
    """A file or directory as stat(2) shows it to this user; ``why`` says why it could not be looked at."""

    path: str
    there: bool = False
    directory: bool = False
    mode: int = 0
    """Permission bits."""
    uid: int = 0
    writable: bool = False
    executable: bool = False
    why: str = ""

    @property
    def bits(self) -> str:
        """The permission bits as chmod(1) takes them."""
        return f"{self.mode:04o}"


@dataclass(frozen=True, slots=True)
class Volume:
    """A file system."""

    path: str
    point: str
    """Where it is mounted."""
    kind: str
    """``ext4``, ``nfs4``, …"""
    free: int
    total: int


@dataclass(frozen=True, slots=True)
class Unit:
    """Something that starts PostgreSQL, or another agent, when this machine does; ``ours``: on this data directory."""

    name: str
    ours: bool


@dataclass(frozen=True, slots=True)
class Hook:
    """A program of the operator, by the name of its setting; ``why`` says why it can't be run."""

    setting: str
    command: str
    why: str = ""


@dataclass(frozen=True, slots=True)
class Name:
    """A host name, or address, that some setting or member key holds; ``why`` says why it was not found."""

    host: str
    owner: str
    """``postgresql.connect_address``, or ``member b``."""
    addresses: tuple[str, ...] = ()
    why: str = ""


@dataclass(frozen=True, slots=True)
class Road:
    """A try to open a TCP connection to another member."""

    peer: str
    service: str
    """``REST API`` or ``PostgreSQL``."""
    address: str
    took_ms: float = 0.0
    why: str = ""
    """Why it failed; empty: it did not."""


@dataclass(frozen=True, slots=True)
class Login:
    """A try to log in at a PostgreSQL in one of the three roles."""

    peer: str
    role: str
    """``superuser``, ``replication`` or ``rewind``."""
    user: str
    why: str = ""
    system_id: str = ""
    """Of a replication login."""


@dataclass(frozen=True, slots=True)
class ClockFacts:
    """This machine's clocks."""

    source: str = ""
    """The kernel's clock source; empty: not known."""
    synchronised: bool | None = None
    """Whether the kernel is told that something disciplines its wall clock; None: not known."""
    error_s: float | None = None
    """The kernel's bound on the wall clock's error."""


@dataclass(frozen=True, slots=True)
class Archiver:
    """pg_stat_archiver, ages in seconds; None where there has been none."""

    failed: int = 0
    failed_wal: str = ""
    failed_age_s: float | None = None
    archived_age_s: float | None = None


@dataclass(frozen=True, slots=True)
class SqlFacts:
    """What the local PostgreSQL told the doctor."""

    settings: Mapping[str, str] = field(default_factory=dict)
    archiver: Archiver = Archiver()
    connections: int = 0
    retained: Mapping[str, int] = field(default_factory=dict)
    """Bytes of WAL that each inactive slot holds back."""


@dataclass(frozen=True, slots=True)
class HostFacts:
    """Files, devices, names and clocks of this machine."""

    user: str
    uid: int
    data: PathFacts
    state_dir: PathFacts
    password_file: PathFacts
    secrets: tuple[PathFacts, ...] = ()
    """Configuration file and keys of certificates."""
    data_version: str = ""
    """PG_VERSION of the data directory."""
    programs_version: str = ""
    """The major version of the ``postgres`` that would be started."""
    missing_programs: tuple[str, ...] = ()
    programs_place: str = ""
    volumes: tuple[Volume, ...] = ()
    units: tuple[Unit, ...] | None = None
    """None: this machine has no systemd to be asked."""
    hooks: tuple[Hook, ...] = ()
    names: tuple[Name, ...] = ()
    clock: ClockFacts = ClockFacts()
    certificates: Mapping[str, float | str] = field(default_factory=dict)
    """When each one ends, in seconds since 1970, or why it can't be read."""
    watchdog: PathFacts | None = None
    looked: bool = True
    """False: the disk did not answer, and but for names nothing here means anything."""


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """All of one node; ``view`` is None before service."""

    wall: float
    me: Me
    host: HostFacts
    settings: Settings
    timing: Timing
    warnings: tuple[str, ...] = ()
    """What loading the configuration complained of."""
    watchdog_mode: str = "off"
    fence_mode: str = "off"
    snapshot: Snapshot | None = None
    dcs: str = ""
    """Why there is no snapshot."""
    sql: SqlFacts | None = None
    sql_why: str = ""
    roads: tuple[Road, ...] = ()
    logins: tuple[Login, ...] = ()
    fence_installed: bool = False
    fence_why: str = ""
    view: View | None = None
    unanswered: tuple[str, ...] = ()
    """What was asked and did not end in time."""

    @property
    def peers(self) -> tuple[str, ...]:
        """The other members."""
        return tuple(m.name for m in self.snapshot.members if m.name != self.me.name) if self.snapshot else ()
