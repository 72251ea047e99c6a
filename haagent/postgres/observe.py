"""The questions asked of a running server, and how their answers become facts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from haagent.core.facts import Receiver, ServerFacts, SlotFacts, WalSender
from haagent.core.terms import Instant, Lsn, SystemId, Timeline

STATUS = """
SELECT r.recovering,
       to_json(pg_postmaster_start_time()) #>> '{}' AS started_at,
       pg_conf_load_time() AS loaded_at,
       current_setting('synchronous_standby_names') AS sync_names,
       coalesce(current_setting('haagent_fence.page', true), '') <> '' AND
         current_setting('shared_preload_libraries') ~ 'haagent_fence' AS fenced,
       current_setting('restore_command') <> '' AS restores,
       (SELECT timeline_id FROM pg_control_checkpoint()) AS checkpoint_timeline,
       (SELECT min_recovery_end_timeline FROM pg_control_recovery()) AS recovery_timeline,
       CASE WHEN NOT r.recovering THEN pg_current_wal_lsn()::text END AS write_lsn,
       CASE WHEN NOT r.recovering THEN pg_walfile_name(pg_current_wal_lsn()) END AS wal_file,
       CASE WHEN r.recovering THEN EXISTS (
           SELECT FROM pg_stat_activity a WHERE a.backend_type = 'startup'
              AND a.wait_event IN ('RecoveryWalStream', 'RecoveryRetrieveRetryInterval')) END AS replayed_all,
       CASE WHEN NOT r.recovering AND current_setting('synchronous_standby_names') <> '' THEN EXISTS (
           SELECT FROM pg_stat_activity a WHERE a.backend_type = 'checkpointer'
              AND a.wait_event IN ('CheckpointerMain', 'CheckpointWriteDelay')) END AS settled,
       CASE WHEN r.recovering THEN pg_last_wal_receive_lsn()::text END AS received_lsn,
       CASE WHEN r.recovering THEN pg_last_wal_replay_lsn()::text END AS replayed_lsn,
       CASE WHEN r.recovering THEN to_json(pg_last_xact_replay_timestamp()) #>> '{}' END AS replayed_at,
       CASE WHEN r.recovering THEN pg_is_wal_replay_paused() ELSE false END AS paused,
       CASE WHEN r.recovering THEN (
           SELECT json_build_object('status', w.status, 'host', w.sender_host, 'port', w.sender_port,
                                    'slot', w.slot_name, 'timeline', w.received_tli)
             FROM pg_stat_wal_receiver w) END AS receiver,
       (SELECT json_agg(json_build_array(
                   s.pid, s.usename, s.application_name, host(s.client_addr), s.state, s.sync_state, s.sync_priority,
                   s.sent_lsn, s.write_lsn, s.flush_lsn, s.replay_lsn))
          FROM pg_stat_replication s) AS senders,
       (SELECT json_agg(json_build_array(
                   p.slot_name, p.slot_type, p.active, p.restart_lsn, p.confirmed_flush_lsn,
                   p.xmin IS NOT NULL OR (p.slot_type = 'physical' AND p.catalog_xmin IS NOT NULL),
                   p.plugin, p.database, p.wal_status, to_json(p) ->> 'failover', to_json(p) ->> 'synced',
                   p.temporary))
          FROM pg_replication_slots p) AS slots
  FROM (SELECT pg_is_in_recovery() AS recovering OFFSET 0) r
"""

STANDBY_SENSITIVE = """
SELECT name, setting::int AS has FROM pg_settings
 WHERE name IN ('max_connections', 'max_worker_processes', 'max_wal_senders', 'max_prepared_transactions',
                'max_locks_per_transaction')
"""

ROLE = "SELECT pg_is_in_recovery() AS recovering"
"""Reads no catalog and waits for no lock."""

PENDING = """
SELECT s.name, current_setting(s.name) AS old,
       COALESCE((SELECT f.setting FROM pg_file_settings f WHERE f.name = s.name ORDER BY f.seqno DESC LIMIT 1),
                s.boot_val, '') AS new
  FROM pg_settings s WHERE s.pending_restart
"""

NEWEST_WAL = """
SELECT max(left(w.name, 8)) AS timeline
  FROM pg_ls_waldir() w, pg_control_init() i
 WHERE w.name ~ '^[0-9A-F]{24}$'
   AND right(w.name, 16) = lpad(upper(to_hex(trunc(
           (pg_last_wal_replay_lsn() - '0/0') / 4294967296)::bigint)), 8, '0')
       || lpad(upper(to_hex(trunc(
           mod(pg_last_wal_replay_lsn() - '0/0', 4294967296) / i.bytes_per_wal_segment)::bigint)), 8, '0')
"""
"""The newest timeline of which the segment of the replay position is in pg_wal: for a standby that receives nothing."""


def lsn(text: str | None) -> Lsn | None:
    """An LSN as PostgreSQL prints it, or nothing."""
    return None if text is None else Lsn.parse(text)


def receiver_of(found: Mapping[str, Any] | None) -> Receiver | None:
    """The WAL receiver; none when it has not said whence it receives."""
    if found is None or found["status"] is None:
        return None
    timeline = found["timeline"]
    return Receiver(
        status=found["status"],
        sender_host=found["host"] or "",
        sender_port=found["port"] or 0,
        slot_name=found["slot"] or None,
        timeline=Timeline(timeline) if timeline else None,
    )


def sender_of(row: list[Any]) -> WalSender:
    """One row of pg_stat_replication."""
    pid, user, name, address, state, sync_state, priority, *lsns = row
    return WalSender(
        pid,
        user or "",
        name or "",
        address,
        state or "",
        sync_state or "",
        priority or 0,
        *(lsn(text) for text in lsns),
    )


def slot_of(row: list[Any]) -> SlotFacts:
    """One row of pg_replication_slots."""
    name, kind, active, restart, confirmed, xmin, plugin, database, wal_status, failover, synced, temporary = row
    newer = {"failover": failover == "true", "synced": synced == "true", "temporary": temporary}
    return SlotFacts(name, kind, active, lsn(restart), lsn(confirmed), xmin, plugin, database, wal_status, **newer)


def timeline_of(row: Mapping[str, Any], receiver: Receiver | None, remembered: Timeline) -> Timeline:
    """The timeline written (primary), or the newest received or replayed (standby)."""
    if row["wal_file"] is not None:
        return Timeline(int(row["wal_file"][:8], 16))
    known = [row["checkpoint_timeline"] or 0, row["recovery_timeline"] or 0, remembered]
    if receiver is not None and receiver.timeline is not None:
        known.append(receiver.timeline)
    return Timeline(max(known))


def server_facts(
    row: Mapping[str, Any],
    *,
    seen_at: Instant,
    version: int,
    system_id: SystemId,
    remembered: Timeline,
    pending: Mapping[str, tuple[str, str]],
) -> ServerFacts:
    """One answer to ``STATUS`` as facts."""
    receiver = receiver_of(row["receiver"])
    streaming = receiver is not None and receiver.status == "streaming"
    return ServerFacts(
        seen_at=seen_at,
        in_recovery=row["recovering"],
        timeline=timeline_of(row, receiver, remembered),
        version=version,
        started_at=row["started_at"],
        system_id=system_id,
        write_lsn=lsn(row["write_lsn"]),
        received_lsn=lsn(row["received_lsn"]),
        replayed_lsn=lsn(row["replayed_lsn"]),
        replayed_at=row["replayed_at"],
        replay_paused=row["paused"],
        receiver=receiver,
        senders=tuple(sender_of(sender) for sender in row["senders"] or ()),
        slots=tuple(slot_of(slot) for slot in row["slots"] or ()),
        pending_restart=pending,
        archive_recovery=row["recovering"] and row["restores"] and not streaming,
        synchronous_standby_names=row["sync_names"],
        settled=row["settled"] is not False,
        replayed_all=bool(row["replayed_all"]),
        fenced=row["fenced"],
    )
