"""Replication slots, brought to what was decided: created, dropped, moved forward."""

from __future__ import annotations

from collections.abc import Coroutine, Mapping, Sequence
from typing import Any

import psycopg

from haagent.core.facts import SlotFacts
from haagent.core.terms import Lsn
from haagent.ports import Refused, Unknown
from haagent.postgres.settings import PostgresSettings
from haagent.postgres.sql import Address, Client, connect, conninfo_of, told

CREATE = "SELECT pg_create_physical_replication_slot(%s, true)"
DROP = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = %s"
ADVANCE = """
SELECT pg_replication_slot_advance(slot_name, least(%s::pg_lsn, CASE WHEN pg_is_in_recovery()
           THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_flush_lsn() END))
  FROM pg_replication_slots
 WHERE slot_name = %s AND NOT active AND (restart_lsn IS NULL OR restart_lsn < %s::pg_lsn)
"""
CREATE_LOGICAL = "SELECT pg_create_logical_replication_slot(%s, %s)"


async def sync_slots(
    settings: PostgresSettings,
    client: Client,
    address: Address,
    create: Sequence[SlotFacts],
    drop: Sequence[str],
    advance: Mapping[str, Lsn],
    timeout: float,
) -> None:
    """Drop, create, advance; one that fails does not keep the others from being done. Refused with all failures."""
    failures: list[str] = []
    for name in drop:
        await _try(failures, f"drop slot {name}", client.fetch(settings, address, DROP, (name,), timeout=timeout))
    for slot in create:
        if slot.kind == "logical":
            await _try(failures, f"create slot {slot.name}", _create_logical(settings, address, slot, timeout))
        else:
            made = client.fetch(settings, address, CREATE, (slot.name,), timeout=timeout)
            await _try(failures, f"create slot {slot.name}", made)
    for name, lsn in advance.items():
        work = client.fetch(settings, address, ADVANCE, (str(lsn), name, str(lsn)), timeout=timeout)
        await _try(failures, f"advance slot {name} to {lsn}", work)
    if failures:
        raise Refused("; ".join(failures))


async def _try(failures: list[str], what: str, work: Coroutine[Any, Any, object]) -> None:
    try:
        await work
    except psycopg.errors.DuplicateObject:
        return
    except psycopg.Error as error:
        failures.append(f"cannot {what}: {told(error)}")
    except TimeoutError:
        raise Unknown(f"no answer in time when asked to {what}") from None


async def _create_logical(settings: PostgresSettings, address: Address, slot: SlotFacts, timeout: float) -> None:
    """Logical slots belong to a database, so they are created from inside it."""
    if not slot.database or not slot.plugin:
        raise Refused(f"logical slot {slot.name} needs a database and a plugin")
    connection = await connect(conninfo_of(settings, address, slot.database), timeout)
    try:
        await connection.execute(CREATE_LOGICAL, (slot.name, slot.plugin))
    finally:
        await connection.close()
