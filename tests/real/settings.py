"""What a trial's cluster is configured with, and the YAML file of one node made from it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from haagent.core.lease import timing

SUPERUSER, REPLICATION, REWIND = "postgres", "replicator", "rewinder"
PASSWORD = "only-for-trials"


@dataclass(frozen=True)
class ClusterSettings:
    """The same for all nodes."""

    scope: str = "trial"
    ttl: int = 5
    loop_wait: int = 1
    retry_timeout: int = 2
    dcs: dict[str, Any] = field(default_factory=dict)
    """More of the dynamic configuration."""
    bootstrap: dict[str, Any] = field(default_factory=dict)
    """More of the ``bootstrap`` section."""
    local: dict[str, dict[str, Any]] = field(default_factory=dict)
    """More of the other sections of each node's file, section by section."""

    grpc: tuple[str, ...] = ()
    """Nodes that reach etcd by gRPC, so that both transports meet every fault."""

    @property
    def fence_after(self) -> float:
        """How long after the last renewal that was sent the permit may last at most; seconds."""
        return timing(self.ttl, self.loop_wait, self.retry_timeout).fence_after


@dataclass(frozen=True)
class NodePlace:
    """Where one node lives."""

    name: str
    address: str
    postgres_port: int
    rest_port: int
    directory: Path
    bin_dir: Path
    disk: Path | None = None
    """A file system of its own for the data directory, and what the agent keeps beside that."""

    @property
    def data_dir(self) -> Path:
        """PostgreSQL's."""
        return (self.disk or self.directory) / "data"


def node_config(cluster: ClusterSettings, place: NodePlace, etcd: list[str], tags: dict[str, Any]) -> dict[str, Any]:
    """The configuration file of one node, as data."""
    content: dict[str, Any] = {
        "scope": cluster.scope,
        "name": place.name,
        "etcd3": {"hosts": list(etcd), **({"transport": "grpc"} if place.name in cluster.grpc else {})},
        "restapi": {
            "listen": f"{place.address}:{place.rest_port}",
            "connect_address": f"{place.address}:{place.rest_port}",
        },
        "bootstrap": {
            "dcs": {
                "ttl": cluster.ttl,
                "loop_wait": cluster.loop_wait,
                "retry_timeout": cluster.retry_timeout,
                "maximum_lag_on_failover": 1048576,
                **cluster.dcs,
                "postgresql": {
                    "use_pg_rewind": True,
                    "use_slots": True,
                    "parameters": {"wal_level": "replica", "hot_standby": "on", "wal_log_hints": "on"},
                    **cluster.dcs.get("postgresql", {}),
                },
            },
            "initdb": [{"encoding": "UTF8"}, {"locale": "C.UTF-8"}, "data-checksums", "no-sync"],
            **cluster.bootstrap,
        },
        "postgresql": {
            "listen": f"{place.address}:{place.postgres_port}",
            "connect_address": f"{place.address}:{place.postgres_port}",
            "data_dir": str(place.data_dir),
            "bin_dir": str(place.bin_dir),
            "pgpass": str(place.directory / "pgpass"),
            "authentication": {
                "superuser": {"username": SUPERUSER, "password": PASSWORD},
                "replication": {"username": REPLICATION, "password": PASSWORD},
                "rewind": {"username": REWIND, "password": PASSWORD},
            },
            "parameters": {
                "unix_socket_directories": str(place.directory),
                "shared_buffers": "16MB",
                "log_min_messages": "log",
                "log_line_prefix": "%m [%p] postgres ",
            },
            "pg_hba": [
                "local all all trust",
                f"host replication {REPLICATION} 0.0.0.0/0 scram-sha-256",
                "host all observer 0.0.0.0/0 trust",
                "host all all 0.0.0.0/0 scram-sha-256",
            ],
        },
        "tags": tags,
    }
    for section, more in cluster.local.items():
        content[section] = {**content.get(section, {}), **more}
    return content
