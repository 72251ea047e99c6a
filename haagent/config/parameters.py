"""The rules for PostgreSQL's parameters: who may set which, their least values, and their form as text.

Sources: the PostgreSQL manual for names and units; Patroni 4.1's documentation, "Important rules", for the parameters
that must be equal on all nodes with their defaults and least values.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from haagent.config.values import ExpectedError

AGENT_OWNED: Mapping[str, str | None] = {
    "listen_addresses": None,
    "port": None,
    "cluster_name": None,
    "hot_standby": "on",
    "wal_log_hints": "on",
    "primary_conninfo": None,
    "primary_slot_name": None,
    "synchronous_standby_names": None,
    "data_directory": None,
    "config_file": None,
    "hba_file": None,
    "ident_file": None,
    "hosts_file": None,
    "standby_mode": "on",
    "promote_trigger_file": None,
    "trigger_file": None,
}
"""Parameters that the agent sets itself, with the value it always sets where that is one."""

INSTEAD = {
    "listen_addresses": "postgresql.listen",
    "port": "postgresql.listen",
    "cluster_name": "scope",
    "synchronous_standby_names": "synchronous_mode",
    "data_directory": "postgresql.data_dir",
    "hba_file": "postgresql.pg_hba",
    "ident_file": "postgresql.pg_ident",
    "hosts_file": "postgresql.pg_hosts",
}
"""The setting to use instead of such a parameter."""

RECOVERY = (
    "restore_command",
    "archive_cleanup_command",
    "recovery_end_command",
    "recovery_min_apply_delay",
    "recovery_target_timeline",
)
"""Parameters of a standby's recovery; they may stand among the ordinary ones."""

RECOVERY_TARGETS = (
    "recovery_target",
    "recovery_target_name",
    "recovery_target_time",
    "recovery_target_xid",
    "recovery_target_lsn",
    "recovery_target_inclusive",
    "recovery_target_action",
)
"""Parameters that would end a standby's recovery for good."""

SHARED_DEFAULTS: Mapping[str, str] = {
    "wal_level": "replica",
    "max_connections": "100",
    "max_wal_senders": "10",
    "max_replication_slots": "10",
    "max_worker_processes": "8",
    "max_prepared_transactions": "0",
    "max_locks_per_transaction": "64",
    "track_commit_timestamp": "off",
    "wal_keep_size": "128MB",
}
"""Parameters that are the same on all nodes: only the dynamic configuration sets them."""

NEEDS_RESTART = frozenset(
    """
    archive_mode autovacuum_freeze_max_age autovacuum_max_workers autovacuum_multixact_freeze_max_age
    autovacuum_worker_slots bonjour bonjour_name cluster_name commit_timestamp_buffers config_file data_directory
    data_sync_retry debug_io_direct dynamic_shared_memory_type event_source external_pid_file hba_file hot_standby
    huge_page_size huge_pages ident_file ignore_invalid_pages io_max_combine_limit io_max_concurrency io_method
    jit_provider listen_addresses logging_collector max_active_replication_origins max_connections
    max_files_per_process max_locks_per_transaction max_logical_replication_workers max_notify_queue_pages
    max_pred_locks_per_transaction max_prepared_transactions max_replication_slots max_wal_senders
    max_worker_processes min_dynamic_shared_memory multixact_member_buffers multixact_offset_buffers notify_buffers
    old_snapshot_threshold port recovery_target recovery_target_action recovery_target_inclusive recovery_target_lsn
    recovery_target_name recovery_target_time recovery_target_timeline recovery_target_xid reserved_connections
    serializable_buffers shared_buffers shared_memory_type shared_preload_libraries subtransaction_buffers
    superuser_reserved_connections track_activity_query_size track_commit_timestamp transaction_buffers
    unix_socket_directories unix_socket_group unix_socket_permissions wal_buffers wal_decode_buffer_size wal_level
    wal_log_hints
    """.split()  # noqa: SIM905
)
"""Parameters of PostgreSQL 14 to 18 that only a restart changes (``pg_settings.context = 'postmaster'``)."""

STANDBY_SENSITIVE = frozenset(
    {
        "max_connections",
        "max_locks_per_transaction",
        "max_prepared_transactions",
        "max_wal_senders",
        "max_worker_processes",
    }
)
"""Parameters that must not be less on a standby than on the primary (PostgreSQL manual, "Hot Standby")."""

LEAST = {
    "max_connections": 25,
    "max_wal_senders": 3,
    "max_replication_slots": 4,
    "max_worker_processes": 2,
    "max_prepared_transactions": 0,
    "max_locks_per_transaction": 32,
    "wal_keep_size": 16,
}
"""Least values; ``wal_keep_size`` in MB."""

WAL_SEGMENT_MB = 16
"""The size of a WAL segment that Patroni counts ``wal_keep_segments`` in."""

UNITS_MB = {"": 1.0, "kB": 1 / 1024, "MB": 1.0, "GB": 1024.0, "TB": 1024.0 * 1024}

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_$]*(\.[A-Za-z_][A-Za-z0-9_$]*)*")

Warn = Callable[[str, str], None]
"""Called with a parameter's name and a sentence."""


def as_text(value: Any) -> str:
    """A parameter's value as PostgreSQL reads it; booleans are on and off."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, str):
        if "\n" in value or "\0" in value:
            raise ExpectedError("one line of text")
        return value
    if isinstance(value, int | float):
        return str(value)
    raise ExpectedError("text, a number or a boolean")


def megabytes(name: str, text: str) -> float:
    """The size in MB that a text such as ``128MB`` or ``1GB`` means; a bare number counts MB."""
    match = re.fullmatch(r"\s*([0-9]{1,15}(?:\.[0-9]{0,9})?)\s*([kMGT]B)?\s*", text)
    if not match:
        raise ExpectedError(f"a size such as 128MB for {name}")
    return float(match[1]) * UNITS_MB[match[2] or ""]


def whole(name: str, text: str) -> int:
    """The whole number that a parameter's text means."""
    if not re.fullmatch(r"\s*[0-9]{1,9}\s*", text):
        raise ExpectedError(f"a whole number for {name}")
    return int(text)


def modern(given: Mapping[str, str], warn: Warn) -> dict[str, str]:
    """The parameters under their present names: ``wal_keep_segments`` becomes ``wal_keep_size``."""
    result = dict(given)
    segments = result.pop("wal_keep_segments", None)
    if segments is not None and "wal_keep_size" not in result:
        result["wal_keep_size"] = f"{WAL_SEGMENT_MB * whole('wal_keep_segments', segments)}MB"
        warn("wal_keep_segments", f"{segments} segments are used as wal_keep_size = {result['wal_keep_size']}")
    if result.get("wal_level") in {"hot_standby", "archive"}:
        warn("wal_level", f"{result['wal_level']} is an old name; replica is used")
        result["wal_level"] = "replica"
    return result


def without_owned(given: Mapping[str, str], warn: Warn) -> dict[str, str]:
    """The parameters without those that the agent sets itself, and without recovery targets."""
    result = {}
    for name, value in given.items():
        if name in RECOVERY_TARGETS:
            warn(name, "left out: it would end every standby's recovery for good")
        elif name not in AGENT_OWNED:
            result[name] = value
        elif value.strip().lower() not in {str(AGENT_OWNED[name]), {"on": "true"}.get(str(AGENT_OWNED[name]))}:
            instead = f"; use {INSTEAD[name]}" if name in INSTEAD else ""
            warn(name, f"left out: the agent sets it itself{instead}")
    return result


def raised(given: Mapping[str, str], warn: Warn) -> dict[str, str]:
    """The parameters with those that are below their least value raised to it; ExpectedError when one is no number."""
    result = dict(given)
    for name, least in LEAST.items():
        if name not in result:
            continue
        size = name == "wal_keep_size"
        if (megabytes if size else whole)(name, result[name]) < least:
            text = f"{least}MB" if size else str(least)
            warn(name, f"{result[name]} is below the minimum; {text} is used")
            result[name] = text
    if result.get("wal_level") == "minimal":
        warn("wal_level", "minimal permits no standby; replica is used")
        result["wal_level"] = "replica"
    return result
