"""The configuration tools of the command ``haagent``."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
import yaml

from haagent import tools
from haagent.config import generate, origins
from haagent.config.load import load
from haagent.config.origins import Dcs
from tests.unit.config.files import a_tree

FOUND = generate.Found(
    scope="orders",
    name="db1",
    host="10.0.0.7",
    data_dir="/srv/pg",
    config_dir="/etc/pg",
    bin_dir="/usr/lib/postgresql/15/bin",
    listen_addresses="*",
    port=5433,
    superuser="postgres",
    encoding="UTF8",
    checksums=True,
    parameters={"max_connections": "300", "shared_buffers": "1GB", "listen_addresses": "*", "hba_file": "/etc/pg/hba"},
    hba=("local all all peer", "host all all 10.0.0.0/8 scram-sha-256"),
    ident=(),
)


def written(tmp_path: Path, **changes: object) -> str:
    path = tmp_path / "node.yml"
    path.write_text(yaml.safe_dump(a_tree(**changes)))
    return str(path)


def origin_of(tmp_path: Path, key: str, environ: dict[str, str], dcs: Dcs, **changes: object) -> str:
    """Value and origin of one setting as printed."""
    config = load(written(tmp_path, **changes), environ)
    line = next(line for line in origins.lines(config, dcs) if line.startswith(f"{key}:"))
    return " ".join(line.split())


def test_every_setting_is_shown_with_its_origin(tmp_path: Path) -> None:
    stored = Dcs({"ttl": 30, "postgresql": {"parameters": {"work_mem": "8MB"}, "use_pg_rewind": True}})
    environ = {"PATRONI_POSTGRESQL_PGPASS": "/p"}
    changes = {"postgresql__parameters": {"shared_buffers": "1GB", "work_mem": "9MB"}}
    file = str(tmp_path / "node.yml")

    def shown(key: str) -> str:
        return origin_of(tmp_path, key, environ, stored, **changes)

    assert shown("scope").endswith(f"# {file}")
    assert shown("namespace") == "namespace: /service/ # default"
    assert shown("postgresql.pgpass") == "postgresql.pgpass: /p # environment variable PATRONI_POSTGRESQL_PGPASS"
    assert shown("ttl") == "ttl: 30 # DCS"
    assert shown("loop_wait") == "loop_wait: 9 # default"
    assert shown("postgresql.use_pg_rewind") == "postgresql.use_pg_rewind: true # DCS"
    assert shown("postgresql.parameters.shared_buffers") == f"postgresql.parameters.shared_buffers: 1GB # {file}"
    assert shown("postgresql.parameters.work_mem") == f"postgresql.parameters.work_mem: 9MB # {file}"
    assert shown("postgresql.parameters.max_connections") == "postgresql.parameters.max_connections: '100' # default"


def test_what_is_printed_is_yaml_and_hides_secrets(tmp_path: Path) -> None:
    config = load(
        written(tmp_path, restapi__authentication={"username": "u", "password": "hush-hush"}),
        {"PATRONI_SUPERUSER_PASSWORD": "hush-hush"},
    )
    text = "\n".join(origins.lines(config, Dcs(None, "etcd did not answer")))
    assert "hush-hush" not in text
    assert "restapi.authentication.password: ***" in text
    assert "bootstrap.dcs of" in text
    assert "as etcd did not answer" in text
    assert yaml.safe_load(text.replace("***", "hidden"))["scope"] == config.scope


def test_print_says_that_etcd_is_away(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path, etcd3={"hosts": "127.0.0.1:1"})
    assert tools.validate(path, {}, shown=True) == 0
    assert "etcd did not answer" in capsys.readouterr().out


def test_an_invalid_file_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert tools.validate(written(tmp_path, restapi__listne="x"), {}, shown=True) == 1
    assert "did you mean listen" in capsys.readouterr().err


def test_the_generated_file_is_valid_and_keeps_what_was_found(tmp_path: Path) -> None:
    path = tmp_path / "new.yml"
    path.write_text(generate.render(FOUND))
    config = load(str(path), {}, strict=True)
    assert (config.scope, config.name, config.postgresql.data_dir) == ("orders", "db1", "/srv/pg")
    assert config.bootstrap.dcs["postgresql"]["parameters"] == {"max_connections": "300"}
    assert dict(config.postgresql.parameters) == {"shared_buffers": "1GB"}
    assert config.postgresql.pg_hba == FOUND.hba
    assert str(config.postgresql.connect_address) == "10.0.0.7:5433"


def test_a_file_that_exists_is_not_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "mine.yml"
    path.write_text("scope: precious\n")
    assert tools.generate_sample(str(path)) == 1
    assert path.read_text() == "scope: precious\n"
    assert "was not written: File exists" in capsys.readouterr().err


def test_the_sample_is_a_valid_file_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "sample.yml"
    assert tools.generate_sample(str(path)) == 0
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    load(str(path), {}, strict=True)


def test_no_server_no_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "never.yml"
    dsn = "host=127.0.0.1 port=1 user=postgres password=hush-hush"
    assert tools.generate_config(str(path), dsn, {}) == 1
    told = capsys.readouterr().err
    assert "no configuration was written" in told
    assert "hush-hush" not in told
    assert not path.exists()
