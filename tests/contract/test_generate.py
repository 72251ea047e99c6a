"""A configuration file made from a real running PostgreSQL."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from haagent import tools
from haagent.config.load import load
from tests.contract.server import PORT, USER, Server


def test_a_file_for_the_server_that_runs(server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    server.start()
    dsn = f"host={server.home} port={PORT} user={USER} dbname=postgres"
    path = tmp_path / "node.yml"
    assert tools.generate_config(str(path), dsn, {"HAAGENT_SCOPE": "orders", "HAAGENT_NAME": "db1"}) == 0
    assert str(path) in capsys.readouterr().out
    config = load(str(path), {}, strict=True)
    assert Path(config.postgresql.data_dir) == server.data_dir
    assert Path(config.postgresql.bin_dir, "postgres").exists()
    assert config.postgresql.listen.port == PORT
    assert config.postgresql.pg_hba
    assert not {"port", "listen_addresses", "data_directory"} & set(config.postgresql.parameters)
    assert yaml.safe_load(path.read_text())["scope"] == "orders"
