"""Whom a command speaks to: the cluster's keys in etcd and the agents of its members."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import aiohttp
import click

from haagent.config.load import Config, load
from haagent.config.problems import ConfigError
from haagent.core.facts import Document, Member, Settings, Snapshot
from haagent.core.health.etcd import EtcdFacts
from haagent.dcs.client import EtcdClient
from haagent.dcs.etcd import EtcdDcs
from haagent.host.clock import BoottimeClock
from haagent.outside import client_settings, etcd_settings
from haagent.ports import Dcs, PortError
from haagent.rest.client import RequestError, Response, RestClient

DCS_TIMEOUT_S = 5.0
REQUEST_TIMEOUT_S = 10.0
PROBE_TIMEOUT_S = 1.0
PLACES = (
    "~/.config/haagent/haagent-ctl.yml",
    "~/.config/patroni/patronictl.yaml",
    "/etc/haagent/haagent.yml",
    "/etc/patroni/patroni.yml",
    "/etc/patroni.yml",
)
"""Where a configuration is looked for when none is named; the first that is there counts."""
VARIABLES = ("HAAGENTCTL_CONFIG_FILE", "PATRONICTL_CONFIG_FILE")


class Failed(click.ClickException):
    """The command was refused or went wrong; the text says why (exit code 1)."""


class Keys(Dcs, Protocol):
    """What the command line may do in etcd: what agents do, and forget a whole cluster; ``EtcdDcs`` is one."""

    async def remove_all(self, timeout: float) -> int: ...


class Agents(Protocol):
    """The agents' REST APIs; ``RestClient`` is one."""

    async def request(
        self, method: str, api_url: str, path: str, body: object = None, timeout: float | None = None
    ) -> Response: ...


@dataclass(frozen=True, slots=True)
class Options:
    """What was said before the command's name."""

    config_file: str | None = None
    dcs_url: str | None = None
    insecure: bool = False


@dataclass(frozen=True, slots=True)
class Target:
    """One cluster, and the agents that can be asked about it."""

    cluster: str
    dcs: Keys
    agents: Agents
    check: Callable[[Document], tuple[Settings, tuple[str, ...]]]
    """Settings of a dynamic configuration, and warnings; ConfigError when it cannot be used."""
    poll_s: float = 0.1
    """How often a change under way is looked at."""
    survey: Callable[[float], Awaitable[EtcdFacts]] | None = None
    """What every endpoint of etcd says of itself, within so many seconds; PortError when none is known."""

    async def snapshot(self) -> Snapshot:
        """The cluster now; Failed when etcd does not answer."""
        try:
            return await self.dcs.snapshot(DCS_TIMEOUT_S)
        except PortError as error:
            raise Failed(f"etcd does not answer: {error}. See `etcdctl endpoint health`") from None

    async def existing(self) -> Snapshot:
        """The cluster now; Failed when there is no such cluster."""
        snapshot = await self.snapshot()
        if not snapshot.members and snapshot.initialize is None:
            raise Failed(f"There is no cluster {self.cluster} in etcd: no members, no `initialize` key")
        return snapshot

    async def ask(
        self, method: str, member: Member, path: str, body: object = None, timeout: float = REQUEST_TIMEOUT_S
    ) -> Response:
        """What a member's agent answers; RequestError when it does not."""
        return await self.agents.request(method, member.api_url, path, body, timeout)

    async def status(self, member: Member, timeout: float = PROBE_TIMEOUT_S) -> Mapping[str, Any] | None:
        """A member's status JSON; None when its agent does not give one."""
        try:
            document = (await self.ask("GET", member, "/patroni", timeout=timeout)).document
        except RequestError:
            return None
        return document if isinstance(document, Mapping) else None


Open = Callable[[Options, str | None], AbstractAsyncContextManager[Target]]
"""Opens the cluster of that name; None: the one that the configuration names."""


def never_sent(error: RequestError) -> bool:
    """Whether a failed request surely did not reach the agent."""
    return isinstance(error.__cause__, aiohttp.ClientConnectorError)


def boottime() -> float:
    """Seconds on CLOCK_BOOTTIME."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def config_file(options: Options, environ: Mapping[str, str]) -> str | None:
    """The configuration file to read; None when there is none and the environment alone must do."""
    if options.config_file:
        return options.config_file
    for variable in VARIABLES:
        if environ.get(variable):
            return environ[variable]
    home = environ.get("HOME", "")
    for place in PLACES:
        path = place.replace("~", home, 1)
        if os.access(path, os.R_OK) and Path(path).is_file():
            return path
    return None


def endpoints(dcs_url: str) -> str:
    """The endpoints of a ``--dcs-url`` such as ``etcd3://10.0.0.1:2379,10.0.0.2:2379``."""
    scheme, separator, hosts = dcs_url.partition("://")
    if not separator:
        scheme, hosts = "etcd3", dcs_url
    if scheme != "etcd3" or not hosts.strip("/") or "@" in hosts:
        raise click.UsageError("--dcs-url must look like etcd3://HOST:PORT[,HOST:PORT...], without user and password")
    return hosts.strip("/")


def configuration(options: Options, cluster: str | None, environ: Mapping[str, str]) -> Config:
    """The settings of the command line for that cluster."""
    changed = dict(environ)
    if cluster:
        changed["HAAGENT_SCOPE"] = cluster
    if options.dcs_url:
        changed["HAAGENT_ETCD3_HOSTS"] = endpoints(options.dcs_url)
    path = config_file(options, environ)
    try:
        config = load(path, changed, client=True)
    except ConfigError as error:
        hint = (
            ""
            if path
            else "\nNo configuration file was read: name one with -c, or give CLUSTER and -d etcd3://HOST:PORT"
        )
        raise Failed(f"{error}{hint}") from None
    return replace(config, scope=cluster) if cluster else config


@asynccontextmanager
async def open_target(options: Options, cluster: str | None) -> AsyncIterator[Target]:
    """The real thing: etcd and agents as configured."""
    config = configuration(options, cluster, os.environ)
    try:
        agents = RestClient(client_settings(config, options.insecure))
        etcd = EtcdClient(etcd_settings(config))
        dcs = EtcdDcs(etcd, config.prefix, BoottimeClock())
    except ValueError as error:
        raise Failed(f"{config.source}: {error}") from None
    try:
        yield Target(config.scope, dcs, agents, config.check, survey=etcd.survey)
    finally:
        await agents.close()
        await dcs.close()


def ask_first(prompt: str, force: bool) -> None:
    """Go on only when the operator says so; without a terminal or an answer nothing happens."""
    if force:
        return
    try:
        agreed = click.confirm(prompt)
    except click.Abort:
        agreed = False
    if not agreed:
        raise Failed("Nothing was changed: it was not confirmed (in scripts use --force)")
