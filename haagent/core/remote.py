"""A standby cluster: one that follows a primary elsewhere, whom its leader streams from and whose history counts here.

Law: while ``standby_cluster`` is set nothing here is promoted or started writable (asserted in ``core/decide.py``).
The leader key is held only by a node whose PostgreSQL runs in recovery: whoever stops, for whatever reason, gives it up
first, so that another standby follows the remote primary meanwhile.

Source: Patroni's documentation, "Standby cluster".
"""

from __future__ import annotations

from haagent.core.facts import Member, Upstream, View

COPY_AFTER_TTLS = 3.0
"""After so many ttl without a leader that follows it a node without data copies the remote primary itself."""


def is_set(v: View) -> bool:
    """The cluster follows a primary elsewhere, as the DCS told since this agent was started."""
    return v.settings.standby_cluster is not None and v.cluster.snapshot is not None


def source(v: View) -> Upstream | None:
    """The remote primary; None when this is no standby cluster, or one that lives on an archive alone."""
    remote = v.settings.standby_cluster
    if remote is None or not remote.host or not is_set(v):
        return None
    return Upstream(f"remote {remote.host}", remote.host, remote.port)


def is_known(v: View) -> bool:
    """There is a remote primary that can be asked."""
    return source(v) is not None


def proven(v: View) -> bool:
    """This node's history was compared with the remote primary's, and is a part of it."""
    known, whose = v.memory.divergence, source(v)
    return known is not None and whose is not None and known.leader == whose.name and not known.diverged


def slot(v: View) -> str | None:
    """The slot at the remote primary; it is made there by the operator."""
    remote = v.settings.standby_cluster
    return remote.slot if remote is not None and v.settings.use_slots else None


def copy_source(v: View) -> Upstream | None:
    """The remote primary, for a node without data when nobody who follows it has led for long."""
    exists = v.snapshot is not None and bool(v.snapshot.initialize)
    since = v.memory.since if v.memory.leaderless_since is None else v.memory.leaderless_since
    return source(v) if exists and v.now - since >= COPY_AFTER_TTLS * v.settings.ttl else None


def follows(v: View, member: Member) -> bool:
    """Whether its copy may be passed on: one whose history has parted from the remote primary's gets no WAL from it."""
    return source(v) is None or member.replication_state is not None
