"""Physical replication slots, brought to what was decided: created, dropped, moved forward."""

from __future__ import annotations

from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, LiteralString

import psycopg

from haagent.core.facts import SlotFacts
from haagent.core.terms import Lsn
from haagent.ports import Refused, Unknown
from haagent.postgres.settings import PostgresSettings
from haagent.postgres.sql import Address, Client, told

CREATE = "SELECT pg_create_physical_replication_slot(%s, true)"
DROP = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = %s"
ADVANCE = """
SELECT pg_replication_slot_advance(slot_name, least(%s::pg_lsn, CASE WHEN pg_is_in_recovery()
           THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_flush_lsn() END))
  FROM pg_replication_slots
 WHERE slot_name = %s AND slot_type = 'physical' AND NOT active AND (restart_lsn IS NULL OR restart_lsn < %s::pg_lsn)
"""


@dataclass(frozen=True, slots=True)
class Orders:
    """What is to become of physical slots; what is dropped may be made anew."""

    create: Sequence[SlotFacts] = ()
    drop: Sequence[str] = ()
    advance: Mapping[str, Lsn] = field(default_factory=dict)


async def sync_slots(
    settings: PostgresSettings, client: Client, address: Address, orders: Orders, timeout: float
) -> None:
    """Drop, create, advance; one that fails does not keep the others from being done.

    Refused with all failures.
    """
    failures: list[str] = []

    async def do(what: str, statement: LiteralString, *values: str) -> None:
        await _try(failures, what, client.fetch(settings, address, statement, values, timeout=timeout))

    for name in orders.drop:
        await do(f"drop slot {name}", DROP, name)
    for slot in orders.create:
        await do(f"create slot {slot.name}", CREATE, slot.name)
    for name, lsn in orders.advance.items():
        await do(f"advance slot {name} to {lsn}", ADVANCE, str(lsn), name, str(lsn))
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
