"""The cluster of a run with the hands that faults lay on it, and the log of all that happened."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from tests.chaos.cuts import Cuts
from tests.chaos.freezer import Freezer
from tests.chaos.postgres import own_postgres
from tests.chaos.services import Service, Services
from tests.real.cluster import Cluster, in_namespaces
from tests.real.etcd import Member
from tests.real.network import NamespacedHost
from tests.real.node import Node
from tests.real.processes import Process, signal_all
from tests.real.programs import AgentProgram
from tests.real.settings import ClusterSettings
from tests.real.waiting import now


@dataclass(frozen=True)
class Happening:
    """One line of the log."""

    at: float
    kind: str
    text: str
    facts: dict[str, Any]


@dataclass
class Journal:
    """What happened, in order; each line is also printed."""

    began_at: float = field(default_factory=now)
    quiet: bool = False
    lines: list[Happening] = field(default_factory=list)

    def say(self, kind: str, text: str, **facts: Any) -> None:
        """Note it."""
        one = Happening(now(), kind, text, facts)
        self.lines.append(one)
        if not self.quiet:
            print(f"{one.at - self.began_at:8.2f}  {kind:9} {text}", flush=True)


@dataclass
class Stops:
    """Processes that stand still by SIGSTOP, and by which deeds."""

    _by: dict[int, set[int]] = field(default_factory=dict)

    def stop(self, deed: int, pids: Iterable[int]) -> None:
        """SIGSTOP."""
        self._by[deed] = set(pids)
        signal_all(self._by[deed], signal.SIGSTOP)

    def go_on(self, deed: int) -> None:
        """SIGCONT to those that no other deed has stopped."""
        mine = self._by.pop(deed, set())
        signal_all(mine - set().union(*self._by.values()), signal.SIGCONT)


@dataclass
class Trial:
    """What faults work on."""

    cluster: Cluster
    services: Services
    freezer: Freezer
    journal: Journal
    fence: bool
    """Whether the commit fence is in force."""
    cuts: Cuts = field(default_factory=Cuts)
    stops: Stops = field(default_factory=Stops)

    def node(self, name: str) -> Node:
        """A node by its name."""
        return self.cluster.node(name)

    def member(self, name: str) -> Member:
        """A member of etcd by its name."""
        return next(member for member in self.cluster.etcd.members if member.name == name)

    def host(self, name: str) -> NamespacedHost:
        """A host by its name."""
        assert self.cluster.network is not None
        return self.cluster.network.hosts[name]

    def agent_of(self, name: str) -> Process | None:
        """A node's agent, if it runs."""
        agent = self.node(name).agent
        return agent if agent is not None and agent.running else None

    def guard_of(self, name: str) -> int | None:
        """The process id of a node's guard, if there is one."""
        for pid in self.node(name).host.pids():
            with contextlib.suppress(OSError):
                if b"haagent.guard" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    return pid
        return None

    def kill_agent(self, name: str, deed: int) -> None:
        """SIGKILL it, and keep it down."""
        with self.services.turn:
            self.services.hold(name, deed)
            agent = self.agent_of(name)
            if agent is not None:
                agent.kill()


def _services(cluster: Cluster) -> list[Service]:
    members = [
        Service(member.name, partial(_runs, member.process), member.process.start) for member in cluster.etcd.members
    ]
    return [Service(node.name, partial(_agent_runs, node), node.start) for node in cluster.nodes] + members


def _agent_runs(node: Node) -> bool:
    return node.agent is not None and node.agent.running


def _runs(process: Process) -> bool:
    return process.running


@contextlib.contextmanager
def on_trial(program: AgentProgram, settings: ClusterSettings, journal: Journal, fence: bool) -> Iterator[Trial]:
    """A whole cluster of three nodes, with the commit fence if it is wanted and can be built here."""
    if os.geteuid() != 0:
        raise SystemExit("a cluster in network namespaces needs root: sudo make chaos")
    with Freezer() as freezer, in_namespaces(program, settings) as cluster:
        bin_dir, fenced = own_postgres(cluster.home, fence)
        for node in cluster.nodes:
            node.place = replace(node.place, bin_dir=bin_dir)
        cluster.start()
        with Services(
            _services(cluster), lambda name, text: journal.say("service", f"{name} {text}", service=name)
        ) as services:
            trial = Trial(cluster, services, freezer, journal, fenced)
            page = cluster.primary().sql("SELECT current_setting('haagent_fence.page', true)")[0][0]
            assert bool(page) is fenced, f"commit fence: wanted {fenced}, its page is {page}"
            try:
                yield trial
            finally:
                for node in cluster.nodes:
                    freezer.thaw(node.name)
