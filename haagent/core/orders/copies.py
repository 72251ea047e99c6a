"""Bootstrap, and copies that are made or moved aside."""

from __future__ import annotations

from dataclasses import replace

from haagent.core import conditions as c
from haagent.core import publish, remote, slots, synchrony
from haagent.core.actions import (
    AbandonInitialize,
    Action,
    BeginInitialize,
    Campaign,
    Clone,
    EnsureGuard,
    FinishInitialize,
    Initialize,
    MoveAside,
    PutConfig,
)
from haagent.core.facts import PRIMARY, DataKind, FenceFacts, Goal, View
from haagent.core.methods import ReplicaMethod
from haagent.core.orders.standbys import start_standby
from haagent.core.orders.stopping import taken_up
from haagent.core.orders.words import Orders, backing_off, job_error
from haagent.core.terms import SystemId


def claim_bootstrap(v: View) -> Orders:
    return Orders((BeginInitialize(),))


def run_initdb(v: View) -> Orders:
    begun = next((o.result for o in v.outcomes if o.action == "BeginInitialize" and o.ok), None)
    # A bootstrap commits before there is a lease: its short-lived server has no commit fence.
    config = publish.server_config(replace(v, fence=FenceFacts()), None, role=PRIMARY)
    return Orders((EnsureGuard(), Initialize(config)), {"initialize_begun": begun})


def release_orphaned_bootstrap(v: View) -> Orders:
    revision = v.snapshot.initialize_revision if v.snapshot else None
    return Orders(() if revision is None else (AbandonInitialize(revision),), {"since": v.now})


def publish_cluster(v: View) -> Orders:
    system_id = v.job.result if v.job else None
    actions: tuple[Action, ...] = (
        FinishInitialize(SystemId(str(system_id)), v.memory.initialize_begun),
        PutConfig(v.settings.bootstrap_document, None),
        Campaign(c.grounds(v)),
    )
    if v.snapshot is not None and v.snapshot.config is not None:
        actions = (actions[0], actions[2])
    return Orders(actions, {"attempts": 0})


def give_bootstrap_up(v: View) -> Orders:
    begun = v.memory.initialize_begun
    release: tuple[Action, ...] = () if begun is None else (AbandonInitialize(begun),)
    changes = {**backing_off(v), "initialize_begun": None}
    return Orders((*release, *_aside(v, "bootstrap failed")), changes, job_error(v))


def undo_bootstrap(v: View) -> Orders:
    """A bootstrap of this node was interrupted by the end of its agent."""
    revision = v.snapshot.initialize_revision if v.snapshot and v.snapshot.initialize == "" else None
    release: tuple[Action, ...] = () if revision is None else (AbandonInitialize(revision),)
    return Orders((*release, *_aside(v, "bootstrap interrupted")))


def move_unfinished_aside(v: View) -> Orders:
    return Orders((MoveAside(f"{v.postgres.data.marker or 'clone'} interrupted"),))


def clone(v: View) -> Orders:
    source = publish.clone_source(v)
    wanted = v.memory.clone_source
    named = v.snapshot.member(wanted) if v.snapshot and wanted else None
    if named is not None:
        source = c.as_upstream(named.name, named.conn_url)
    if source is None:
        return Orders()
    own_slot = v.settings.use_slots and not v.me.tags.nostream and source != remote.source(v)
    slot = slots.slot_name(v.me.name) if own_slot else None
    return Orders((Clone(source, slot, _methods(v)),), detail=f"from {source.name} at {source.host}:{source.port}")


def _methods(v: View) -> tuple[ReplicaMethod, ...]:
    """The operator's ways to make a copy; for a node that counts as holding every acknowledged commit a base backup.

    That ends beyond all that the leader had written when it began. An operator's program may restore yesterday.
    """
    ways = v.settings.replica_methods
    if not synchrony.trusted(v):
        return ways
    return tuple(way for way in ways if not way.command) or (ReplicaMethod(),)


def clone_without_leader(v: View) -> Orders:
    methods = c.leaderless_methods(v)
    return Orders((Clone(None, None, methods),), detail=f"by {', '.join(one.name for one in methods)}")


def clone_failed(v: View) -> Orders:
    return Orders(_aside(v, "clone failed"), {**backing_off(v), "clone_source": None}, job_error(v))


def _aside(v: View, why: str) -> tuple[Action, ...]:
    """Move aside what was begun and did not end, and nothing else: whole data may have been found meanwhile."""
    return (MoveAside(why),) if v.postgres.data.kind is DataKind.UNFINISHED else ()


def start_clone(v: View) -> Orders:
    orders = start_standby(v)
    return replace(orders, memory={**orders.memory, "clone_source": None, "attempts": 0, "divergence": None})


def discard_diverged(v: View) -> Orders:
    return Orders((MoveAside("diverged"),), {"divergence": None, "attempts": 0})


def discard_failed_rewind(v: View) -> Orders:
    return Orders((MoveAside("rewind failed"),), {"divergence": None, "attempts": 0}, job_error(v))


def reinit_aside(v: View) -> Orders:
    forgotten = {"goal": Goal.NONE, "divergence": None, "told_role": ""}
    gone = v.memory.divergence is not None and v.memory.divergence.wal_gone
    return Orders((MoveAside("wal gone" if gone else "reinitialize"),), taken_up(v, "reinitialize") | forgotten)
