"""``haagent-ctl configure``: a configuration file for the command line alone."""

from __future__ import annotations

import os
from pathlib import Path

import click
import yaml

from haagent.ctl.target import PLACES, Failed, endpoints

DEFAULT_DCS = "etcd3://127.0.0.1:2379"


def write(path: str | None, dcs: str | None, namespace: str, cluster: str | None, force: bool) -> str:
    """Write the file and say where; what is not given is asked for, and nothing is overwritten without a word."""
    place = Path(path or PLACES[0]).expanduser()
    if dcs is None:
        dcs = DEFAULT_DCS if force else click.prompt("etcd", default=DEFAULT_DCS)
    document: dict[str, object] = {"namespace": namespace, "etcd3": {"hosts": endpoints(dcs)}}
    if cluster:
        document = {"scope": cluster, **document}
    if place.exists() and not force and not click.confirm(f"{place} is there already; overwrite it?"):
        raise Failed("Nothing was written")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with open(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            yaml.safe_dump(document, file, sort_keys=False)
    except OSError as error:
        raise Failed(f"{place} cannot be written: {error}") from None
    return f"Written: {place}"
