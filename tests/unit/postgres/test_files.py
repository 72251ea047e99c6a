"""Files with secrets, markers, and password files shared with others."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from haagent.core.facts import Process
from haagent.ports import Refused
from haagent.postgres.files import (
    Marker,
    clear_marker,
    merge_passfile,
    passfile_line,
    private_directory,
    read_marker,
    service,
    set_marker,
    write_atomically,
    write_if_changed,
)
from haagent.postgres.settings import Login, PostgresSettings


@pytest.fixture
def settings(tmp_path: Path) -> PostgresSettings:
    return PostgresSettings(data_dir=tmp_path / "data", state_dir=tmp_path / "state")


def test_a_file_is_replaced_whole_and_private(tmp_path: Path) -> None:
    path = tmp_path / "conf"
    path.write_text("old")
    path.chmod(0o644)
    write_atomically(path, "new")
    assert path.read_text() == "new"
    assert path.stat().st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path) == ["conf"]


def test_a_file_that_cannot_be_written_stays_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "conf"
    path.write_text("old")
    with pytest.raises(UnicodeEncodeError):
        write_atomically(path, "new \ud800")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["conf"]


def test_nothing_is_written_when_nothing_differs(tmp_path: Path) -> None:
    path = tmp_path / "conf"
    assert write_if_changed(path, "x")
    inode = path.stat().st_ino
    assert not write_if_changed(path, "x")
    assert path.stat().st_ino == inode


@pytest.mark.parametrize("program", [None, Process(17, 23)])
def test_a_marker_is_read_as_it_was_set(settings: PostgresSettings, program: Process | None) -> None:
    assert read_marker(settings) is None
    set_marker(settings, Marker("cloning", program))
    assert read_marker(settings) == Marker("cloning", program)
    clear_marker(settings)
    clear_marker(settings)
    assert read_marker(settings) is None


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"doing": "x", "program": [1]}'])
def test_a_marker_that_cannot_be_read_counts_as_one(settings: PostgresSettings, text: str) -> None:
    set_marker(settings, Marker("cloning"))
    (settings.state_dir / "unfinished.json").write_text(text)
    assert read_marker(settings) == Marker("unknown")


def test_a_password_file_escapes_its_separators() -> None:
    assert passfile_line("::1", 5432, Login("a:b", "c\\d:e")) == "\\:\\:1:5432:*:a\\:b:c\\\\d\\:e"


def test_what_others_keep_in_a_password_file_stays() -> None:
    theirs = "# mine\nhost:1:*:me:pw\n"
    once = merge_passfile(theirs, ("a:1:*:u:p",))
    assert once.splitlines()[1] == "a:1:*:u:p"
    assert once.endswith(theirs)
    again = merge_passfile(once, ("b:1:*:u:p",))
    assert "a:1" not in again
    assert again.endswith(theirs)
    assert merge_passfile(again, ("b:1:*:u:p",)) == again


async def test_a_service_file_holds_the_secrets_while_it_is_needed(settings: PostgresSettings) -> None:
    async with service(settings, {"host": "h", "password": "p:w '\\", "sslcert": ""}) as extra:
        path = Path(extra["PGSERVICEFILE"])
        assert path.read_text() == "[source]\nhost=h\npassword=p:w '\\\n"
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.parent.stat().st_mode & 0o777 == 0o700
    assert not path.parent.exists()


async def test_a_service_file_is_not_written_for_what_it_cannot_hold(settings: PostgresSettings) -> None:
    with pytest.raises(Refused, match="password contain a line break") as refused:
        async with service(settings, {"password": "a\nb"}):
            pass
    assert "a\nb" not in str(refused.value)


async def test_the_private_directory_is_short_enough_for_a_socket(tmp_path: Path) -> None:
    deep = PostgresSettings(data_dir=tmp_path, state_dir=tmp_path / ("x" * 90))
    async with private_directory(deep) as path:
        assert len(str(path / ".s.PGSQL.65535.lock")) < 107
