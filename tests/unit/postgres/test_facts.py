"""How rows, control data and process files are read."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from haagent.core.facts import Process, WalSender
from haagent.core.terms import Instant, Lsn, SystemId, Timeline
from haagent.postgres.control import parse_control
from haagent.postgres.observe import server_facts
from haagent.postgres.process import PidFile, find_postmaster, identify, is_same, parse_pid_file
from haagent.postgres.settings import Login, PostgresSettings, option_words
from haagent.postgres.sql import address_of, conninfo_of

CONTROL = """pg_control version number:            1300
Database system identifier:           7710596268383507327
Database cluster state:               in archive recovery
Latest checkpoint location:           0/1511A88
Latest checkpoint's REDO location:    0/1511A50
Latest checkpoint's TimeLineID:       1
Time of latest checkpoint:            Sat Nov 21 12:11:32 2026
Minimum recovery ending location:     0/2000000
Min recovery ending loc's timeline:   2
wal_log_hints setting:                off
max_connections setting:              150
max_prepared_xacts setting:           3
Bytes per WAL segment:                16777216
Data page checksum version:           0
"""


def test_control_data_by_name() -> None:
    control = parse_control(tuple(CONTROL.splitlines()))
    assert control.system_id == "7710596268383507327"
    assert (control.state, control.clean) == ("in archive recovery", False)
    assert (control.checkpoint, control.redo) == (Lsn(0x1511A88), Lsn(0x1511A50))
    assert control.timeline == 2
    assert control.min_recovery == Lsn(0x2000000)
    assert [control.least(name) for name in ("max_connections", "max_prepared_transactions", "max_wal_senders")] == [
        150,
        3,
        0,
    ]


@pytest.mark.parametrize(
    ("old", "new", "can"),
    [
        ("hints setting:                off", "hints setting: on", True),
        ("version:           0", "version: 1", True),
        ("", "", False),
    ],
)
def test_a_rewind_needs_hints_or_checksums(old: str, new: str, can: bool) -> None:
    assert parse_control(tuple(CONTROL.replace(old, new).splitlines())).can_rewind is can


def test_control_data_without_its_identifier_is_none() -> None:
    with pytest.raises(ValueError, match="does not tell 'Database system identifier'"):
        parse_control(("Database cluster state: shut down",))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", None),
        ("garbage", None),
        ("12", PidFile(12)),
        ("-12\n/d\n1\n", PidFile(12)),
        (
            "9107\n/d\n1795263093\n7999\n/sock\nlocalhost\n  2146383         8\nready   \n",
            PidFile(9107, 7999, "/sock", "localhost", "ready"),
        ),
    ],
)
def test_postmaster_pid_also_half_written(text: str, expected: PidFile | None) -> None:
    assert parse_pid_file(text) == expected


def test_a_pid_used_again_is_another_process() -> None:
    me = identify(os.getpid())
    assert me is not None
    assert is_same(me)
    assert not is_same(Process(me.pid, me.started_ticks + 1))
    assert identify(2**22 + 1) is None


def test_a_pid_file_that_names_some_other_program_names_no_postmaster(tmp_path: Path) -> None:
    (tmp_path / "postmaster.pid").write_text(f"{os.getpid()}\n{tmp_path}\n1\n5432\n")
    process, pid_file = find_postmaster(tmp_path)
    assert process is None
    assert pid_file == PidFile(os.getpid(), 5432)


def row(**changes: Any) -> dict[str, Any]:
    standby: dict[str, Any] = {
        "recovering": True,
        "started_at": "2026-11-21T12:00:00+00:00",
        "loaded_at": None,
        "sync_names": "",
        "settled": None,
        "replayed_all": False,
        "restores": True,
        "fenced": True,
        "checkpoint_timeline": 3,
        "recovery_timeline": 4,
        "write_lsn": None,
        "wal_file": None,
        "received_lsn": "0/20",
        "replayed_lsn": "0/10",
        "replayed_at": None,
        "paused": False,
        "receiver": {"status": "streaming", "host": "h", "port": 1, "slot": "s", "timeline": 5},
        "senders": None,
        "slots": None,
    }
    return {**standby, **changes}


def facts(remembered: int = 0, **changes: Any) -> Any:
    return server_facts(
        row(**changes),
        seen_at=Instant(1.0),
        version=150004,
        system_id=SystemId("7"),
        remembered=Timeline(remembered),
        pending={},
    )


def test_a_standby_is_on_the_newest_timeline_it_received_or_replayed() -> None:
    assert facts().timeline == 5
    assert facts(receiver=None).timeline == 4
    assert facts(receiver=None, remembered=6).timeline == 6
    assert facts().lsn == Lsn(0x20)


def test_a_primary_is_on_the_timeline_it_writes() -> None:
    primary = facts(
        remembered=9, recovering=False, wal_file="0000000A0000000000000001", write_lsn="0/30", receiver=None
    )
    assert primary.timeline == 10
    assert primary.lsn == Lsn(0x30)
    assert primary.fenced
    assert not primary.archive_recovery


def test_archive_recovery_is_what_does_not_stream() -> None:
    assert not facts().archive_recovery
    assert facts(receiver=None).archive_recovery
    assert not facts(receiver=None, restores=False).archive_recovery
    waiting = {"status": "waiting", "host": None, "port": None, "slot": "", "timeline": None}
    assert facts(receiver=waiting).archive_recovery
    assert facts(receiver=waiting).receiver.slot_name is None


def test_rows_of_replication_become_facts() -> None:
    sender = [12, "u", "n2", None, "streaming", "sync", 1, "0/4", "0/3", "0/2", None]
    slot = ["s", "physical", True, "0/1", None, False, None, None, "reserved", None, None, False]
    found = facts(senders=[sender], slots=[slot])
    assert found.senders == (WalSender(12, "u", "n2", None, "streaming", "sync", 1, Lsn(4), Lsn(3), Lsn(2), None),)
    assert (found.slots[0].name, found.slots[0].restart_lsn, found.slots[0].wal_status) == ("s", Lsn(1), "reserved")


@pytest.mark.parametrize(
    ("login", "by_socket", "pid_file", "host"),
    [
        (Login("p", "x"), False, PidFile(1, 7, "/sock", "*"), "localhost"),
        (Login("p", "x"), False, PidFile(1, 7, "/sock", "0.0.0.0"), "127.0.0.1"),
        (Login("p", "x"), False, PidFile(1, 7, "/sock", "10.1.1.1"), "10.1.1.1"),
        (Login("p", "x"), True, PidFile(1, 7, "/sock", "10.1.1.1"), "/sock"),
        (Login("p"), False, PidFile(1, 7, "/sock", "10.1.1.1"), "/sock"),
        (Login("p", "x"), False, None, "10.2.2.2"),
    ],
)
def test_the_agent_goes_where_the_server_says_it_listens(
    login: Login, by_socket: bool, pid_file: PidFile | None, host: str
) -> None:
    settings = PostgresSettings(
        Path("/d"), Path("/s"), listen_addresses="10.2.2.2,::1", port=7, superuser=login, use_unix_socket=by_socket
    )
    address = address_of(settings, Process(1, 2), pid_file)
    assert (address.host, address.port) == (host, 7)
    assert (conninfo_of(settings, address)["sslmode"] == "disable") is host.startswith("/")


def test_options_are_words_or_maps_and_never_the_agents_own() -> None:
    words, refused = option_words(
        (("data-checksums", None), ("--encoding", "UTF8"), ("max_rate", "1M"), ("pgdata", "/x")), frozenset({"pgdata"})
    )
    assert words == ["--data-checksums", "--encoding=UTF8", "--max-rate=1M"]
    assert refused == ["pgdata"]


def test_a_login_shows_no_secret() -> None:
    assert "hidden" not in repr(Login("u", "hidden", {"sslpassword": "hidden"}))
    assert Login("u", "pw", {"sslmode": ""}).conninfo() == {"user": "u", "password": "pw"}
