"""Two configuration files from the field load as they are."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

from haagent.config.values import Address, Listen, Secret
from tests.unit.config.files import from_text

FIRST = """\
scope: postgres-cluster
name: node1
restapi: {listen: "0.0.0.0:8008", connect_address: "192.168.1.1:8008"}
etcd3: {hosts: "etcd1:2379,etcd2:2379,etcd3:2379"}
bootstrap: {dcs: {ttl: 30, loop_wait: 10, retry_timeout: 10, maximum_lag_on_failover: 1048576}}
postgresql:
  listen: 0.0.0.0:5432
  connect_address: 192.168.1.1:5432
  data_dir: /var/lib/postgresql/data
  authentication: {replication: {username: replicator, password: secret}}
"""

SECOND = """\
scope: postgres
namespace: /db/
name: postgres-1
restapi: {listen: "0.0.0.0:8008", connect_address: "192.168.1.10:8008"}
etcd3: {hosts: "192.168.1.10:2379,192.168.1.11:2379,192.168.1.12:2379"}
bootstrap:
  dcs:
    ttl: 30
    loop_wait: 10
    retry_timeout: 10
    maximum_lag_on_failover: 1048576
    postgresql:
      use_pg_rewind: true
      use_slots: true
      parameters: {wal_level: replica, hot_standby: "on", wal_log_hints: "on", max_wal_senders: 10, max_replication_slots: 10, wal_keep_segments: 8,
        max_connections: 100, max_prepared_transactions: 0, max_locks_per_transaction: 64, wal_sender_timeout: 60s, wal_receiver_timeout: 60s,
        max_standby_streaming_delay: 30s, max_standby_archive_delay: 30s, hot_standby_feedback: "on", synchronous_commit: "on",
        synchronous_standby_names: "postgres-2,postgres-3"}
postgresql:
  listen: 0.0.0.0:5432
  connect_address: 192.168.1.10:5432
  data_dir: /var/lib/postgresql/16/main
  bin_dir: /usr/lib/postgresql/16/bin
  config_dir: /etc/postgresql/16/main
  pgpass: /var/lib/postgresql/.pgpass
  authentication:
    replication: {username: replicator, password: replication_password}
    superuser: {username: postgres, password: postgres_password}
  parameters: {unix_socket_directories: /var/run/postgresql}
tags: {nofailover: false, noloadbalance: false, clonefrom: false, nosync: false}
"""  # noqa: E501


def test_a_small_file(tmp_path: Path) -> None:
    config = from_text(tmp_path, FIRST)
    assert config.warnings == ()
    assert config.endpoints == ("http://etcd1:2379", "http://etcd2:2379", "http://etcd3:2379")
    assert config.restapi.listen == Address("0.0.0.0", 8008)
    assert config.postgresql.listen == Listen(("0.0.0.0",), 5432)
    assert config.prefix == "/service/postgres-cluster/"
    assert config.haagent.state_dir == "/var/lib/postgresql/data.haagent"
    settings, warnings = config.settings(None)
    assert (settings.ttl, settings.loop_wait, settings.retry_timeout) == (30, 10, 10)
    assert settings.bootstrap_document == {
        "ttl": 30,
        "loop_wait": 10,
        "retry_timeout": 10,
        "maximum_lag_on_failover": 1048576,
    }
    assert warnings == ()


def test_without_a_superuser_the_operating_systems_user_is_taken(tmp_path: Path) -> None:
    roles = from_text(tmp_path, FIRST).postgresql.authentication
    assert roles.superuser.username == pwd.getpwuid(os.geteuid()).pw_name
    assert not roles.superuser.password
    assert roles.rewind == roles.superuser
    assert (roles.replication.username, roles.replication.password) == ("replicator", Secret("secret"))


def test_a_larger_file(tmp_path: Path) -> None:
    config = from_text(tmp_path, SECOND)
    me = config.me()
    assert (me.name, me.conn_url) == ("postgres-1", "postgres://192.168.1.10:5432/postgres")
    assert me.api_url == "http://192.168.1.10:8008/patroni"
    assert me.tags.published == {}
    assert config.prefix == "/db/postgres/"
    assert config.postgresql.pgpass == "/var/lib/postgresql/.pgpass"
    settings, warnings = config.settings(None)
    assert settings.use_pg_rewind
    assert settings.use_slots
    assert settings.parameters["wal_keep_size"] == "128MB"
    assert settings.parameters["unix_socket_directories"] == "/var/run/postgresql"
    assert settings.parameters["hot_standby_feedback"] == "on"
    assert settings.parameters["max_connections"] == "100"
    for owned in ("synchronous_standby_names", "hot_standby", "wal_log_hints", "wal_keep_segments"):
        assert owned not in settings.parameters
    assert [w.split(": ")[1].rpartition(".")[2] for w in warnings] == ["wal_keep_segments", "synchronous_standby_names"]
    assert config.warnings == warnings


def test_the_document_of_the_larger_file_is_stored_as_given(tmp_path: Path) -> None:
    stored = from_text(tmp_path, SECOND).bootstrap_document
    assert stored["postgresql"]["parameters"]["wal_keep_segments"] == 8
    assert stored["postgresql"]["parameters"]["synchronous_standby_names"] == "postgres-2,postgres-3"


def test_no_password_shows_in_the_repr(tmp_path: Path) -> None:
    config = from_text(tmp_path, SECOND)
    for shown in (repr(config), repr(config.postgresql), f"{config.postgresql.authentication}"):
        assert "replication_password" not in shown
        assert "postgres_password" not in shown
