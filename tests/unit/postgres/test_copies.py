"""Files of copied logical slots: kept for the next start of a standby, and not for longer than they are good."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from haagent.postgres.copies import FRESH_S, discard_logical, not_before, stage, take_up
from haagent.postgres.settings import PostgresSettings

NAME_AT, DATABASE_AT = 16, 80


@pytest.fixture
def settings(tmp_path: Path) -> PostgresSettings:
    (tmp_path / "data" / "pg_replslot").mkdir(parents=True)
    return PostgresSettings(data_dir=tmp_path / "data", state_dir=tmp_path / "state")


def taken_up(settings: PostgresSettings) -> dict[str, bytes]:
    found = (settings.data_dir / "pg_replslot").glob("*/state")
    return {state.parent.name: state.read_bytes() for state in found}


def test_a_standby_takes_copies_up_when_it_starts(settings: PostgresSettings) -> None:
    stage(settings, {"feed": b"one", "other": b"two"})
    take_up(settings, primary=False)
    assert taken_up(settings) == {"feed": b"one", "other": b"two"}
    assert (settings.data_dir / "pg_replslot" / "feed" / "state").stat().st_mode & 0o777 == 0o600
    stage(settings, {"feed": b"later"})
    take_up(settings, primary=False)
    assert taken_up(settings)["feed"] == b"one", "a slot that is there stays"


def test_a_primary_and_a_late_start_take_nothing_up(settings: PostgresSettings) -> None:
    stage(settings, {"feed": b"one"})
    take_up(settings, primary=True)
    assert taken_up(settings) == {}
    stage(settings, {"feed": b"one"})
    old = time.time() - FRESH_S - 1
    os.utime(settings.state_dir / "slots" / "feed", (old, old))
    take_up(settings, primary=False)
    take_up(settings, primary=False)
    assert taken_up(settings) == {}


def test_a_rewound_directory_keeps_no_logical_slot(settings: PostgresSettings) -> None:
    for name, database in (("feed", 5), ("member", 0)):
        place = settings.data_dir / "pg_replslot" / name
        place.mkdir()
        state = bytearray(200)
        state[NAME_AT : NAME_AT + len(name)] = name.encode()
        state[DATABASE_AT : DATABASE_AT + 4] = database.to_bytes(4, "little")
        (place / "state").write_bytes(bytes(state))
    discard_logical(settings)
    assert taken_up(settings).keys() == {"member"}


def test_transaction_ids_count_in_a_circle() -> None:
    assert not_before("740", "740")
    assert not_before("741", "740")
    assert not not_before("739", "740")
    assert not_before("5", "4294967290")
    assert not not_before("4294967290", "5")
