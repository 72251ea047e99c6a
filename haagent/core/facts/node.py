"""What an operator has said of this node and of the cluster."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from haagent.core.methods import ReplicaMethod

Document = Mapping[str, Any]
"""A JSON object as it stands in etcd or came over REST."""


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
