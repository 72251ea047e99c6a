"""What the command ``haagent`` does besides serving: it checks, shows and writes configuration files."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import Mapping
from pathlib import Path

import psycopg

from haagent.config import generate, origins
from haagent.config.load import Config, load
from haagent.config.origins import Dcs
from haagent.config.problems import ConfigError
from haagent.config.render import sample
from haagent.core.health.finding import Verdict, summary, told
from haagent.core.health.judge import judged
from haagent.dcs.etcd import EtcdDcs
from haagent.doctor import gathered
from haagent.host.clock import BoottimeClock
from haagent.ports import PortError
from haagent.postgres.describe import Description, describe
from haagent.rest.settings import SettingsError
from haagent.wiring import etcd_kv

DCS_TIMEOUT_S = 2.0


def validate(path: str | None, environ: Mapping[str, str], shown: bool) -> int:
    """Check a configuration, and if asked show every setting with its origin; what is wrong goes to standard error."""
    try:
        config = load(path, environ, strict=True)
    except ConfigError as error:
        _complain(str(error))
        return 1
    for warning in config.warnings:
        _complain(f"warning: {warning}")
    if shown:
        _say("\n".join(origins.lines(config, asyncio.run(_stored(config)))))
    else:
        _say(f"{config.source}: valid")
    return 0


def doctor(path: str | None, environ: Mapping[str, str]) -> int:
    """Examine this node as it is before service; exit code 1 when something is a problem."""
    try:
        config = load(path, environ)
    except ConfigError as error:
        _complain(str(error))
        return 1
    findings = judged(asyncio.run(gathered(config, None)))
    _say("\n".join([*told(findings), summary(findings)]))
    return 1 if any(one.verdict is Verdict.PROBLEM for one in findings) else 0


async def _stored(config: Config) -> Dcs:
    try:
        dcs = EtcdDcs(etcd_kv(config), config.prefix, BoottimeClock())
    except SettingsError as why:
        return Dcs(None, str(why))
    try:
        snapshot = await dcs.snapshot(DCS_TIMEOUT_S)
    except PortError as why:
        return Dcs(None, f"etcd did not answer ({why})")
    finally:
        await dcs.close()
    return Dcs(snapshot.config.document if snapshot.config else None)


def generate_sample(target: str | None) -> int:
    """Write a complete sample file."""
    return _write(sample(), target)


def generate_config(target: str | None, dsn: str, environ: Mapping[str, str]) -> int:
    """Write a file for the PostgreSQL that answers to a connection string; a file that exists is not overwritten."""
    try:
        server = describe(dsn)
    except (psycopg.Error, UnicodeError) as why:
        _complain(
            f"no configuration was written: PostgreSQL could not be asked: {str(why).strip()}. "
            "Run this as a user who may connect as superuser, or name the server with --dsn"
        )
        return 1
    return _write(generate.render(_found(server, environ)), target)


def _found(server: Description, environ: Mapping[str, str]) -> generate.Found:
    name = environ.get("HAAGENT_NAME") or environ.get("PATRONI_NAME") or socket.gethostname().partition(".")[0]
    scope = environ.get("HAAGENT_SCOPE") or environ.get("PATRONI_SCOPE") or server.parameters.get("cluster_name")
    return generate.Found(
        scope=scope or "demo",
        name=name,
        host=_address(),
        data_dir=server.data_dir,
        config_dir=server.config_dir,
        bin_dir=server.bin_dir,
        listen_addresses=server.listen_addresses,
        port=server.port,
        superuser=server.user,
        encoding=server.encoding,
        checksums=server.checksums,
        parameters=server.parameters,
        hba=server.hba,
        ident=server.ident,
    )


def _address() -> str:
    """This machine's address as others would find it, or its name where none is known."""
    name = socket.gethostname()
    try:
        found = [str(info[4][0]) for info in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)]
    except OSError:
        return name
    return next((address for address in found if not address.startswith(("127.", "::1"))), name)


def _write(text: str, target: str | None) -> int:
    """To a new file that only its owner may read, or to standard output."""
    if target is None:
        _say(text.rstrip("\n"))
        return 0
    try:
        handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as why:
        _complain(f"{target} was not written: {why.strerror}")
        return 1
    _say(f"{Path(target).resolve()} is written")
    return 0


def _say(text: str) -> None:
    print(text)  # noqa: T201


def _complain(text: str) -> None:
    print(text, file=sys.stderr)  # noqa: T201
