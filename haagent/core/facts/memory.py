"""What is carried from tick to tick."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from haagent.core.facts.jobs import Divergence
from haagent.core.facts.node import Document
from haagent.core.facts.promises import KnownMembers
from haagent.core.states import State
from haagent.core.terms import Instant, LeaseId, Lsn, Revision, Term, Timeline


@dataclass(frozen=True, slots=True)
class Standing:
    """Whether this node's PostgreSQL was last seen as a standby, and the timeline that other hands made of it since."""

    stood: bool = False
    stray: Timeline | None = None


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
    led_before: Term | None = None
    """The term of this node's previous agent, as its local store has it; its lease may have changed since."""
    gave_up: Term | None = None
    """The term that it was giving up: that may happen yet."""
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
