"""Gathers what the doctor judges of this node, each question with its deadline, before service and in it."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from haagent.config.load import Config
from haagent.config.problems import ConfigError
from haagent.core.conditions import as_upstream
from haagent.core.facts import FenceFacts, Member, Settings, Snapshot, View
from haagent.core.health.facts import HostFacts, Login, Name, NodeFacts, PathFacts, Road, SqlFacts
from haagent.core.health.judge import report
from haagent.core.lease import adjusted, timing
from haagent.dcs.etcd import EtcdDcs
from haagent.guard.fence import installed
from haagent.host.clock import BoottimeClock
from haagent.host.inspection import Places, looked, resolved
from haagent.host.threads import in_thread
from haagent.ports import PortError
from haagent.postgres.inspection import asked_here, logged_in, version_of_programs
from haagent.rest.settings import SettingsError
from haagent.wiring import certificate_files, etcd_kv, postgres_settings, state_dir

T = TypeVar("T")
DISK_S, NAMES_S, SQL_S, PORT_S, LOGINS_S, DCS_S = 3.0, 3.0, 3.0, 2.0, 10.0, 2.0
KEPT_S = 5.0
"""How long one answer serves all who ask."""
HTTP_PORTS = {"http": 80, "https": 443}


@dataclass
class _Patience:
    """Gives each question its time, and remembers which ones took longer."""

    late: list[str] = field(default_factory=list)

    async def for_(self, what: str, seconds: float, work: Awaitable[T], otherwise: T) -> T:
        try:
            async with asyncio.timeout(seconds):
                return await work
        except TimeoutError:
            self.late.append(f"{what} ({seconds:g} s)")
            return otherwise


async def gathered(config: Config, view: View | None) -> NodeFacts:
    """All that can be known of this node now; in service the loop's own view says the rest."""
    patience = _Patience()
    snapshot, why = _seen(view) if view is not None else await _asked_etcd(config)
    settings = view.settings if view is not None else _settings(config, snapshot)
    members = [m for m in snapshot.members if m.name != config.name] if snapshot else []
    places = _places(config, settings)
    nothing = PathFacts("")
    unknown = HostFacts("?", -1, nothing, nothing, nothing, looked=False)
    names = asyncio.create_task(_names(patience, places, members))
    host, sql, version = await asyncio.gather(
        patience.for_("files", DISK_S, _looked(places, unknown), unknown),
        patience.for_("PostgreSQL", SQL_S + 1, _asked_sql(config), (None, "no answer in time")),
        patience.for_("postgres --version", SQL_S, version_of_programs(postgres_settings(config), SQL_S), ""),
    )
    known = {name.host: name.addresses[0] for name in await names if name.addresses}
    logins = [patience.for_(f"logins at {m.name}", LOGINS_S, _logins(config, m, known), ()) for m in members]
    roads = [_road(*one, known) for one in _ends(members)]
    tried, let_in = await asyncio.gather(asyncio.gather(*roads), asyncio.gather(*logins))
    fence = view.fence if view is not None else await _fence(patience, config)
    return NodeFacts(
        wall=time.time(),
        me=config.me(),
        host=replace(host, names=names.result(), programs_version=version),
        settings=settings,
        timing=view.timing if view is not None else timing(settings.ttl, settings.loop_wait, settings.retry_timeout),
        warnings=config.warnings,
        watchdog_mode=config.watchdog.mode,
        fence_mode=config.postgresql.commit_fence,
        snapshot=snapshot,
        dcs=why,
        sql=sql[0],
        sql_why=sql[1],
        roads=tuple(tried),
        logins=tuple(one for some in let_in for one in some),
        fence_installed=fence.installed,
        fence_why=fence.why,
        view=view,
        unanswered=tuple(patience.late),
    )


class Doctor:
    """Answers ``GET /haagent/doctor``: one examination at a time, whose result serves all for a few seconds."""

    def __init__(self, config: Callable[[], Config], current: Callable[[], View]) -> None:
        self._config, self._current = config, current
        self._known: tuple[float, bytes] | None = None
        self._asking: asyncio.Task[bytes] | None = None

    async def __call__(self) -> bytes:
        """The report as JSON, with the time by this machine's wall clock at which it leaves."""
        known = self._known
        if known is not None and time.monotonic() - known[0] < KEPT_S:
            return _leaving(known[1])
        if self._asking is None:
            self._asking = asyncio.create_task(self._examine())
        return _leaving(await asyncio.shield(self._asking))

    async def _examine(self) -> bytes:
        try:
            body = json.dumps(report(await gathered(self._config(), self._current()))).encode()
            self._known = time.monotonic(), body
            return body
        finally:
            self._asking = None


def _leaving(report: bytes) -> bytes:
    return f'{{"wall": {time.time():.3f}, '.encode() + report[1:]


# --- what is asked, and where ---

_looking: set[threading.Thread] = set()


async def _looked(places: Places, otherwise: HostFacts) -> HostFacts:
    """A disk that hangs is not asked again before it has answered."""
    return otherwise if _looking else await in_thread(lambda: looked(places), _looking)


def _seen(view: View) -> tuple[Snapshot | None, str]:
    found = view.cluster.snapshot
    return found, "" if found else view.cluster.silent_why or "etcd has not been read yet"


async def _asked_etcd(config: Config) -> tuple[Snapshot | None, str]:
    try:
        dcs = EtcdDcs(etcd_kv(config), config.prefix, BoottimeClock())
    except SettingsError as error:
        return None, str(error)
    try:
        return await dcs.snapshot(DCS_S), ""
    except PortError as error:
        return None, f"etcd does not answer: {error}"
    finally:
        await dcs.close()


def _settings(config: Config, snapshot: Snapshot | None) -> Settings:
    document = snapshot.config.document if snapshot and snapshot.config else None
    try:
        found, _ = config.settings(document)
    except ConfigError:
        found, _ = config.settings(None)
    ttl, loop_wait, retry_timeout, _ = adjusted(found.ttl, found.loop_wait, found.retry_timeout)
    return replace(found, ttl=ttl, loop_wait=loop_wait, retry_timeout=retry_timeout)


def _places(config: Config, settings: Settings) -> Places:
    given, etcd, rest, ctl = config.postgresql, config.etcd3, config.restapi, config.ctl
    calls = {f"postgresql.callbacks.{name}": getattr(given.callbacks, name) for name in given.callbacks.__slots__}
    hooks = calls | {
        "postgresql.pre_promote": settings.pre_promote or given.pre_promote,
        "postgresql.before_stop": given.before_stop,
    }
    secrets = (config.source, etcd.key, rest.keyfile, ctl.keyfile)
    return Places(
        data_dir=Path(given.data_dir),
        state_dir=state_dir(config),
        password_file=postgres_settings(config).passfile,
        bin_dir=Path(given.bin_dir) if given.bin_dir else None,
        secrets=tuple(dict.fromkeys(one for one in secrets if one.startswith("/") or (one and Path(one).exists()))),
        hooks={name: command for name, command in hooks.items() if command},
        certificates=certificate_files(config),
        hosts={
            "postgresql.connect_address": given.connect_address.host,
            "restapi.connect_address": rest.connect_address.host,
        },
        watchdog=config.watchdog.device if config.watchdog.mode != "off" else "",
    )


async def _names(patience: _Patience, places: Places, members: list[Member]) -> tuple[Name, ...]:
    wanted = dict(places.hosts)
    for member in members:
        hosts = {urlsplit(url).hostname for url in (member.conn_url, member.api_url)}
        wanted |= {f"member {member.name} ({host})": host for host in hosts if host}

    async def one(owner: str, host: str) -> Name:
        late = Name(host, owner, why=f"the resolver did not answer within {NAMES_S:g} s")
        return await patience.for_(f"name {host}", NAMES_S, in_thread(lambda: resolved(owner, host)), late)

    return tuple(await asyncio.gather(*(one(owner, host) for owner, host in wanted.items())))


async def _asked_sql(config: Config) -> tuple[SqlFacts | None, str]:
    try:
        return await asked_here(postgres_settings(config), SQL_S), ""
    except PortError as error:
        return None, str(error)


async def _fence(patience: _Patience, config: Config) -> FenceFacts:
    mode, where = config.postgresql.commit_fence, config.postgresql.bin_dir
    there = mode != "off" and await patience.for_(
        "pg_config", DISK_S, in_thread(lambda: installed(Path(where) if where else None)), False
    )
    return FenceFacts(mode, there, why="" if there else "the commit fence is not installed for this PostgreSQL")


def _ends(members: list[Member]) -> list[tuple[str, str, str, int]]:
    """Peer, service, host and port of all that other members offer."""
    ends = []
    for member in members:
        rest, place = urlsplit(member.api_url), as_upstream(member.name, member.conn_url)
        if rest.hostname:
            ends.append((member.name, "REST API", rest.hostname, rest.port or HTTP_PORTS.get(rest.scheme, 8008)))
        if place is not None:
            ends.append((member.name, "PostgreSQL", place.host, place.port))
    return ends


async def _road(peer: str, service: str, host: str, port: int, known: Mapping[str, str]) -> Road:
    """To an address that is known already: no resolver that hangs may take the event loop's threads."""
    begun, where = time.monotonic(), f"{host}:{port}"
    if host not in known:
        return Road(peer, service, where, why="its name is not resolved")
    try:
        async with asyncio.timeout(PORT_S):
            _, writer = await asyncio.open_connection(known[host], port)
    except TimeoutError:
        return Road(
            peer, service, where, why=f"no answer within {PORT_S:g} s: packets are dropped, or the host is down"
        )
    except OSError as error:
        return Road(peer, service, where, why=error.strerror or str(error))
    took_ms = 1000 * (time.monotonic() - begun)
    writer.close()
    return Road(peer, service, where, took_ms)


async def _logins(config: Config, member: Member, known: Mapping[str, str]) -> tuple[Login, ...]:
    place = as_upstream(member.name, member.conn_url)
    if place is None or place.host not in known:
        return ()
    return await logged_in(postgres_settings(config), place, known[place.host])
