"""The lease, and what ends PostgreSQL or refuses its commits when the permit runs out."""

from __future__ import annotations

from dataclasses import dataclass

from haagent.core.terms import Instant, LeaseId, Term


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
