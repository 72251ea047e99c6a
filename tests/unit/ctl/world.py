"""A cluster that the command line is let loose on: keys in memory, and agents that answer as they are told."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, cast

import aiohttp
import click
from click.testing import CliRunner, Result

from haagent.config.problems import ConfigError, Problem
from haagent.core.facts import ConfigKey, Document, Member, Settings, Snapshot
from haagent.core.terms import Revision, Term
from haagent.ctl.commands import cli
from haagent.ctl.target import Keys, Options, Target
from haagent.ports import Refused, Unreachable
from haagent.rest.client import RequestError, Response
from tests.builders import a_leader_key, a_snapshot

CLUSTER = "demo"


class FakeDcs:
    """The keys of one cluster; ``on_read`` may change them before each look."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.now = snapshot
        self.silent = False
        self.on_read: Callable[[], None] = lambda: None
        self.asked: list[tuple[str | None, str | None, str | None]] = []
        self.before_write: Callable[[], None] = lambda: None

    async def snapshot(self, timeout: float) -> Snapshot:
        if self.silent:
            raise Unreachable(f"none of 3 endpoints answered within {timeout:g} s")
        self.on_read()
        return self.now

    async def put_config(self, document: Document, expected: Revision | None, timeout: float) -> None:
        self.before_write()
        key = self.now.config
        if key is None or key.revision != expected:
            raise Refused(f"the config key is at revision {key.revision if key else None}")
        self.now = replace(self.now, config=ConfigKey(Revision(key.revision + 1), document))

    async def remove_all(self, timeout: float) -> int:
        self.before_write()
        self.now = Snapshot(Revision(int(self.now.revision) + 1))
        return 9

    async def put_failover(
        self,
        leader: str | None,
        candidate: str | None,
        scheduled_at: str | None,
        expected: Revision | None,
        timeout: float,
    ) -> None:
        self.asked.append((leader, candidate, scheduled_at))


Answerer = Callable[[Any], Response]


def answer(status: int, text: str = "", document: Any = None) -> Answerer:
    """An answer that is always the same."""
    return lambda _body: Response(status, text, document)


@dataclass
class FakeAgents:
    """Agents by the host of their ``api_url``; whoever is ``down`` refuses connections."""

    status: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    answers: dict[tuple[str, str], Answerer] = field(default_factory=dict)
    """(method, path) to what every agent answers."""
    down: set[str] = field(default_factory=set)
    seen: list[tuple[str, str, str, Any]] = field(default_factory=list)
    """(host, method, path, body) of everything but GET."""
    journals: dict[str, list[Any]] = field(default_factory=dict)
    """What each agent's journal holds; whoever is not in it keeps none."""
    reports: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    """What each agent's doctor finds; whoever is not in it has none."""

    async def request(
        self, method: str, api_url: str, path: str, body: object = None, timeout: float | None = None
    ) -> Response:
        host = api_url.split("//")[1].split(":")[0]
        if host in self.down:
            refused = aiohttp.ClientConnectorError(cast(Any, None), OSError(111, "Connection refused"))
            raise RequestError(f"{method} {path} at http://{host}:8008: no connection") from refused
        if method == "GET" and path.startswith("/haagent/journal"):
            kept = host in self.journals
            return Response(200, "", self.journals[host]) if kept else Response(503, "", {"state": "running"})
        if method == "GET" and path == "/haagent/doctor":
            return Response(200 if host in self.reports else 404, "", self.reports.get(host))
        if method == "GET":
            if host not in self.status:
                raise RequestError(
                    f"GET {path} at http://{host}:8008: no answer within {timeout} s"
                ) from TimeoutError()
            return Response(200, "", self.status[host])
        self.seen.append((host, method, path, body))
        return self.answers[method, path](body)


@dataclass
class World:
    """What the command line finds, and the command line."""

    dcs: FakeDcs = field(default_factory=lambda: FakeDcs(a_snapshot()))
    agents: FakeAgents = field(default_factory=FakeAgents)
    opened: list[tuple[Options, str | None]] = field(default_factory=list)

    def run(self, *words: str, typed: str | None = None) -> Result:
        return CliRunner().invoke(cli, list(words), obj=self.open, input=typed)

    @asynccontextmanager
    async def open(self, options: Options, cluster: str | None) -> AsyncIterator[Target]:
        self.opened.append((options, cluster))
        yield Target(cluster or CLUSTER, cast(Keys, self.dcs), self.agents, check, poll_s=0.001)

    def change(self, **changes: Any) -> None:
        self.dcs.now = replace(self.dcs.now, **changes)

    def change_member(self, name: str, **changes: Any) -> None:
        members = tuple(replace(m, **changes) if m.name == name else m for m in self.dcs.now.members)
        self.change(members=members)

    def member(self, name: str) -> Member:
        found = self.dcs.now.member(name)
        assert found is not None
        return found

    def lead(self, name: str, term: int) -> None:
        self.change(leader=a_leader_key(name, term=Term(term)))


def check(document: Document) -> tuple[Settings, tuple[str, ...]]:
    """Refuses a ttl below 3, warns of an unknown key."""
    ttl = document.get("ttl", 10)
    if not isinstance(ttl, int) or ttl < 3:
        raise ConfigError([Problem("dynamic configuration", ("ttl",), "expected at least 3", str(ttl))])
    return Settings(ttl=ttl), tuple(f"{key} is not known" for key in document if key == "ttll")


def primary_status(timeline: int = 1, **more: Any) -> dict[str, Any]:
    own = {"version": "0.1.0", "state": "primary", "guard": {"alive": True, "armed": True}, "permit_s": 7.5}
    xlog = {"location": 83886080}
    return {
        "state": "running",
        "role": "primary",
        "timeline": timeline,
        "server_version": 150020,
        "xlog": xlog,
        "postmaster_start_time": "1",
        "haagent": own,
    } | more


def standby_status(timeline: int = 1, **more: Any) -> dict[str, Any]:
    own = {"version": "0.1.0", "state": "standby", "guard": {"alive": True, "armed": False}}
    xlog = {"received_location": 83886080, "replayed_location": 83886080}
    return {
        "state": "running",
        "role": "replica",
        "timeline": timeline,
        "server_version": 150020,
        "xlog": xlog,
        "replication_state": "streaming",
        "postmaster_start_time": "1",
        "haagent": own,
    } | more


def lines(result: Result) -> list[str]:
    return click.unstyle(result.output).splitlines()
