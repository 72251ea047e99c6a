"""The production agent, set upon the ports of a simulated node."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from haagent.agent.loop import Agent
from haagent.agent.perform import Ports
from haagent.core.actions import Plan
from haagent.core.facts import Document, Remote, Settings, View
from haagent.core.lease import timing
from haagent.core.methods import ReplicaMethod
from haagent.dcs.etcd import EtcdDcs
from haagent.watchdog.device import WatchdogSettings
from tests.sim.world.dcs import MEMBERS, PREFIX, HeardKv, SimLink
from tests.sim.world.events import StateChanged
from tests.sim.world.fence import SimFence
from tests.sim.world.guard import SimGuard
from tests.sim.world.hosts import SimStore
from tests.sim.world.knobs import Knobs
from tests.sim.world.peers import SimPeers
from tests.sim.world.postgres import SimPostgres
from tests.sim.world.watchdog import SimWatchdog

if TYPE_CHECKING:
    from tests.sim.world.hosts import Host
    from tests.sim.world.time import Process
    from tests.sim.world.world import World

DYNAMIC = (
    *("ttl", "loop_wait", "retry_timeout", "pause", "primary_start_timeout", "primary_stop_timeout"),
    *("synchronous_mode", "synchronous_mode_strict", "synchronous_node_count", "failsafe_mode"),
)


def settings_reader(knobs: Knobs) -> Callable[[Document | None], Settings]:
    """What ``config`` stands for in this world; ValueError when the timing contradicts itself."""
    base = Settings(
        ttl=knobs.ttl,
        loop_wait=knobs.loop_wait,
        retry_timeout=knobs.retry_timeout,
        maximum_lag_on_failover=knobs.maximum_lag_on_failover,
        primary_start_timeout=knobs.primary_start_timeout,
        primary_stop_timeout=knobs.primary_stop_timeout,
        pre_promote="ask" if knobs.pre_promote else None,
        synchronous_mode=knobs.synchronous_mode,
        synchronous_mode_strict=knobs.synchronous_mode_strict,
        synchronous_node_count=knobs.synchronous_node_count,
        failsafe_mode=knobs.failsafe_mode,
        use_pg_rewind=knobs.use_pg_rewind,
        remove_data_directory_on_rewind_failure=knobs.may_discard,
        remove_data_directory_on_diverged_timelines=knobs.may_discard,
        replica_methods=(ReplicaMethod("backup", no_leader=True),) if knobs.backups else (ReplicaMethod(),),
        bootstrap_document=knobs.document(),
    )

    def read(document: Document | None) -> Settings:
        given = knobs.document() if document is None else document
        found: dict[str, Any] = {key: value for key, value in (document or {}).items() if key in DYNAMIC}
        follows = given.get("standby_cluster")
        settings = replace(base, **found, standby_cluster=Remote(follows["host"]) if follows else None)
        timing(settings.ttl, settings.loop_wait, settings.retry_timeout)
        return settings

    return read


def production_agent(world: World, host: Host, process: Process) -> Agent:
    """One node's agent as ``app.py`` would compose it."""

    def noted(view: View, plan: Plan) -> None:
        world.rows_taken[plan.row] += 1
        if view.snapshot is not None or view.settings.pause:
            host.believes(paused=view.settings.pause)
        old, new = view.memory.state, plan.memory.state
        if old is not new:
            world.log(StateChanged(world.now, host.name, old.value, new.value, plan.row, plan.why))

    links = [SimLink(world.etcd, host, process, member) for member in MEMBERS]
    ports = Ports(
        dcs=EtcdDcs(HeardKv(world.etcd, host, links), PREFIX, host.clock, lambda: f"{host.name}{world.next_uid()}"),
        postgres=SimPostgres(world, host, process),
        guard=SimGuard(world, host, process),
        peers=SimPeers(world, host),
        clock=host.clock,
        store=SimStore(host),
        fence=SimFence(host),
        watchdog=SimWatchdog(WatchdogSettings(world.knobs.watchdog, safety_margin=world.knobs.safety_margin), host),
    )
    return Agent(world.me(host), ports, settings_reader(world.knobs), noted=noted)
