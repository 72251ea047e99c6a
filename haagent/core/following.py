"""The builders of actions for a standby cluster: its bootstrap, and what its leader does until it steps down."""

from __future__ import annotations

from dataclasses import replace

from haagent.core import orders as o
from haagent.core import publish, remote, stalls
from haagent.core.actions import (
    Action,
    Callback,
    Clone,
    EnsureGuard,
    FinishInitialize,
    PutConfig,
    StartStandby,
)
from haagent.core.conditions import historian, leaderless_methods, streaming
from haagent.core.facts import STANDBY_LEADER, Goal, View
from haagent.core.intents import switch_is
from haagent.core.orders import Builder, Orders
from haagent.core.states import State


def switch_due(v: View) -> bool:
    """A change of leader was asked for, and there is somebody fit."""
    return switch_is("prepare")(v) or switch_is("go")(v)


# --- bootstrap ---


def copy_remote(v: View) -> Orders:
    """The first node of a standby cluster copies the remote primary; what the cluster is to be is published first."""
    begun = next((one.result for one in v.outcomes if one.action == "BeginInitialize" and one.ok), None)
    source = remote.source(v)
    methods = v.settings.replica_methods if source is not None else leaderless_methods(v)
    known = v.snapshot is None or v.snapshot.config is not None
    config: tuple[Action, ...] = () if known else (PutConfig(v.settings.bootstrap_document, None),)
    where = f"of {source.host}:{source.port}" if source is not None else f"by {', '.join(m.name for m in methods)}"
    return Orders((*config, Clone(source, None, methods)), {"initialize_begun": begun}, where)


def publish_cluster(v: View) -> Orders:
    """The copy is complete: the cluster has the remote primary's identity, and PostgreSQL begins to follow it."""
    system_id = v.postgres.data.system_id
    known: tuple[Action, ...] = ()
    if system_id is not None:
        known = (FinishInitialize(system_id, v.memory.initialize_begun),)
    config = publish.server_config(v, remote.source(v), role=STANDBY_LEADER)
    return Orders((*known, EnsureGuard(), StartStandby(config)), {"attempts": 0, "goal": Goal.NONE})


# --- leading ---


def begin(v: View) -> Orders:
    """This node holds the leader key of a standby cluster."""
    told = v.memory.told_role
    adopted = v.state is State.FENCED and not told
    callback = () if adopted or told == STANDBY_LEADER else (Callback("on_role_change", STANDBY_LEADER),)
    changes = {
        "attempts": 0,
        "start_failures": 0,
        "goal": Goal.NONE,
        "told_role": STANDBY_LEADER,
        "told_stop": False,
        "switch_started_at": None,
        "checkpointed": True,
    }
    return Orders((*callback, *publish.request_done(v), *publish.led_from_afar(v)), changes)


def lead(v: View) -> Orders:
    return Orders((*publish.led_from_afar(v), *publish.request_done(v)), {}, _whom(v) + stalls.why(v))


def _whom(v: View) -> str:
    source = historian(v)
    if source is None:
        return "by its archive alone"
    how = "streaming from" if streaming(v) else "no stream yet from"
    return f"{how} {source.host}:{source.port}" + ("; " if stalls.why(v) else "")


def step_down(v: View) -> Orders:
    """The leader key is given up while PostgreSQL goes on in recovery: another node may lead at once."""
    told: tuple[Action, ...] = (Callback("on_role_change", "replica"),) if v.postgres.running else ()
    orders = o.give_key_up(v)
    return replace(orders, actions=(*orders.actions, *told), memory={**orders.memory, "told_role": "replica"})


def stopper(goal: Goal, mode: str = "fast", kind: str = "") -> Builder:
    """A builder that gives the leader key up and stops PostgreSQL."""
    usual = o.stopper(goal, mode, kind)

    def stop(v: View) -> Orders:
        orders = usual(v)
        changes = {**orders.memory, "told_role": "replica"}
        return replace(orders, actions=(*o.give_key_up(v).actions, *orders.actions), memory=changes)

    stop.__name__ = f"give the key up, {usual.__name__}"
    return stop
