"""What the agent needs of the world, as Protocols, and the only three ways in which the world may fail.

Every coroutine is bounded by the ``timeout`` given (seconds); a port neither retries past it nor knows the node's
state. Adapters raise nothing but ``Refused``, ``Unknown`` and ``Unreachable``; whatever else crosses a port is a
programmer's error and ends the process.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Literal, Protocol

from haagent.core.facts import (
    Consent,
    Divergence,
    Document,
    Failure,
    FenceFacts,
    Grounds,
    GuardFacts,
    Heartbeat,
    HistoryLine,
    Mandate,
    Member,
    PeerPoll,
    PostgresFacts,
    Progress,
    ServerConfig,
    SlotFacts,
    Snapshot,
    Upstream,
    WatchdogFacts,
)
from haagent.core.methods import ReplicaMethod
from haagent.core.terms import Instant, LeaseId, Lsn, Revision, SystemId, Term, Timeline


class PortError(Exception):
    """A port failed; ``failure`` says which of the three it was, the text says what happened, with numbers."""

    failure: Failure
    reason: str | None = None
    """What kind of failure it was, in one word, where somebody must know."""


class Refused(PortError):
    """It surely did not happen."""

    failure = Failure.REFUSED


class Unknown(PortError):
    """It may have happened."""

    failure = Failure.UNKNOWN


class Unreachable(PortError):
    """It was never sent."""

    failure = Failure.UNREACHABLE


class Clock(Protocol):
    """Time on this machine. Waiting is asyncio's."""

    def now(self) -> Instant:
        """CLOCK_BOOTTIME in seconds."""
        ...

    def wall(self) -> float:
        """Seconds since 1970; never for leadership."""
        ...


class Dcs(Protocol):
    """The store of agreement. Every write that matters is a transaction; unknown outcomes are read back inside."""

    async def snapshot(self, timeout: float) -> Snapshot:
        """All keys, linearizably, in one request; ignored (Unreachable) when older than one already seen."""
        ...

    def heartbeat(self) -> Heartbeat | None:
        """The leader key's last change as seen by the watch or a snapshot, on this node's clock."""
        ...

    async def open_lease(self, ttl: float, timeout: float) -> LeaseId:
        """Ask etcd for a lease of at least this many seconds."""
        ...

    async def keepalive(self, lease: LeaseId, timeout: float) -> None:
        """Keep a lease alive; Refused when etcd says that it is dead."""
        ...

    async def granted_ttl(self, lease: LeaseId, timeout: float) -> float:
        """What etcd granted to a lease, in seconds; Refused when there is no such lease."""
        ...

    async def campaign(self, name: str, lease: LeaseId, timeout: float, grounds: Grounds | None = None) -> Term:
        """Create the leader key if it is absent; Refused when somebody holds it.

        ``grounds``: only if the keys named there are still of those revisions.
        """
        ...

    async def renew(
        self, name: str, term: Term, lease: LeaseId, timeout: float, moved_from: LeaseId | None = None
    ) -> Revision:
        """Keep the lease alive and rewrite the leader key under it, both; Refused when the key is surely not ours.

        ``moved_from``: the lease under which the key still hangs, when it is to be moved to another one.
        """
        ...

    async def resign(self, term: Term, timeout: float) -> None:
        """Delete the leader key if it is still of this term, and note the term as released; Refused when it is not."""
        ...

    async def depose(self, revision: Revision, timeout: float, released: Term | None = None) -> None:
        """Delete the leader key if its modification revision is still this one (a heartbeat that stood still).

        ``released`` notes that term as given up in good order, as a resign does.
        """
        ...

    async def put_member(self, member: Member, lease: LeaseId, timeout: float) -> None:
        """Publish this node's member key under its lease."""
        ...

    async def begin_initialize(self, timeout: float) -> Revision:
        """Create an empty ``initialize`` key if there is none; Refused when there is one."""
        ...

    async def finish_initialize(self, system_id: SystemId, begun: Revision | None, timeout: float) -> None:
        """Put the system identifier into ``initialize``, if it is as it was at ``begun`` (None: absent)."""
        ...

    async def abandon_initialize(self, begun: Revision, timeout: float) -> None:
        """Delete ``initialize`` if it is as it was at ``begun``."""
        ...

    async def put_config(self, document: Document, expected: Revision | None, timeout: float) -> None:
        """Replace the dynamic configuration if it is still of that revision (None: absent)."""
        ...

    async def put_failover(
        self,
        leader: str | None,
        candidate: str | None,
        scheduled_at: str | None,
        expected: Revision | None,
        timeout: float,
    ) -> None:
        """Ask for a change of leader, or with nothing set write ``{}``; Refused when another request came first."""
        ...

    async def put_status(
        self, optime: Lsn, slots: Mapping[str, Lsn], retain: Sequence[str], term: Term, timeout: float
    ) -> None:
        """Publish the leader's progress, if the leader key is still of this term."""
        ...

    async def put_history(self, lines: Sequence[HistoryLine], term: Term, timeout: float) -> None:
        """Publish the history of promotions, if the leader key is still of this term."""
        ...

    async def claim_timeline(
        self, timeline: Timeline, expected: Revision | None, term: Term, timeout: float
    ) -> Revision:
        """Note a timeline number as taken, if the note is still of that revision (None: absent) and the term ours."""
        ...

    async def put_sync(
        self,
        leader: str | None,
        quorum: int,
        standbys: Sequence[str],
        expected: Revision | None,
        term: Term,
        timeout: float,
    ) -> Revision:
        """Write the ``sync`` key if it is of that revision (None: absent) and the term still ours."""
        ...

    async def drop_sync(self, expected: Revision, term: Term, timeout: float) -> None:
        """Delete the ``sync`` key under the same conditions."""
        ...

    async def put_failsafe(
        self, members: Mapping[str, str] | None, expected: Revision, term: Term, timeout: float
    ) -> None:
        """Write who may lead in failsafe mode (None: delete it), if of that revision (0: absent) and the term ours."""
        ...

    async def watch(self, wake: Callable[[str], None]) -> None:
        """Run for ever: call ``wake(reason)`` when a key changed that the loop should act upon at once.

        A mere renewal of the leader key wakes nobody; it only moves ``heartbeat()``.
        """
        ...

    async def close(self) -> None: ...


def allowed() -> None:
    """Whoever needs no permit."""


StopMode = Literal["fast", "immediate"]
Report = Callable[[Progress], None]


class Postgres(Protocol):
    """One PostgreSQL data directory and the server on it."""

    async def probe(self, timeout: float) -> PostgresFacts:
        """Look at the data directory, the postmaster and, if it answers within ``timeout``, ask it by SQL."""
        ...

    def on_end(self, wake: Callable[[str], None]) -> None:
        """Call ``wake`` at once whenever the postmaster ends (pidfd)."""
        ...

    def on_sender_end(self, wake: Callable[[str], None]) -> None:
        """Call ``wake`` at once whenever a walsender ends that commits wait for."""
        ...

    def on_disk_change(self, wake: Callable[[str], None]) -> None:
        """Call ``wake`` when the file systems under it begin or cease to refuse writes, or to lack room."""
        ...

    async def configure(self, config: ServerConfig) -> None:
        """Write the configuration files if they differ, and reload a running server."""
        ...

    async def reload(self) -> None:
        """SIGHUP to the postmaster."""
        ...

    async def start(self, config: ServerConfig, *, primary: bool, permitted: Callable[[], None] = allowed) -> None:
        """Write the files and start the postmaster, after its orphans are gone; it may not answer for long.

        ``permitted`` raises Refused once it must not run any more: it is asked at the moment of the start, and again
        when it runs; what was started too late is killed.
        """
        ...

    async def stop(self, mode: StopMode) -> None:
        """Signal the postmaster to stop; returns at once."""
        ...

    async def kill_tree(self) -> int:
        """SIGQUIT to the postmaster, soon SIGKILL to every process of the data directory; how many there were."""
        ...

    async def promote(self, present: Timeline, claimed: Timeline) -> None:
        """Take the standby out of recovery, onto the timeline ``claimed``; returns when the server has been told.

        It makes a later one where the numbers up to that are known to be taken, here or in the archive.
        """
        ...

    async def checkpoint(self, timeout: float) -> None: ...

    async def stir(self, timeout: float) -> None:
        """Write a little WAL that no commit waits for, so that streaming standbys answer."""
        ...

    async def sync_slots(
        self,
        create: Sequence[SlotFacts],
        drop: Sequence[str],
        advance: Mapping[str, Lsn],
        timeout: float,
        *,
        protect: Sequence[str] = (),
    ) -> None:
        """Drop, create and advance replication slots; ``protect``: logical ones that standbys are to copy.

        What is done to logical slots may take long, and goes on in the background.
        """
        ...

    async def copy_slots(self, source: Upstream, own_slot: str, fetch: Collection[str], prove: Collection[str]) -> None:
        """Begin to copy logical slots from the primary for the next start, and to prove copies usable.

        Goes on in the background; shows in ``PostgresFacts.slots_staged_at`` and in ``SlotFacts.synced``.
        """
        ...

    async def history(self) -> Sequence[HistoryLine]:
        """The .history file of the newest timeline in pg_wal, oldest line first."""
        ...

    # Long jobs: no deadline of their own; the loop cancels them.

    async def initialize(self, config: ServerConfig, report: Report) -> SystemId:
        """initdb, roles and post_bootstrap; afterwards the server is cleanly stopped."""
        ...

    async def clone(
        self, source: Upstream | None, slot: str | None, report: Report, methods: Sequence[ReplicaMethod] = ()
    ) -> None:
        """A copy of another node in an empty data directory, its WAL held by a slot for the whole build.

        The methods are tried in order, without any it is a base backup; without a source those that need none.
        """
        ...

    async def rewind(self, source: Upstream, report: Report) -> None:
        """pg_rewind, under a marker that stays if it is interrupted."""
        ...

    async def compare(self, source: Upstream) -> Divergence:
        """How the (stopped or running) local history lies to another server's; asks the other one."""
        ...

    async def move_aside(self, why: str) -> str:
        """Rename the data directory; its new path. What a base backup left unfinished is deleted instead."""
        ...

    async def run_hook(self, command: str, arguments: Sequence[str], timeout: float) -> int:
        """Run an operator's program; its exit code."""
        ...


class Guard(Protocol):
    """The fencing process, from the agent's side."""

    def facts(self) -> GuardFacts:
        """As last heard; never blocks."""
        ...

    async def ensure(self, timeout: float) -> None:
        """Connect to the guard of this data directory, or start one; a frozen one is replaced."""
        ...

    async def arm(self, term: Term, permit_until: Instant, timeout: float) -> None:
        """Set term and permit, and wait for the guard's word that it has them."""
        ...

    def extend(self, term: Term, permit_until: Instant) -> None:
        """Move the permit forward; never blocks, the answer shows in ``facts()``."""
        ...

    async def disarm(self, term: Term, timeout: float) -> None:
        """PostgreSQL is down or read-only: there is nothing to enforce."""
        ...

    async def clear(self, timeout: float) -> None:
        """Remove the marker of a fencing: a start as standby has been decided."""
        ...

    async def quit(self, timeout: float) -> None:
        """Disarm and end the guard process."""
        ...


class Fence(Protocol):
    """The commit fence inside PostgreSQL, from the agent's side; its calls are stores to memory and never block."""

    def facts(self) -> FenceFacts: ...

    def permit(self, term: Term, until: Instant) -> None:
        """Commits are accepted until then; infinity while the cluster is paused."""
        ...

    def refuse(self, term: Term) -> None:
        """No commit is accepted from now on."""
        ...

    def without_end(self) -> bool:
        """Whether the permit that stands, perhaps since a pause under an earlier agent, has no end."""
        ...


class NoFence:
    """For where there is none."""

    def facts(self) -> FenceFacts:
        return FenceFacts()

    def permit(self, term: Term, until: Instant) -> None:
        return

    def refuse(self, term: Term) -> None:
        return

    def without_end(self) -> bool:
        return False


class Watchdog(Protocol):
    """The kernel's watchdog device: it resets this machine when no renewal is proven for its timeout."""

    def facts(self) -> WatchdogFacts: ...

    async def open(self, ttl: float, timeout: float) -> None:
        """Start its timer; Refused when it can't be used and the settings require it."""
        ...

    def feed(self, until: Instant, ttl: float) -> None:
        """A renewal was proven: the lease ends at ``until``; never blocks."""
        ...

    async def close(self, timeout: float) -> None:
        """Stop its timer: PostgreSQL is not writable, or the cluster is paused."""
        ...


class NoWatchdog:
    """For where there is none."""

    def facts(self) -> WatchdogFacts:
        return WatchdogFacts()

    async def open(self, ttl: float, timeout: float) -> None:
        return

    def feed(self, until: Instant, ttl: float) -> None:
        return

    async def close(self, timeout: float) -> None:
        return


class Peers(Protocol):
    """The other agents, over REST."""

    async def ask(self, members: Sequence[Member], timeout: float) -> PeerPoll:
        """GET /patroni of all at once; whoever is silent after ``timeout`` counts as not reached."""
        ...

    async def alive(self, member: Member, timeout: float) -> bool:
        """Whether an agent answers GET /liveness at that member's api_url."""
        ...

    async def consent(self, mandate: Mandate, timeout: float) -> Sequence[Consent]:
        """POST /failsafe to all at once; whoever is silent after ``timeout`` does not consent."""
        ...


class LocalStore(Protocol):
    """A few small facts that must survive the agent, on this node's disk; never touched on the lease path."""

    def load(self) -> Mapping[str, Any]:
        """What is kept, from memory once it has been read."""
        ...

    async def keep(self, **values: object) -> bool:
        """Remember these besides what is held, None forgets one; a disk that hangs is waited for only for a moment.

        Atomic; whether it is on the disk.
        """
        ...
