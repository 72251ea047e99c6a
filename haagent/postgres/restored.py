"""The first data directory of a cluster as an operator's program makes it, and its recovery up to where it is to begin.

Source of the flags' meaning: Patroni's documentation, "Replica imaging and bootstrap", Custom bootstrap.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import psycopg

from haagent.core.facts import Progress
from haagent.core.methods import BootstrapMethod
from haagent.ports import Refused, Report
from haagent.postgres import render
from haagent.postgres.control import read_control
from haagent.postgres.custom import command_words, path_with_programs
from haagent.postgres.disk import on_disk
from haagent.postgres.files import read_text, write_atomically, write_if_changed
from haagent.postgres.programs import clean_environment, run_checked
from haagent.postgres.settings import PostgresSettings
from haagent.postgres.sql import Connection, told

log = logging.getLogger(__name__)

SIGNALS = ("recovery.signal", "standby.signal")
RECOVERY_STATE = (
    "SELECT pg_is_in_recovery() AS recovering,"
    " CASE WHEN pg_is_in_recovery() THEN pg_get_wal_replay_pause_state() = 'paused' ELSE false END AS paused"
)


@dataclass(frozen=True, slots=True)
class Start:
    """How the server of a bootstrap is started besides what its configuration says."""

    parameters: Mapping[str, str]
    least: Callable[[str], int] | None = None
    """The least values of parameters with which recovery works."""
    recovers: bool = False
    """It may recover for hours before it accepts writes."""


INITIAL = Start({})
"""After initdb."""


async def make(
    settings: PostgresSettings,
    method: BootstrapMethod,
    note: Callable[[int], Awaitable[None]],
    report: Report,
) -> Start:
    """Run the operator's program on an empty data directory; how its server is to be started. Refused when it fails."""
    await on_disk(lambda: _check_empty(settings.data_dir))
    report(Progress("custom bootstrap"))
    await run_checked(
        command_words(method, {"scope": settings.cluster_name, "datadir": str(settings.data_dir)}),
        env=clean_environment({"PATH": path_with_programs(settings)}),
        on_line=lambda said: log.info("%s: %s", method.name, said),
        on_start=note,
    )
    control = await read_control(settings)
    parameters = await on_disk(lambda: _prepare(settings.data_dir, method))
    return Start(parameters, control.least, recovers=True)


def _check_empty(data_dir: Path) -> None:
    if data_dir.exists() and os.listdir(data_dir):
        raise Refused(f"{data_dir} is not empty: no cluster is made in it")


def _prepare(data_dir: Path, method: BootstrapMethod) -> dict[str, str]:
    """Leave only the recovery that is wanted; its parameters. Blocking."""
    data_dir.chmod(0o750 if data_dir.stat().st_mode & 0o050 == 0o050 else 0o700)
    if method.keep_existing_recovery_conf:
        if (data_dir / "standby.signal").exists():
            raise Refused(
                f"{method.name} left a standby.signal in {data_dir}: recovery would never end; let it "
                f"write recovery.signal, or set keep_existing_recovery_conf to false"
            )
        return {}
    for name in SIGNALS:
        (data_dir / name).unlink(missing_ok=True)
    auto = data_dir / "postgresql.auto.conf"
    text = read_text(auto)
    if text is not None:
        write_if_changed(auto, render.without_recovery(text))
    if not method.recovery_conf:
        return {}
    write_atomically(data_dir / "recovery.signal", "")
    return {"recovery_target_timeline": "latest", "recovery_target_action": "promote", **method.recovery_conf}


async def recovered(connection: Connection, alive: Callable[[], bool], report: Report) -> None:
    """Wait until the server accepts writes; Refused when it ends before, or pauses at its recovery target."""
    report(Progress("recovery"))
    while alive():
        with contextlib.suppress(psycopg.errors.ObjectNotInPrerequisiteState):
            try:
                state = await (await connection.execute(RECOVERY_STATE)).fetchone()
            except psycopg.OperationalError as error:
                raise Refused(f"the server ended during its recovery: {told(error)}; see its log") from error
            assert state is not None
            if not state["recovering"]:
                return
            if state["paused"]:
                raise Refused("recovery is paused at its target: recovery_target_action must be promote")
        await asyncio.sleep(0.2)
    raise Refused("the server ended during its recovery; see its log")
