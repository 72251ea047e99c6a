"""The text of PostgreSQL's configuration files and its command line, as pure functions of what they should say."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from haagent.core.facts import ServerConfig
from haagent.core.slots import SYNCHRONIZES
from haagent.postgres.control import STANDBY_SENSITIVE
from haagent.postgres.settings import Login, PostgresSettings, names

HEADER = "# Written by haagent; changes made here are lost. The base configuration: postgresql.base.conf"

CLUSTER_WIDE: Mapping[str, str] = {
    "wal_level": "replica",
    "max_connections": "100",
    "max_worker_processes": "8",
    "max_wal_senders": "10",
    "max_prepared_transactions": "0",
    "max_locks_per_transaction": "64",
    "max_replication_slots": "10",
    "track_commit_timestamp": "off",
    "wal_log_hints": "on",
}
"""Parameters that must agree on all nodes, with the values taken when nothing is said of them."""

DEFAULTS: Mapping[str, str] = {"wal_keep_size": "128MB", "wal_retrieve_retry_interval": "1s"}
"""Better than PostgreSQL's own where nobody says anything; the base configuration comes after them."""

AGENTS_OWN = names(
    "listen_addresses port cluster_name hot_standby primary_conninfo primary_slot_name data_directory "
    "config_file hba_file ident_file"
)
"""Parameters that operators cannot set: the agent finds and rules the server by them."""

RECOVERY = names(
    "primary_conninfo primary_slot_name restore_command archive_cleanup_command recovery_end_command "
    "recovery_target recovery_target_name recovery_target_time recovery_target_xid recovery_target_lsn "
    "recovery_target_inclusive recovery_target_timeline recovery_target_action recovery_min_apply_delay "
    "promote_trigger_file"
)


def quote(value: str) -> str:
    """A value as postgresql.conf has it. Source: manual, "Setting Parameters": quotes and backslashes are doubled."""
    return "'" + value.replace("\\", "\\\\").replace("'", "''").replace("\n", " ") + "'"


def cluster_wide(config: ServerConfig) -> dict[str, str]:
    """The parameters that must agree on all nodes, as configured."""
    chosen = {name: config.parameters.get(name, value) for name, value in CLUSTER_WIDE.items()}
    if chosen["wal_level"] not in ("replica", "logical"):
        chosen["wal_level"] = "replica"
    return chosen


def postgresql_conf(settings: PostgresSettings, config: ServerConfig, include: str | None, major: int = 0) -> str:
    """postgresql.conf: the base configuration by inclusion, then everything that is ruled from outside.

    ``major``: the version of the data directory; 0 when it is not known.
    """
    lines = [HEADER, *(f"{name} = {quote(value)}" for name, value in sorted(DEFAULTS.items()))]
    if include is not None:
        lines.append(f"include {quote(include)}")
    values = {k: v for k, v in config.parameters.items() if k not in AGENTS_OWN | RECOVERY}
    values.update(cluster_wide(config))
    values.update(_fixed(settings))
    values.update(_for_logical_slots(config, values, major))
    if not config.restarts_after_crash:
        values["restart_after_crash"] = "off"
    if config.synchronous_standby_names is not None:
        values["synchronous_standby_names"] = config.synchronous_standby_names
    values.update(recovery_parameters(settings, config))
    lines.extend(f"{name} = {quote(value)}" for name, value in sorted(values.items()))
    return "\n".join(lines) + "\n"


def _fixed(settings: PostgresSettings) -> dict[str, str]:
    fixed = {
        "listen_addresses": settings.listen_addresses,
        "port": str(settings.port),
        "hot_standby": "on",
        "data_directory": str(settings.data_dir),
        "hba_file": str(settings.conf / "pg_hba.conf"),
        "ident_file": str(settings.conf / "pg_ident.conf"),
    }
    if settings.cluster_name:
        fixed["cluster_name"] = settings.cluster_name
    if settings.unix_socket_directories:
        fixed["unix_socket_directories"] = ",".join(settings.unix_socket_directories)
    return fixed


def _for_logical_slots(config: ServerConfig, present: Mapping[str, str], major: int) -> dict[str, str]:
    """What logical slots need to survive a failover. Source: manual, "Replication Slot Synchronization"."""
    if not config.keeps_logical:
        return {}
    found = {"hot_standby_feedback": "on"}
    if major >= SYNCHRONIZES // 10000:
        found["sync_replication_slots"] = "on"
        found["synchronized_standby_slots"] = present.get("synchronized_standby_slots", ",".join(config.awaited_slots))
    return found


def recovery_parameters(settings: PostgresSettings, config: ServerConfig) -> dict[str, str]:
    """How a standby recovers and whom it follows; without effect in a primary."""
    values = {"recovery_target_timeline": "latest"}
    values.update({k: v for k, v in config.recovery.items() if k not in ("primary_conninfo", "primary_slot_name")})
    values.update({"primary_conninfo": "", "primary_slot_name": ""})
    if config.upstream is not None:
        values["primary_conninfo"] = primary_conninfo(settings, config)
        values["primary_slot_name"] = config.slot_name or ""
    return values


DEAD_PEER = "15s"
"""A walsender gives a standby up whose kernel confirms nothing for so long.

One that is told to let its slot go, because that holds more WAL than it may, first sends a farewell; the checkpointer
waits for it, and with it all checkpoints of the primary, for as long as TCP believes in the connection.
"""


def primary_conninfo(settings: PostgresSettings, config: ServerConfig) -> str:
    """The WAL receiver's connection string; its password stands in the password file, not here."""
    assert config.upstream is not None
    words = {
        "sslmode": "prefer",
        **settings.replication.options,
        "dbname": "postgres",
        "user": settings.replication.username or "",
        "passfile": str(settings.passfile),
        "host": config.upstream.host,
        "port": str(config.upstream.port),
        "target_session_attrs": "read-write" if len(config.upstream.hosts) > 1 else "",
        "application_name": config.application_name,
        "options": f"-ctcp_user_timeout={DEAD_PEER}",
    }
    return " ".join(f"{name}={_conninfo_value(value)}" for name, value in words.items() if value)


def _conninfo_value(value: str) -> str:
    """Source: manual, "Keyword/Value Connection Strings"."""
    if value and not any(c in value for c in " '\\\t\n"):
        return value
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def raised(config: ServerConfig, least: Callable[[str], int]) -> frozenset[str]:
    """The standby-sensitive parameters that a standby may not have as low as configured."""
    wanted = cluster_wide(config)
    return frozenset(name for name in STANDBY_SENSITIVE if _count(wanted[name]) < least(name))


def command_line(settings: PostgresSettings, config: ServerConfig, least: Callable[[str], int] | None) -> list[str]:
    """The postmaster's arguments: what must hold whatever the files or ALTER SYSTEM say.

    ``least`` gives, for a standby, the value of a standby-sensitive parameter below which it would not start.
    """
    values = {**_fixed(settings), **cluster_wide(config)}
    if least is not None:
        values.update({name: str(max(_count(values[name]), least(name))) for name in STANDBY_SENSITIVE})
    words = ["-D", str(settings.data_dir), "-c", f"config_file={settings.conf / 'postgresql.conf'}"]
    for name, value in values.items():
        words += ["-c", f"{name}={value}"]
    return words


def _count(value: str) -> int:
    """A number as operators may write it; what is none is left to PostgreSQL to complain of."""
    return int(value) if value.strip().isdigit() else 0


def without_recovery(auto_conf: str) -> str:
    """postgresql.auto.conf without recovery parameters: they would outweigh the agent's."""

    def rules_recovery(line: str) -> bool:
        return line.partition("=")[0].strip().lower() in RECOVERY

    return "".join(line for line in auto_conf.splitlines(keepends=True) if not rules_recovery(line))


def default_hba(superuser: Login, replication: Login, os_user: str, method: str) -> tuple[str, ...]:
    """Who may connect to a new cluster when the operator says nothing: everybody by password, the agent as itself.

    Without a password the superuser comes in by the unix socket as the operating system's user; where the names
    differ, by the map of ``default_ident``.
    """
    lines: list[str] = []
    if not superuser.password:
        mapped = "" if superuser.username in (None, os_user) else " map=haagent"
        lines.append(f"local all {_name(superuser.username or os_user)} peer{mapped}")
    lines += [f"local all all {method}", f"host all all all {method}"]
    if replication.username:
        lines.append(f"host replication {_name(replication.username)} all {method}")
    return tuple(lines)


def default_ident(superuser: Login, os_user: str) -> tuple[str, ...]:
    """The map that lets the agent's operating system user in as a superuser of another name."""
    if superuser.password or superuser.username in (None, os_user):
        return ()
    return (f"haagent {_name(os_user)} {_name(superuser.username or os_user)}",)


def password_method(config: ServerConfig) -> str:
    """The method for pg_hba.conf that fits how passwords are stored."""
    return "md5" if config.parameters.get("password_encryption") == "md5" else "scram-sha-256"


def _name(role: str) -> str:
    """A role in pg_hba.conf; quoted unless plain, since a bare ``all`` or ``+x`` means something else."""
    if role != "all" and role.isidentifier() and role == role.lower():
        return role
    return '"' + role + '"'


def lines_file(lines: Sequence[str]) -> str:
    """pg_hba.conf or pg_ident.conf."""
    return "\n".join([HEADER.partition(";")[0] + ".", *lines]) + "\n"
