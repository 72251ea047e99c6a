"""What a plan can order, each with its proof; ``agent/perform.py`` has one handler for each class here.

The proof (a term, a revision) is checked again at the moment of acting: a plan that has been overtaken does nothing.
A plan's actions are carried out in order; the first that fails ends the plan.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from haagent.core.facts import (
    Document,
    Grounds,
    KnownMembers,
    Mandate,
    Member,
    Memory,
    ServerConfig,
    SlotFacts,
    Standing,
    Upstream,
)
from haagent.core.methods import ReplicaMethod
from haagent.core.terms import Instant, LeaseId, Lsn, Revision, SystemId, Term, Timeline


@dataclass(frozen=True, slots=True)
class Action:
    """Base of all actions."""


# --- the leader key ---


@dataclass(frozen=True, slots=True)
class Campaign(Action):
    """Create the leader key under this node's lease; refused while this node's promise of failsafe mode binds it."""

    grounds: Grounds | None = None
    """The keys that say who may lead must still be as they were read; None: whatever they are."""


@dataclass(frozen=True, slots=True)
class Depose(Action):
    """Delete a leader key whose heartbeat stood still, or of this node's own past, if it is still of that revision."""

    revision: Revision
    released: Term | None = None
    """Set: PostgreSQL is not writable here, and the term is noted as given up in good order."""


@dataclass(frozen=True, slots=True)
class ResumeLease(Action):
    """Go on with the lease of this node's previous agent."""

    term: Term
    lease_id: LeaseId


@dataclass(frozen=True, slots=True)
class Resign(Action):
    """Give the leader key up; only ever after PostgreSQL was seen not writable."""

    term: Term


# --- fencing ---


@dataclass(frozen=True, slots=True)
class EnsureGuard(Action):
    """Have a living guard process."""


@dataclass(frozen=True, slots=True)
class ArmGuard(Action):
    """Give the guard this term's permit, and hear that it has it."""

    term: Term


@dataclass(frozen=True, slots=True)
class DisarmGuard(Action):
    """There is nothing writable to guard."""


@dataclass(frozen=True, slots=True)
class ClearGuard(Action):
    """Remove the marker of a fencing, because a start as standby was decided."""


@dataclass(frozen=True, slots=True)
class OpenWatchdog(Action):
    """Start the timer of the watchdog device, which this node's renewals then keep from resetting the machine."""


@dataclass(frozen=True, slots=True)
class CloseWatchdog(Action):
    """Stop that timer; only ever after PostgreSQL was seen not writable, or in a paused cluster."""


# --- PostgreSQL ---


@dataclass(frozen=True, slots=True)
class StartPrimary(Action):
    """Start PostgreSQL writable, on the same timeline."""

    term: Term
    config: ServerConfig


@dataclass(frozen=True, slots=True)
class StartStandby(Action):
    """Start PostgreSQL in recovery."""

    config: ServerConfig


@dataclass(frozen=True, slots=True)
class StopPostgres(Action):
    """Signal the postmaster, ``fast`` or ``immediate``; with ``first`` after that program, if nothing comes between."""

    mode: str
    first: str = ""
    first_s: float = 0.0
    """For how long it may run, in seconds."""


@dataclass(frozen=True, slots=True)
class KillPostgres(Action):
    """End every process of the data directory."""


@dataclass(frozen=True, slots=True)
class Promote(Action):
    """Take PostgreSQL, which is on timeline ``present``, out of recovery and onto the one claimed."""

    term: Term
    present: Timeline
    claimed: Timeline


@dataclass(frozen=True, slots=True)
class Configure(Action):
    """Write the configuration files and reload."""

    config: ServerConfig


@dataclass(frozen=True, slots=True)
class StirStandbys(Action):
    """Write a little WAL, so that the standbys answer and PostgreSQL looks at the commits that wait for them."""


@dataclass(frozen=True, slots=True)
class ReloadPostgres(Action):
    """SIGHUP to the postmaster."""


@dataclass(frozen=True, slots=True)
class SyncSlots(Action):
    """Drop, create, advance and amend replication slots; what is dropped may be made anew."""

    create: tuple[SlotFacts, ...] = ()
    drop: tuple[str, ...] = ()
    advance: Mapping[str, Lsn] = field(default_factory=dict)
    protect: tuple[str, ...] = ()
    """Logical slots that standbys are to copy from now on."""


@dataclass(frozen=True, slots=True)
class CopySlots(Action):
    """Copy logical slots from the primary for the next start, and find out which copies are usable."""

    source: Upstream
    own_slot: str
    """The physical slot through which this standby streams."""
    fetch: tuple[str, ...] = ()
    prove: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MoveAside(Action):
    """Rename the data directory, never delete it."""

    why: str


# --- long jobs, one at a time ---


@dataclass(frozen=True, slots=True)
class Initialize(Action):
    """Job: initdb, roles, post_bootstrap."""

    config: ServerConfig


@dataclass(frozen=True, slots=True)
class Clone(Action):
    """Job: copy another node, or without one what an operator's method has as a copy."""

    source: Upstream | None
    slot: str | None
    methods: tuple[ReplicaMethod, ...] = ()


@dataclass(frozen=True, slots=True)
class Rewind(Action):
    """Job: undo the end of a diverged history."""

    source: Upstream


@dataclass(frozen=True, slots=True)
class Compare(Action):
    """Job: how this node's history lies to the leader's."""

    source: Upstream


@dataclass(frozen=True, slots=True)
class PrePromote(Action):
    """Job: the operator's program that may veto a promotion."""

    command: str


@dataclass(frozen=True, slots=True)
class Checkpoint(Action):
    """Job: a checkpoint."""


@dataclass(frozen=True, slots=True)
class CancelJob(Action):
    """End the present job."""


# --- the cluster's keys ---


@dataclass(frozen=True, slots=True)
class BeginInitialize(Action):
    """Claim the bootstrap of a new cluster."""


@dataclass(frozen=True, slots=True)
class FinishInitialize(Action):
    """Publish the system identifier of the cluster."""

    system_id: SystemId
    begun: Revision | None


@dataclass(frozen=True, slots=True)
class AbandonInitialize(Action):
    """Release the claim to bootstrap."""

    begun: Revision


@dataclass(frozen=True, slots=True)
class PutConfig(Action):
    """Replace the dynamic configuration."""

    document: Document
    expected: Revision | None


@dataclass(frozen=True, slots=True)
class PutFailover(Action):
    """Ask for a change of leader; all None: the request is done with."""

    leader: str | None
    candidate: str | None
    scheduled_at: str | None
    expected: Revision | None


@dataclass(frozen=True, slots=True)
class PublishMember(Action):
    """Write this node's member key."""

    member: Member


@dataclass(frozen=True, slots=True)
class PublishStatus(Action):
    """Write the ``status`` key."""

    term: Term
    optime: Lsn
    slots: Mapping[str, Lsn]
    retain: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ClaimTimeline(Action):
    """Note a timeline number as taken, before a promotion makes that timeline, or because this primary is on it."""

    term: Term
    timeline: Timeline
    expected: Revision | None


@dataclass(frozen=True, slots=True)
class PublishHistory(Action):
    """Read the timeline history of this primary and write the ``history`` key."""

    term: Term
    timeline: Timeline


@dataclass(frozen=True, slots=True)
class PutSync(Action):
    """Write the ``sync`` key: which standbys may be elected, as far as ``synchronous_standby_names`` allow it."""

    term: Term
    leader: str
    quorum: int
    standbys: tuple[str, ...]
    expected: Revision | None


@dataclass(frozen=True, slots=True)
class DropSync(Action):
    """Delete the ``sync`` key: any node may be elected."""

    term: Term
    expected: Revision


@dataclass(frozen=True, slots=True)
class PutFailsafe(Action):
    """Write the ``failsafe`` key, which says who alone may lead; None deletes it."""

    term: Term
    members: Mapping[str, str] | None
    expected: Revision


@dataclass(frozen=True, slots=True)
class RememberFailsafe(Action):
    """Keep on this node's disk who may stand in the ``failsafe`` key; None: there is no such key."""

    known: KnownMembers | None


@dataclass(frozen=True, slots=True)
class RememberStanding(Action):
    """Keep on this node's disk whether PostgreSQL is a standby, and which timeline other hands have made of it."""

    standing: Standing


# --- others ---


@dataclass(frozen=True, slots=True)
class AskPeers(Action):
    """Ask all other agents at once."""

    members: tuple[Member, ...]


@dataclass(frozen=True, slots=True)
class Callback(Action):
    """Run the operator's program for an event, in the background and in order."""

    event: str
    role: str


@dataclass(frozen=True, slots=True)
class Reply(Action):
    """Answer an operator's request."""

    intent_id: int
    status: int
    body: str | Document


@dataclass(frozen=True, slots=True)
class ReloadSettings(Action):
    """Read the configuration file again."""


@dataclass(frozen=True, slots=True)
class Exit(Action):
    """End the agent."""

    code: int
    why: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """One decision: the row that was taken and what follows from it."""

    row: int
    why: str
    actions: tuple[Action, ...]
    memory: Memory
    """With the next state in it."""
    hold_until: Instant
    """Until when the keeper may go on renewing without hearing from the loop again."""
    wake_in: float
    """The longest sleep before the next tick, in seconds."""
    mandate: Mandate | None = None
    """Whose consent may stand in for a renewal while etcd is silent; None: nobody's."""
