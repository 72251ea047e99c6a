"""Failsafe mode: what members promise each other while etcd is away."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from haagent.core.facts.node import Document
from haagent.core.terms import Instant, Lsn, Revision, Term


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
