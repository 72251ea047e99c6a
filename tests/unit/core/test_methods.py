"""When a node is made from what operators keep, without anybody to copy from."""

from __future__ import annotations

from typing import Any

import pytest

from haagent.core.actions import Clone
from haagent.core.decide import decide
from haagent.core.facts import DataKind, SyncKey
from haagent.core.methods import ReplicaMethod
from haagent.core.states import State
from haagent.core.terms import Revision
from tests.builders import a_cluster, a_memory, a_view, some_settings, stopped

VAULT = ReplicaMethod("vault", "/restore", no_leader=True)


def row_taken(methods: tuple[ReplicaMethod, ...], **snapshot: Any) -> tuple[int, list[Clone]]:
    """What a node without data does; nobody leads unless it is said otherwise."""
    cluster = a_cluster(leader=None, **snapshot)
    view = a_view(
        cluster=cluster,
        memory=a_memory(State.VACANT),
        postgres=stopped(DataKind.ABSENT),
        settings=some_settings(replica_methods=methods, synchronous_mode="on"),
    )
    plan = decide(view)
    return plan.row, [action for action in plan.actions if isinstance(action, Clone)]


def test_a_replica_is_made_without_a_leader_by_the_methods_that_can() -> None:
    assert row_taken((ReplicaMethod(), VAULT)) == (135, [Clone(None, None, (VAULT,))])


@pytest.mark.parametrize(
    ("methods", "snapshot"),
    [
        ((ReplicaMethod(),), {}),
        ((VAULT,), {"initialize": ""}),
        ((VAULT,), {"sync": SyncKey(Revision(1), "a", 0, ("b",))}),
        ((VAULT,), {"sync": SyncKey(Revision(1), "b", 0, ())}),
    ],
)
def test_nothing_is_restored_where_it_could_not_or_would_pass_for_a_whole_copy(
    methods: tuple[ReplicaMethod, ...], snapshot: dict[str, Any]
) -> None:
    assert row_taken(methods, **snapshot)[1] == []


@pytest.mark.parametrize(
    ("methods", "left"),
    [
        ((VAULT, ReplicaMethod(arguments={"max-rate": "1M"})), (ReplicaMethod(arguments={"max-rate": "1M"}),)),
        ((VAULT,), (ReplicaMethod(),)),
    ],
)
@pytest.mark.parametrize("sync", [SyncKey(Revision(1), "a", 0, ("b",)), SyncKey(Revision(1), "b", 0, ())])
def test_a_node_that_counts_as_whole_is_copied_from_the_leader_alone(
    sync: SyncKey, methods: tuple[ReplicaMethod, ...], left: tuple[ReplicaMethod, ...]
) -> None:
    """Yesterday's backup would run as a standby that may be elected, long before it has what was acknowledged today."""
    view = a_view(
        memory=a_memory(State.VACANT),
        cluster=a_cluster(sync=sync),
        postgres=stopped(DataKind.ABSENT),
        settings=some_settings(replica_methods=methods, synchronous_mode="on"),
    )
    (clone,) = [action for action in decide(view).actions if isinstance(action, Clone)]
    assert clone.source is not None
    assert (clone.source.name, clone.methods) == ("a", left)


def test_while_somebody_leads_it_is_copied_from() -> None:
    view = a_view(
        memory=a_memory(State.VACANT),
        postgres=stopped(DataKind.ABSENT),
        settings=some_settings(replica_methods=(VAULT,)),
    )
    (clone,) = [action for action in decide(view).actions if isinstance(action, Clone)]
    assert clone.source is not None
    assert clone.methods == (VAULT,)
