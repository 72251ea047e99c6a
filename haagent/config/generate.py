"""A configuration file for a PostgreSQL that runs already: what it has becomes what haagent keeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from haagent.config import parameters as rules
from haagent.config.values import Address

PLACEHOLDER = "change-me"
LOCAL = frozenset({"data_directory", "config_file", "hba_file", "ident_file", "external_pid_file"})
"""Parameters that say where things lie, which are settings of their own."""
OF_INITDB = ("lc_messages", "lc_monetary", "lc_numeric", "lc_time", "default_text_search_config", "log_timezone")


@dataclass(frozen=True, slots=True)
class Found:
    """What is known of the machine and its PostgreSQL."""

    scope: str
    name: str
    host: str
    """Where other nodes reach this machine."""
    data_dir: str
    config_dir: str
    bin_dir: str
    listen_addresses: str
    port: int
    superuser: str
    encoding: str
    checksums: bool
    parameters: Mapping[str, str]
    hba: Sequence[str]
    ident: Sequence[str]


HEAD = """\
# A configuration of haagent for the PostgreSQL in {data_dir}, made from what is in force there.
#
# Before it is used: set the passwords ({placeholder}) to what the roles have and etcd3.hosts to your etcd, and look
# through the rest. docs/reference/settings.md tells of each setting; `haagent --validate-config FILE` checks it.
# The agent adopts the running server; it restarts nothing by itself.
"""


def render(found: Found) -> str:
    """The file as YAML."""
    shared, own = _parameters(found.parameters)
    document: dict[str, Any] = {
        "scope": found.scope,
        "name": found.name,
        "etcd3": {"hosts": ["127.0.0.1:2379"]},
        "restapi": {"listen": "0.0.0.0:8008", "connect_address": str(Address(found.host, 8008))},
        "bootstrap": {
            "dcs": {"postgresql": {"use_pg_rewind": True, "parameters": shared}},
            "initdb": [{"encoding": found.encoding}, *(["data-checksums"] if found.checksums else [])],
        },
        "postgresql": {
            "listen": f"{found.listen_addresses or '127.0.0.1'}:{found.port}",
            "connect_address": str(Address(found.host, found.port)),
            "data_dir": found.data_dir,
            **({"config_dir": found.config_dir} if found.config_dir != found.data_dir else {}),
            **({"bin_dir": found.bin_dir} if found.bin_dir else {}),
            "authentication": {
                "superuser": {"username": found.superuser, "password": PLACEHOLDER},
                "replication": {"username": "replicator", "password": PLACEHOLDER},
            },
            **({"parameters": own} if own else {}),
            "pg_hba": list(found.hba),
            **({"pg_ident": list(found.ident)} if found.ident else {}),
        },
    }
    body = yaml.safe_dump(document, sort_keys=False, width=120, allow_unicode=True)
    return HEAD.format(data_dir=found.data_dir, placeholder=PLACEHOLDER) + "\n" + body


def _parameters(given: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Those that all nodes need alike, and those of this machine; without those that the agent sets itself."""
    kept = {
        name: value
        for name, value in given.items()
        if name not in rules.AGENT_OWNED and name not in LOCAL and name not in rules.RECOVERY_TARGETS
    }
    shared = {name: value for name, value in kept.items() if name in rules.SHARED_DEFAULTS}
    return shared, {name: value for name, value in kept.items() if name not in shared and name not in OF_INITDB}
