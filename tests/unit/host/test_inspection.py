"""What is seen of a machine's files: of directories made for the purpose, with a root of their own."""

from __future__ import annotations

from pathlib import Path

import pytest

from haagent.core.health.facts import Unit
from haagent.host.inspection import Places, clock, looked, path_facts, resolved, unfit, units, volumes


def test_a_path_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "pgpass"
    file.touch(mode=0o640)
    file.chmod(0o640)
    found = path_facts(str(file))
    assert (found.there, found.directory, found.bits) == (True, False, "0640")
    assert not path_facts(str(tmp_path / "nothing")).there


def test_commands_that_can_be_run_and_ones_that_cannot(tmp_path: Path) -> None:
    script = tmp_path / "hook"
    script.write_text("#!/bin/sh\n")
    assert unfit(f"{script} --with words") == f"{script} (mode {path_facts(str(script)).bits}) is not executable"
    script.chmod(0o755)
    assert unfit(f"{script} --with words") == ""
    assert unfit("sh -c 'true'") == ""
    assert unfit("/nowhere/hook") == "/nowhere/hook is not there"
    assert "can't be read" in unfit("sh 'unclosed")


def test_enabled_units_that_start_postgresql_on_the_same_data(tmp_path: Path) -> None:
    wants = tmp_path / "etc/systemd/system/multi-user.target.wants"
    wants.mkdir(parents=True)
    (wants / "postgresql-15.service").write_text("[Service]\nEnvironment=PGDATA=/data/pg/\n")
    (wants / "patroni.service").write_text("[Service]\nExecStart=/usr/bin/patroni /etc/p.yml\n")
    (wants / "cron.service").write_text("/data/pg")
    assert units(Path("/data/pg"), tmp_path) == (Unit("patroni.service", False), Unit("postgresql-15.service", True))
    assert units(Path("/data/pg2"), tmp_path) == (Unit("patroni.service", False), Unit("postgresql-15.service", False))


def test_debians_clusters_that_start_by_themselves(tmp_path: Path) -> None:
    wants = tmp_path / "etc/systemd/system/multi-user.target.wants"
    wants.mkdir(parents=True)
    (wants / "postgresql.service").write_text("[Service]\nType=oneshot\n")
    place = tmp_path / "etc/postgresql/15/main"
    place.mkdir(parents=True)
    (place / "postgresql.conf").write_text("data_directory = '/data/pg'\t# here\n")
    (place / "start.conf").write_text("# comment\nauto\n")
    assert Unit("postgresql@15-main.service", True) in (units(Path("/data/pg"), tmp_path) or ())
    (place / "start.conf").write_text("manual\n")
    assert units(Path("/data/pg"), tmp_path) == (Unit("postgresql.service", False),)
    assert units(Path("/data/pg"), tmp_path / "nowhere") is None


def test_the_file_system_of_a_directory_that_is_not_there_yet(tmp_path: Path) -> None:
    (found,) = volumes((tmp_path / "pg", tmp_path / "pg/pg_wal"))
    assert found.path == str(tmp_path / "pg")
    assert 0 < found.free <= found.total
    assert str(tmp_path).startswith(found.point)


def test_a_whole_machine(tmp_path: Path) -> None:
    (tmp_path / "pg").mkdir(mode=0o700)
    (tmp_path / "pg/PG_VERSION").write_text("15\n")
    places = Places(tmp_path / "pg", tmp_path / "state", tmp_path / "pgpass", bin_dir=tmp_path, hooks={"x": "/no"})
    found = looked(places)
    assert (found.data.bits, found.data_version, found.state_dir.there) == ("0700", "15", False)
    assert "postgres" in found.missing_programs
    assert found.hooks[0].why == "/no is not there"


def test_this_machines_clock_can_be_asked() -> None:
    found = clock()
    assert found.synchronised in (True, False)
    assert found.error_s is not None


@pytest.mark.parametrize(("host", "addresses"), [("127.0.0.1", ("127.0.0.1",)), ("host.invalid", ())])
def test_names(host: str, addresses: tuple[str, ...]) -> None:
    found = resolved("member a", host)
    assert found.addresses == addresses
    assert bool(found.why) == (not addresses)
