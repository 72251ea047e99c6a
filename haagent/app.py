"""The composition root: configuration, adapters, tasks; the only module that imports all others."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import os
import secrets
import signal
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from haagent import __version__, tools
from haagent.agent import journal
from haagent.agent.loop import Agent
from haagent.agent.perform import Ports
from haagent.agent.protections import Protections
from haagent.agent.standstill import Standstills
from haagent.config.load import Config, load
from haagent.config.logs import Logs
from haagent.config.problems import ConfigError
from haagent.core.actions import Plan
from haagent.core.facts import Document, FenceReport, Settings, View
from haagent.core.lease import KILL_TIME_S
from haagent.core.states import State
from haagent.core.terms import Instant
from haagent.dcs.etcd import EtcdDcs
from haagent.doctor import Doctor
from haagent.guard import tree
from haagent.guard.client import GuardClient
from haagent.guard.fence import CommitFence
from haagent.host.clock import BoottimeClock
from haagent.host.journal import FileJournal
from haagent.host.store import FileStore
from haagent.host.systemd import Notifier
from haagent.host.threads import in_thread
from haagent.outside import client_settings, etcd_settings
from haagent.ports import PortError
from haagent.postgres.adapter import PostgresAdapter
from haagent.rest.client import RestPeers
from haagent.rest.metrics import Counters
from haagent.rest.server import ListenError, RestServer
from haagent.rest.settings import SettingsError
from haagent.watchdog.device import DeviceWatchdog
from haagent.wiring import (
    certificates,
    etcd_kv,
    postgres_settings,
    rest_settings,
    state_dir,
    watchdog_settings,
)

log = logging.getLogger("haagent")

KILL_GRACE_S = 0.05
"""Between SIGQUIT, which lets backends tell their clients, and SIGKILL."""
JOURNAL_TIMEOUT_S = 1.0
"""How long an agent that ends waits for the disk to take its last decisions."""
DISK_S = 3.0
"""How long an agent that starts waits for what it knew before."""
CERTIFICATES_EVERY_S = 10.0
"""How often it is looked whether the files of certificates were replaced, or end soon."""
DYNAMIC_COPY = "patroni.dynamic.json"
"""Where the data directory keeps the dynamic configuration, for a start without etcd."""


class Service:
    """One node's agent with everything around it."""

    def __init__(self, path: str | None, config: Config, logs: Logs, known: Document | None = None) -> None:
        self._path, self._config, self._logs, self._known = path, config, logs, known
        self._clock = BoottimeClock()
        self._notifier = Notifier(os.environ)
        self._rows: Counter[int] = Counter()
        self._ticks = self._fences = 0
        self._standstills = Standstills(self._clock)
        self._protections = Protections()
        self._last_fence: FenceReport | None = None
        self._uncopied: Document | None = None
        self._ticked_at = self._clock.now()
        here = state_dir(config)
        here.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._run_id = secrets.token_hex(4)
        self._written = FileJournal(here)
        self._journal = journal.Journal(self._written, self._run_id, self._clock.now)
        data_dir = Path(config.postgresql.data_dir)
        self._guard = GuardClient(data_dir, here, KILL_TIME_S, self._clock)
        self._postgres = PostgresAdapter(postgres_settings(config), self._kill_tree, self._clock.now)
        self._dcs = EtcdDcs(etcd_kv(config), config.prefix, self._clock)
        self._moving: set[asyncio.Task[None]] = set()
        """From one client of etcd to another."""
        self._peers = RestPeers(client_settings(config), self._clock.now)
        given = config.postgresql
        fence = CommitFence(given.commit_fence, data_dir, Path(given.bin_dir) if given.bin_dir else None, here)
        store = FileStore(here)
        self._watchdog = DeviceWatchdog(
            watchdog_settings(config), self._clock, left=_left_running(store.load().get("watchdog"), self._clock.now())
        )
        ports = Ports(self._dcs, self._postgres, self._guard, self._peers, self._clock, store, fence, self._watchdog)
        self._agent = Agent(
            config.me(),
            ports,
            self._settings,
            callbacks=_callbacks(config),
            validate=self._validate,
            reload=self.reload,
            noted=self._note,
            done=self._journal.done,
        )
        self._guard.on_change(self._agent.wake)
        self._certificates = certificates(config)
        self._rest = RestServer(
            rest_settings(config),
            self._agent.current,
            self._agent.submit,
            lambda: self._ticked_at,
            self._counters,
            self._written.recent,
            Doctor(lambda: self._config, self._agent.current),
        )

    async def run(self) -> int:
        """Serve until stopped; the exit code."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._stop)
        loop.add_signal_handler(signal.SIGINT, self._stop)
        loop.add_signal_handler(signal.SIGHUP, self.reload)
        if await self._name_is_taken():
            return 1
        await self._rest.start()
        watching = [loop.create_task(one) for one in (self._watch_certificates(), self._standstills.watch())]
        self._written.start()
        self._written.add(journal.began(self._config.me(), self._run_id, self._clock.wall(), self._clock.now()))
        try:
            code = await self._agent.run()
            if code == 0:
                with contextlib.suppress(PortError):
                    await self._guard.quit(1.0)
        finally:
            self._notifier.stopping()
            for task in watching:
                task.cancel()
            await self._rest.stop()
            await self._peers.close()
            await self._dcs.close()
            await in_thread(lambda: self._written.close(JOURNAL_TIMEOUT_S))
        return code

    async def _name_is_taken(self) -> bool:
        """Whether an agent of this node's name runs elsewhere; a silent member key is no obstacle."""
        try:
            snapshot = await self._dcs.snapshot(2.0)
        except PortError as why:
            log.warning("etcd does not answer, so that it is not known whether this name is taken: %s", why)
            return False
        namesake = snapshot.member(self._config.name)
        if namesake is None or not namesake.api_url or not await self._peers.alive(namesake, 1.0):
            return False
        log.critical(
            "a member named %s of cluster %s is running already and answers at %s; nothing was touched. "
            "Give this node another name, or stop the other one",
            self._config.name,
            self._config.scope,
            namesake.api_url,
        )
        return True

    # --- settings ---

    def _settings(self, document: Document | None) -> Settings:
        """The settings in use; of the document last known while etcd has none. ValueError when invalid."""
        stored, document = document, self._known if document is None else document
        try:
            settings, notes = self._config.settings(document)
        except ConfigError as error:
            raise ValueError(str(error)) from None
        if stored is not None:
            self._known = self._uncopied = stored
        for note in notes:
            log.warning("%s", note)
        return replace(settings, known_document=document or {})

    def _validate(self, document: Document) -> None:
        """What operators write must fit as it is; nothing is adjusted for them. ValueError with the reason."""
        try:
            self._config.check(document)
        except ConfigError as error:
            raise ValueError(str(error)) from None

    def reload(self) -> None:
        """Read the file again; one that is not valid changes nothing."""
        self._notifier.reloading()
        try:
            config = load(self._path, os.environ)
        except ConfigError as error:
            log.error("the configuration is not valid and was not taken; the present one stays in force:\n%s", error)
            self._notifier.ready()
            return
        fixed = ("scope", "namespace", "name")
        changed = [key for key in fixed if getattr(config, key) != getattr(self._config, key)]
        if changed or config.postgresql.data_dir != self._config.postgresql.data_dir:
            log.warning("%s can't change while the agent runs: restart it", ", ".join(changed) or "postgresql.data_dir")
            config = replace(config, **{key: getattr(self._config, key) for key in fixed})
        before, self._config = self._config, config
        self._postgres.settings = postgres_settings(config)
        self._watchdog.settings = watchdog_settings(config)
        self._certificates = certificates(config)
        self._logs.apply(config.log)
        self._agent.reread(config.me(), _callbacks(config))
        self._reloading = asyncio.get_running_loop().create_task(self._reconfigure_rest(config))
        if etcd_settings(config) != etcd_settings(before):
            self._reach_etcd_by(config)
        log.info("the configuration was read again")
        self._notifier.ready()

    async def _reconfigure_rest(self, config: Config) -> None:
        try:
            await self._rest.reconfigure(rest_settings(config))
            await self._peers.reconfigure(client_settings(config))
        except (ListenError, SettingsError) as error:
            log.error("the REST API keeps its present settings: %s", error)

    def _reach_etcd_by(self, config: Config) -> None:
        try:
            changed = etcd_kv(config)
        except SettingsError as error:
            log.error("etcd is reached by its present settings: %s", error)
            return
        log.info("etcd is reached by new settings: %s", ", ".join(config.endpoints) or f"SRV of {config.etcd3.srv}")
        task = asyncio.get_running_loop().create_task(self._dcs.use(changed))
        self._moving.add(task)
        task.add_done_callback(self._moving.discard)

    async def _watch_certificates(self) -> None:
        """Serve by certificates that were replaced, and warn of those that end; etcd's client reads its own again."""
        while True:
            if await in_thread(lambda: self._certificates.look(self._clock.wall())):
                log.info("files of certificates were replaced: they are read again")
                await self._reconfigure_rest(self._config)
            await asyncio.sleep(CERTIFICATES_EVERY_S)

    # --- what the agent calls ---

    async def _kill_tree(self) -> int:
        data_dir = self._guard.data_dir
        count, _, _ = await in_thread(lambda: tree.end(str(data_dir), KILL_GRACE_S, KILL_TIME_S))
        return count

    def _stop(self) -> None:
        self._notifier.stopping()
        self._agent.stop()

    def _note(self, view: View, plan: Plan) -> None:
        self._ticks += 1
        self._journal.noted(view, plan)
        if view.guard.fired is not None and view.guard.fired != self._last_fence:
            self._fences += 1
        self._last_fence = view.guard.fired
        self._rows[plan.row] += 1
        self._protections.noted(view, plan.memory.state)
        self._keep_copy(view)
        self._ticked_at = view.now
        status = f"{plan.memory.state.value}: {plan.memory.why}"
        if self._ticks == 1:
            self._notifier.ready(status)
        self._notifier.alive(status)

    def _keep_copy(self, view: View) -> None:
        """Copy the dynamic configuration into the data directory, once that is known to be this cluster's own."""
        if self._uncopied is None or view.memory.state not in (State.STANDBY, State.STANDBY_LEADER, State.PRIMARY):
            return
        document, self._uncopied = self._uncopied, None
        copy = Path(self._config.postgresql.data_dir) / DYNAMIC_COPY
        self._copying = asyncio.get_running_loop().create_task(in_thread(lambda: _write_json(copy, document)))

    def _counters(self) -> Counters:
        renewals, failed = self._agent.renewals()
        took = self._agent.renewals_took()
        return Counters(
            rows=dict(self._rows),
            ticks=self._ticks,
            stalls=self._standstills.count,
            renewals=renewals,
            renewals_failed=failed,
            renewals_took=took.buckets(),
            renewals_took_s=took.sum_s,
            fences=self._fences,
            journal_lost=self._written.lost,
            certificates=self._certificates.ends,
        )


def _left_running(opened_at: object, now: Instant) -> bool:
    """Whether an earlier agent opened the watchdog device and never stopped it, in this boot as far as can be told."""
    return isinstance(opened_at, int) and opened_at <= now


def _callbacks(config: Config) -> dict[str, str]:
    given = config.postgresql.callbacks
    names = ("on_start", "on_stop", "on_restart", "on_reload", "on_role_change")
    return {name: command for name in names if (command := getattr(given, name))}


def _read_json(path: Path) -> Document | None:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _write_json(path: Path, document: Document) -> None:
    fresh = path.with_suffix(".new")
    try:
        fresh.write_text(json.dumps(dict(document)))
        fresh.replace(path)
    except OSError as why:
        log.warning("%s can't be written: %s", path, why)


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="haagent", description="High availability for one PostgreSQL node.")
    parser.add_argument("config", nargs="?", metavar="FILE", help="the configuration; else the environment's")
    parser.add_argument("--validate-config", action="store_true", help="check the configuration and end")
    parser.add_argument(
        "-p", "--print", action="store_true", help="with --validate-config: show every setting and its origin"
    )
    parser.add_argument(
        "--generate-config", action="store_true", help="write FILE for the PostgreSQL that runs here, and end"
    )
    parser.add_argument("--dsn", default="", help="with --generate-config: how to connect to it, as a superuser")
    parser.add_argument("--generate-sample-config", action="store_true", help="write a complete sample, and end")
    parser.add_argument("--doctor", action="store_true", help="check this node before service, and end")
    parser.add_argument("--version", action="version", version=f"haagent {__version__}")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """The command ``haagent``."""
    given = arguments(argv)
    if given.validate_config or given.print:
        return tools.validate(given.config, os.environ, given.print)
    if given.generate_sample_config:
        return tools.generate_sample(given.config)
    if given.doctor:
        return tools.doctor(given.config, os.environ)
    if given.generate_config:
        return tools.generate_config(given.config, given.dsn, os.environ)
    try:
        config = load(given.config, os.environ)
    except ConfigError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 1
    if os.geteuid() == 0:
        print("haagent must not run as root: PostgreSQL refuses to. Run it as user postgres.", file=sys.stderr)  # noqa: T201
        return 1
    logs = Logs(config.log)
    try:
        return _run(given.config, config, logs)
    finally:
        logs.stop()


def _run(path: str | None, config: Config, logs: Logs) -> int:
    for warning in config.warnings:
        log.warning("%s", warning)
    log.info("haagent %s, node %s of cluster %s, pid %d", __version__, config.name, config.scope, os.getpid())
    try:
        return asyncio.run(_serve(path, config, logs))
    except (ListenError, SettingsError, OSError) as error:
        log.critical("haagent can't start: %s", error)
    except Exception:
        log.critical("haagent ends because of an error of its own; the permit now runs out", exc_info=True)
    return 1


async def _serve(path: str | None, config: Config, logs: Logs) -> int:
    return await Service(path, config, logs, await last_known(config.postgresql.data_dir)).run()


async def last_known(data_dir: str) -> Document | None:
    """The dynamic configuration that the data directory keeps; None also while its disk hangs."""
    copy = Path(data_dir) / DYNAMIC_COPY
    try:
        async with asyncio.timeout(DISK_S):
            return await in_thread(lambda: _read_json(copy))
    except TimeoutError:
        log.warning("%s is not read: its disk has not answered for %g s", copy, DISK_S)
        return None


if __name__ == "__main__":
    sys.exit(main())
