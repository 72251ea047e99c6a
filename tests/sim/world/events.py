"""What happens in the world, as frozen values: the one history that the checkers read and the run prints."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields

from haagent.core.terms import Lsn


@dataclass(frozen=True, slots=True)
class Event:
    """Something at an instant of true time, at one place (a node, ``etcd``, a client, or the run itself)."""

    at: float
    where: str

    def line(self) -> str:
        """The event in fixed columns: time, place, what, details."""
        said = " ".join(
            f"{f.name}={getattr(self, f.name)}"
            for f in fields(self)
            if f.name not in ("at", "where") and f.repr and getattr(self, f.name) not in (None, "", ())
        )
        return f"{self.at:12.4f}  {self.where:<8}  {type(self).__name__:<12}  {said}"


STARTS = "agent starts"


@dataclass(frozen=True, slots=True)
class Note(Event):
    """A fact of the run worth a line: a fault, its end, a phase."""

    text: str


@dataclass(frozen=True, slots=True)
class Fault(Event):
    """A fault begins, or with ``over`` ends."""

    text: str
    over: bool = False


@dataclass(frozen=True, slots=True)
class Committed(Event):
    """A server made a commit durable on its own disk; whether the client hears of it is another matter."""

    commit: int
    uid: int
    """Of the WAL record."""
    timeline: int
    lsn: Lsn
    promotion: int
    """Which start as a primary, counted over the whole world, the server owes its writability to."""
    direct: bool
    """By a client that goes past the proxy."""
    permit_until: float | None = None
    """The end of this node's permit in true time, as enforced; None when there is none."""
    fenced: bool = False
    """The commit fence is loaded in this server."""
    void: str = ""
    """Why this node promises nothing at the moment: it is paused, or other hands made this server writable."""
    void_s: float = 0.0
    """For how long its agent has had the time to end that; 0 while it is paused."""


@dataclass(frozen=True, slots=True)
class Acked(Event):
    """A server told its client that the commit is done."""

    commit: int
    uid: int
    promotion: int
    sync: bool
    """Synchronous standbys had confirmed it."""
    permit_until: float | None = None
    fenced: bool = False
    void: str = ""
    void_s: float = 0.0
    timeline: int = 0
    names: str = ""
    """synchronous_standby_names in force."""


@dataclass(frozen=True, slots=True)
class Writable(Event):
    """A server left recovery, or was started without it."""

    timeline: int
    fork: Lsn
    promotion: int
    promoted: bool
    """False: it was started on the timeline it had."""
    holds: Callable[[int], bool] = field(repr=False)
    """Whether a commit is in its history."""
    by_hand: bool = False
    """Other hands than the agent's did it."""
    adopted: bool = False
    """Other hands had done it, and now its agent leads with it."""
    paused: bool = False
    """Its node believed the cluster paused when PostgreSQL was told to promote."""


@dataclass(frozen=True, slots=True)
class Readonly(Event):
    """A writable server ended."""

    promotion: int
    how: str


@dataclass(frozen=True, slots=True)
class Corrupted(Event):
    """A standby streamed onto a history that is not its upstream's: silent damage."""

    upstream: str
    lsn: Lsn
    by_hand: bool = False
    """They parted where other hands, or a pause, had made a server writable."""


@dataclass(frozen=True, slots=True)
class LeaderKeyChanged(Event):
    """The truth in etcd about the leader key; ``name`` None when it is gone."""

    name: str | None
    term: int
    revision: int
    cause: str
    """``campaign``, ``renewal``, ``resign``, ``depose``, ``expiry``, ``foreign``; by other hands than the agents'
    ``revoke``, ``by hand``, ``wipe``, ``restore``."""
    ttl: float = 0.0
    """What is granted to its lease."""


@dataclass(frozen=True, slots=True)
class KeyWritten(Event):
    """A write to etcd that changed a key."""

    key: str
    by: str
    value: str = ""

    @property
    def data_lost(self) -> bool:
        """It was no write: etcd was wiped or set back."""
        return self.by in ("wipe", "restore")


@dataclass(frozen=True, slots=True)
class Told(Event):
    """An agent heard etcd's answer to what it asked for; of those about one thing that say the same only the first."""

    key: str
    """``leader`` or ``claimed``."""
    number: int
    """The term, or the timeline; 0 for the refusal of a key that is to be created."""
    done: bool


@dataclass(frozen=True, slots=True)
class GivesUp(Event):
    """An agent asks etcd to delete the leader key; that may be carried out much later."""


@dataclass(frozen=True, slots=True)
class Permit(Event):
    """A guard was told a permit, in true time."""

    term: int
    until: float


@dataclass(frozen=True, slots=True)
class Disarmed(Event):
    """A guard was told that there is nothing to enforce."""

    term: int


@dataclass(frozen=True, slots=True)
class Fenced(Event):
    """A guard killed the server."""

    term: int
    processes: int


@dataclass(frozen=True, slots=True)
class Routed(Event):
    """Which nodes would answer 200 to GET /primary at this instant."""

    nodes: tuple[str, ...]
    paused: tuple[str, ...] = ()
    """Those of them that believe the cluster paused, whose permit has no end."""


@dataclass(frozen=True, slots=True)
class StateChanged(Event):
    """An agent's state changed by a row of the table."""

    old: str
    new: str
    row: int
    why: str = ""


@dataclass(frozen=True, slots=True)
class Crashed(Event):
    """An agent ended with an exception: a programmer's error."""

    error: str


@dataclass(frozen=True, slots=True)
class DataGone(Event):
    """A data directory was moved aside, emptied or built over."""

    how: str
    copies: tuple[str, ...]
    """Nodes that hold valid data of the same system."""


@dataclass(frozen=True, slots=True)
class Judged(Event):
    """The state of the whole at one instant, for the checker of liveness."""

    primaries: tuple[str, ...]
    streaming: tuple[str, ...]
    """Standbys that stream from the primary and have all of its WAL."""
    nodes: tuple[str, ...]
