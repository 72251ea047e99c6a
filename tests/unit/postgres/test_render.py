"""The configuration files and the command line, as text."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haagent.core.facts import ServerConfig, Upstream
from haagent.postgres import render
from haagent.postgres.settings import Login, PostgresSettings

SETTINGS = PostgresSettings(
    data_dir=Path("/data"),
    state_dir=Path("/state"),
    cluster_name="demo",
    listen_addresses="10.0.0.1",
    port=5433,
    replication=Login("copy", "secret", {"sslmode": "verify-full", "sslcert": "/a b"}),
)
FOLLOWING = ServerConfig(upstream=Upstream("n1", "10.0.0.2", 5432), slot_name="n2", application_name="n2")


def values(text: str) -> dict[str, str]:
    """The last value of every parameter, unquoted."""
    found = {}
    for line in text.splitlines():
        name, equals, value = line.partition(" = ")
        if equals:
            found[name] = value[1:-1].replace("''", "'").replace("\\\\", "\\")
    return found


def conf(config: ServerConfig, settings: PostgresSettings = SETTINGS) -> dict[str, str]:
    return values(render.postgresql_conf(settings, config, "postgresql.base.conf"))


def test_the_base_configuration_outweighs_defaults_and_is_outweighed_by_all_else() -> None:
    lines = render.postgresql_conf(SETTINGS, ServerConfig(), "postgresql.base.conf").splitlines()
    assert lines[0].startswith("#")
    include = lines.index("include 'postgresql.base.conf'")
    before = [line.partition(" = ")[0] for line in lines[1:include]]
    after = [line.partition(" = ")[0] for line in lines[include + 1 :]]
    assert before == ["wal_keep_size", "wal_retrieve_retry_interval"]
    assert {"port", "max_connections", "primary_conninfo"} <= set(after)
    assert "include" not in render.postgresql_conf(SETTINGS, ServerConfig(), None)


def test_operators_set_parameters_but_not_the_ones_the_agent_finds_the_server_by() -> None:
    asked = {"work_mem": "8MB", "port": "1", "listen_addresses": "*", "hot_standby": "off", "primary_conninfo": "x"}
    shown = conf(ServerConfig(parameters=asked))
    assert shown["work_mem"] == "8MB"
    assert (shown["port"], shown["listen_addresses"], shown["hot_standby"]) == ("5433", "10.0.0.1", "on")
    assert shown["primary_conninfo"] == ""
    assert shown["cluster_name"] == "demo"


def test_a_standby_does_not_restart_by_itself_whatever_its_operator_wants() -> None:
    asked = {"restart_after_crash": "on"}
    assert conf(ServerConfig(parameters=asked, restarts_after_crash=False))["restart_after_crash"] == "off"
    assert conf(ServerConfig(parameters=asked))["restart_after_crash"] == "on"
    assert "restart_after_crash" not in conf(ServerConfig())


def test_what_must_agree_on_all_nodes_has_a_value_even_if_nobody_gave_one() -> None:
    shown = conf(ServerConfig(parameters={"max_connections": "7", "wal_level": "minimal"}))
    assert shown["max_connections"] == "7"
    assert shown["wal_level"] == "replica"
    assert shown["wal_log_hints"] == "on"
    assert shown["max_wal_senders"] == "10"


def test_a_standby_is_told_whom_to_follow_without_a_password() -> None:
    shown = conf(FOLLOWING)
    assert shown["primary_conninfo"] == (
        "sslmode=verify-full sslcert='/a b' dbname=postgres user=copy passfile=/state/pgpass host=10.0.0.2 port=5432 "
        "application_name=n2 options=-ctcp_user_timeout=15s"
    )
    assert shown["primary_slot_name"] == "n2"
    assert shown["recovery_target_timeline"] == "latest"


def test_recovery_settings_are_kept_but_never_the_upstream() -> None:
    recovery = {"restore_command": "cp '/a/%f' %p", "recovery_target_timeline": "3", "primary_conninfo": "host=evil"}
    shown = conf(ServerConfig(recovery=recovery))
    assert shown["restore_command"] == "cp '/a/%f' %p"
    assert shown["recovery_target_timeline"] == "3"
    assert shown["primary_conninfo"] == ""


@pytest.mark.parametrize(("asked", "shown"), [(None, "a,b"), ("", ""), ('ANY 1 ("x")', 'ANY 1 ("x")')])
def test_synchronous_standbys_are_the_agents_when_it_has_a_say(asked: str | None, shown: str) -> None:
    config = ServerConfig(parameters={"synchronous_standby_names": "a,b"}, synchronous_standby_names=asked)
    assert conf(config)["synchronous_standby_names"] == shown


@given(st.text(st.characters(blacklist_categories=("Cs", "Cc"), blacklist_characters="\u2028\u2029\x85")))
def test_any_value_survives_its_quotes(value: str) -> None:
    assert conf(ServerConfig(parameters={"x": value}))["x"] == value


def test_a_line_break_cannot_smuggle_a_parameter_in() -> None:
    assert "evil" not in conf(ServerConfig(parameters={"x": "1'\nevil = 'on"}))


def test_the_command_line_holds_what_alter_system_must_not_change() -> None:
    words = render.command_line(SETTINGS, ServerConfig(parameters={"max_connections": "20"}), None)
    assert words[:4] == ["-D", "/data", "-c", "config_file=/data/postgresql.conf"]
    assert {"port=5433", "data_directory=/data", "max_connections=20", "cluster_name=demo"} <= set(words)
    assert not any("secret" in word for word in words)


def test_a_standby_starts_with_no_less_than_the_control_file_demands() -> None:
    least = {"max_connections": 50, "max_worker_processes": 1}
    words = render.command_line(
        SETTINGS, ServerConfig(parameters={"max_connections": "20"}), lambda name: least.get(name, 0)
    )
    assert {"max_connections=50", "max_worker_processes=8"} <= set(words)


def test_alter_system_loses_only_what_would_turn_the_standby_elsewhere() -> None:
    auto = "# Do not edit\nwork_mem = '1MB'\nPRIMARY_CONNINFO = 'host=x'\nrestore_command='false'\n"
    assert render.without_recovery(auto) == "# Do not edit\nwork_mem = '1MB'\n"


def test_a_new_cluster_lets_in_by_password_and_the_agent_as_itself() -> None:
    peer = render.default_hba(Login(), Login("copy", "x"), "postgres", "scram-sha-256")
    assert peer == (
        "local all postgres peer",
        "local all all scram-sha-256",
        "host all all all scram-sha-256",
        "host replication copy all scram-sha-256",
    )
    assert render.default_ident(Login(), "postgres") == ()


def test_a_superuser_of_another_name_comes_in_through_a_map() -> None:
    admin = Login("Admin")
    assert render.default_hba(admin, Login(), "pg", "md5")[0] == 'local all "Admin" peer map=haagent'
    assert render.default_ident(admin, "pg") == ('haagent pg "Admin"',)
    with_password = Login("Admin", "x")
    assert render.default_hba(with_password, Login(), "pg", "md5")[0] == "local all all md5"
    assert render.default_ident(with_password, "pg") == ()


def test_a_role_named_like_a_keyword_is_quoted() -> None:
    assert render.default_hba(Login("all"), Login("+x", "y"), "all", "md5") == (
        'local all "all" peer',
        "local all all md5",
        "host all all all md5",
        'host replication "+x" all md5',
    )


def test_what_logical_slots_need_depends_on_the_version() -> None:
    keeping = ServerConfig(keeps_logical=True, awaited_slots=("b", "c"), parameters={"hot_standby_feedback": "off"})

    def told(config: ServerConfig, major: int) -> dict[str, str]:
        shown = values(render.postgresql_conf(SETTINGS, config, None, major))
        names = ("hot_standby_feedback", "sync_replication_slots", "synchronized_standby_slots")
        return {name: shown[name] for name in names if name in shown}

    assert told(ServerConfig(), 17) == {}
    assert told(keeping, 16) == {"hot_standby_feedback": "on"}
    both = {"hot_standby_feedback": "on", "sync_replication_slots": "on", "synchronized_standby_slots": "b,c"}
    assert told(keeping, 17) == both
    own = ServerConfig(keeps_logical=True, parameters={"synchronized_standby_slots": "mine"})
    assert told(own, 18)["synchronized_standby_slots"] == "mine"
