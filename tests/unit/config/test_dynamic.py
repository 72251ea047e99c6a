"""The settings in use: the dynamic configuration with a node's own file on top."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from haagent.config.load import Config, load
from haagent.config.problems import ConfigError
from haagent.core.facts import Settings
from tests.unit.config.files import a_tree


def a_config(**changes: Any) -> Config:
    return load(None, {"HAAGENT_CONFIGURATION": yaml.safe_dump(a_tree(**changes))})


def in_use(document: dict[str, Any], **changes: Any) -> Settings:
    return a_config(**changes).settings(document)[0]


def said(document: dict[str, Any], **changes: Any) -> list[str]:
    return [w.removeprefix("dynamic configuration: ") for w in a_config(**changes).settings(document)[1]]


def wrong(document: dict[str, Any]) -> str:
    with pytest.raises(ConfigError) as caught:
        a_config().settings(document)
    return str(caught.value)


def test_a_new_cluster_gets_the_default_timing_in_its_document() -> None:
    found, warnings = a_config().settings(None)
    assert (found.ttl, found.loop_wait, found.retry_timeout) == (10, 3, 3)
    assert found.bootstrap_document == {"ttl": 10, "loop_wait": 3, "retry_timeout": 3}
    assert warnings == ()


@pytest.mark.parametrize("ttl", [3, 4, 5, 7, 10, 20, 30, 60, 600, "3", "30s", 3.5])
def test_any_ttl_from_three_up_is_accepted(ttl: Any) -> None:
    found = a_config(bootstrap__dcs={"ttl": ttl}).settings(None)[0]
    assert found.bootstrap_document["ttl"] == ttl
    assert found.loop_wait + found.retry_timeout < found.ttl


@pytest.mark.parametrize(("ttl", "loop_wait", "retry_timeout"), [(30, 10, 10), (20, 10, 5), (40, 10, 15)])
def test_usual_timings_of_patroni_are_used_as_they_are(ttl: int, loop_wait: int, retry_timeout: int) -> None:
    document = {"ttl": ttl, "loop_wait": loop_wait, "retry_timeout": retry_timeout}
    found = in_use(document)
    assert (found.ttl, found.loop_wait, found.retry_timeout) == (ttl, loop_wait, retry_timeout)
    assert said(document) == []


def test_a_stored_timing_that_contradicts_itself_is_adjusted_with_a_warning() -> None:
    document = {"ttl": 10, "loop_wait": 10, "retry_timeout": 10}
    found = in_use(document)
    assert found.loop_wait + found.retry_timeout < found.ttl
    assert "loop_wait + retry_timeout = 10 + 10" in said(document)[0]


@pytest.mark.parametrize(
    ("document", "formula"),
    [
        ({"ttl": 20, "loop_wait": 10, "retry_timeout": 10}, r"loop_wait \+ retry_timeout = 10 \+ 10 = 20 s is more"),
        ({"ttl": 8}, r"than demote_after = ttl - margin - max\(0\.4, 0\.15 \* ttl\) = 6\.32 s for ttl 8 s"),
        ({"loop_wait": 0.5}, "must be at least 1 s"),
        ({"ttl": 2}, "ttl is 2 s; it must be at least 3 s"),
    ],
)
def test_a_timing_that_an_operator_writes_is_refused_with_the_formula(document: dict[str, Any], formula: str) -> None:
    """Fault 83: what is stored already is adjusted, what is about to be stored is not."""
    whole = {"ttl": 10, "loop_wait": 4, "retry_timeout": 3} | document
    with pytest.raises(ConfigError, match=formula):
        a_config().check(whole)


def test_what_is_stored_stays_as_given_in_the_bootstrap_document() -> None:
    given = {"ttl": 30, "master_start_timeout": 5, "zzz": 1, "slots": {"a": None}, "pause": None}
    config = a_config(bootstrap__dcs=given)
    stored = config.settings(None)[0].bootstrap_document
    assert stored == {
        "ttl": 30,
        "loop_wait": 9,
        "retry_timeout": 9,
        "master_start_timeout": 5,
        "zzz": 1,
        "slots": {"a": None},
    }
    assert config.settings(None)[0].primary_start_timeout == 5
    assert any("bootstrap.dcs.zzz: no such setting" in w for w in config.warnings)


@pytest.mark.parametrize(
    ("given", "mode"),
    [
        (True, "on"),
        (False, "off"),
        ("on", "on"),
        ("off", "off"),
        ("quorum", "quorum"),
        ("Quorum", "quorum"),
        (None, "off"),
    ],
)
def test_synchronous_mode(given: Any, mode: str) -> None:
    assert in_use({"synchronous_mode": given}).synchronous_mode == mode


@pytest.mark.parametrize(("given", "mode"), [("true", "on"), ("false", "off"), ("yes", "on")])
def test_synchronous_mode_as_text_of_a_boolean(given: str, mode: str) -> None:
    assert in_use({"synchronous_mode": given}).synchronous_mode == mode


def test_null_removes_a_setting() -> None:
    found = in_use({"primary_start_timeout": None, "postgresql": {"use_slots": None, "parameters": {"work_mem": None}}})
    assert found.primary_start_timeout == 300
    assert found.use_slots
    assert "work_mem" not in found.parameters
    assert in_use({"postgresql": None}).parameters["max_connections"] == "100"


def test_a_slot_without_properties_is_a_permanent_physical_one() -> None:
    slots = {"a": None, "b": {}, "c": {"type": "logical", "database": "d", "plugin": "p"}}
    assert in_use({"slots": slots}).slots == {"a": {"type": "physical"}, "b": {"type": "physical"}, "c": slots["c"]}
    assert said({"slots": slots}) == ["slots.c: it can't be made until postgresql.parameters.wal_level is logical"]
    assert said({"slots": slots, "postgresql": {"parameters": {"wal_level": "logical"}}}) == []
    assert "slots.a: found 1; expected a map of properties" in wrong({"slots": {"a": 1}})


def test_a_slot_that_postgresql_could_not_have_is_left_out_and_told_of() -> None:
    slots = {"Big": None, "odd": {"type": "round"}, "bare": {"type": "logical", "database": "d"}, "good": None}
    assert in_use({"slots": slots}).slots == {"good": {"type": "physical"}}
    assert [line.partition(":")[0] for line in said({"slots": slots})] == ["slots.Big", "slots.odd", "slots.bare"]
    assert in_use({"slots": {"a": {"database": "d", "plugin": "p"}}}).slots["a"]["type"] == "logical"


def test_the_file_wins_over_the_dynamic_configuration() -> None:
    document = {
        "postgresql": {
            "parameters": {"work_mem": "1MB", "log_statement": "all"},
            "pg_hba": ["dynamic"],
            "pg_ident": ["dynamic"],
            "use_pg_rewind": True,
            "recovery_conf": {"restore_command": "dynamic", "recovery_target_timeline": "latest"},
        }
    }
    found = in_use(
        document,
        postgresql__parameters={"work_mem": "2MB", "restore_command": "own"},
        postgresql__pg_hba=["own"],
        postgresql__use_pg_rewind=False,
    )
    assert found.parameters["work_mem"] == "2MB"
    assert found.parameters["log_statement"] == "all"
    assert (found.pg_hba, found.pg_ident) == (("own",), ("dynamic",))
    assert not found.use_pg_rewind
    assert found.recovery == {"restore_command": "own", "recovery_target_timeline": "latest"}


def test_parameters_that_all_nodes_share_come_from_the_dynamic_configuration_only() -> None:
    document = {"postgresql": {"parameters": {"max_connections": 200}}}
    assert in_use(document, postgresql__parameters={"max_connections": 50}).parameters["max_connections"] == "200"
    assert "postgresql.parameters.max_connections: has no effect in one node's file" in "".join(
        said(document, postgresql__parameters={"max_connections": 50})
    )


def test_shared_parameters_have_defaults() -> None:
    assert in_use({}).parameters == {
        "wal_level": "replica",
        "max_connections": "100",
        "max_wal_senders": "10",
        "max_replication_slots": "10",
        "max_worker_processes": "8",
        "max_prepared_transactions": "0",
        "max_locks_per_transaction": "64",
        "track_commit_timestamp": "off",
        "wal_keep_size": "128MB",
    }


@pytest.mark.parametrize(
    ("name", "given", "used"),
    [
        ("max_connections", 10, "25"),
        ("max_wal_senders", "1", "3"),
        ("max_replication_slots", 0, "4"),
        ("max_worker_processes", 1, "2"),
        ("max_locks_per_transaction", 10, "32"),
        ("wal_keep_size", "1MB", "16MB"),
        ("wal_keep_size", 8, "16MB"),
        ("wal_keep_size", "1024kB", "16MB"),
        ("wal_level", "minimal", "replica"),
        ("wal_level", "hot_standby", "replica"),
    ],
)
def test_values_below_the_minimum_are_raised_with_a_warning(name: str, given: Any, used: str) -> None:
    document = {"postgresql": {"parameters": {name: given}}}
    assert in_use(document).parameters[name] == used
    assert len(said(document)) == 1
    assert said(document)[0].startswith(f"postgresql.parameters.{name}: ")


@pytest.mark.parametrize(
    ("name", "given"), [("wal_level", "logical"), ("wal_keep_size", "1GB"), ("max_connections", "500")]
)
def test_values_above_the_minimum_are_kept(name: str, given: str) -> None:
    document = {"postgresql": {"parameters": {name: given}}}
    assert in_use(document).parameters[name] == given
    assert said(document) == []


def test_wal_keep_segments_becomes_wal_keep_size() -> None:
    assert in_use({"postgresql": {"parameters": {"wal_keep_segments": "32"}}}).parameters["wal_keep_size"] == "512MB"
    both = {"postgresql": {"parameters": {"wal_keep_segments": 32, "wal_keep_size": "1GB"}}}
    assert in_use(both).parameters["wal_keep_size"] == "1GB"


def test_parameters_of_the_agent_are_left_out_with_a_warning() -> None:
    parameters = {
        "listen_addresses": "*",
        "PORT": 1,
        "hot_standby": False,
        "wal_log_hints": True,
        "primary_conninfo": "x",
    }
    document = {"postgresql": {"parameters": parameters}}
    assert not {name.lower() for name in parameters} & in_use(document).parameters.keys()
    assert [line.split(":")[0].rpartition(".")[2] for line in said(document)] == [
        "listen_addresses",
        "port",
        "hot_standby",
        "primary_conninfo",
    ]
    assert said(document)[0].endswith("use postgresql.listen")


def test_recovery_parameters_may_stand_among_the_ordinary_ones_but_targets_may_not() -> None:
    parameters = {"restore_command": "cp %f %p", "recovery_min_apply_delay": "1h", "recovery_target_time": "now"}
    document = {"postgresql": {"parameters": parameters}}
    found = in_use(document)
    assert found.recovery == {"restore_command": "cp %f %p", "recovery_min_apply_delay": "1h"}
    assert "restore_command" not in found.parameters
    assert "recovery_target_time: left out" in said(document)[0]


def test_values_become_text() -> None:
    found = in_use({"postgresql": {"parameters": {"a.b": True, "c": False, "d": 0.5, "e": 7}}})
    assert [found.parameters[name] for name in ("a.b", "c", "d", "e")] == ["on", "off", "0.5", "7"]


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"ttl": []}, "dynamic configuration: ttl: found a list; expected seconds"),
        ({"maximum_lag_on_failover": -1}, "maximum_lag_on_failover: found -1; expected a whole number at least 0"),
        ({"synchronous_mode": "maybe"}, "found 'maybe'; expected one of off, on, quorum"),
        ({"postgresql": []}, "postgresql: found *** (hidden); expected a map"),
        ({"postgresql": {"parameters": {"a": []}}}, "postgresql.parameters.a: found a list; expected text, a number"),
        ({"postgresql": {"parameters": {"a\nb": 1}}}, "expected the name of a PostgreSQL parameter"),
        ({"postgresql": {"parameters": {"a": "x\ny"}}}, "expected one line of text"),
        ({"postgresql": {"recovery_conf": {"a": {}}}}, "postgresql.recovery_conf.a: found a map"),
        ({"postgresql": {"parameters": {"wal_keep_size": "lots"}}}, "expected a size such as 128MB for wal_keep_size"),
        ({"postgresql": {"parameters": {"wal_keep_segments": "x"}}}, "a whole number for wal_keep_segments"),
        ({"ignore_slots": [1]}, "ignore_slots: found a list; expected a list of maps"),
    ],
)
def test_a_document_that_cannot_be_used_is_refused(document: dict[str, Any], expected: str) -> None:
    assert expected in wrong(document)


def test_what_belongs_into_the_file_or_has_no_effect_yet_is_told() -> None:
    document = {"postgresql": {"listen": "x:1", "pg_hosts_primary": ["a"]}, "standby_cluster": {}, "ttI": 3}
    assert said(document) == [
        "postgresql.listen: belongs into each node's own file and has no effect in the dynamic configuration",
        "postgresql.pg_hosts_primary: accepted, has no effect yet",
        "ttI: no such setting; did you mean ttl?",
        "standby_cluster: is not used: it has neither host nor port nor restore_command",
    ]


def test_settings_of_the_file_reach_the_settings_in_use() -> None:
    found = in_use({}, haagent__peer_timeout=1, postgresql__pre_promote="/fence")
    assert found.peer_timeout == 1
    assert found.pre_promote == "/fence"
    assert in_use({}).pre_promote is None


def test_every_default_is_that_of_the_core() -> None:
    found = in_use({})
    usual = Settings(parameters=found.parameters, bootstrap_document=found.bootstrap_document)
    assert found == usual


def test_what_holds_for_one_role() -> None:
    document = {
        "postgresql": {
            "parameters": {"work_mem": "1MB", "log_statement": "all", "max_connections": 50},
            "parameters_replica": {"work_mem": "2MB", "Max_Standby_Streaming_Delay": "1min", "max_connections": 60},
            "pg_hba": ["everybody"],
            "pg_hba_primary": ["primary"],
        }
    }
    found = in_use(document, postgresql__parameters={"log_statement": "none"}, postgresql__pg_ident_replica=["own"])
    primary, replica = found.rules("primary"), found.rules("replica")
    assert (found.pg_hba, primary.pg_hba, replica.pg_hba) == (("everybody",), ("primary",), ("everybody",))
    assert (primary.pg_ident, replica.pg_ident) == ((), ("own",))
    assert primary.parameters == found.parameters
    expected = {"work_mem": "2MB", "max_standby_streaming_delay": "1min"}
    assert replica.parameters == {**found.parameters, **expected}
    assert (found.parameters["log_statement"], found.parameters["max_connections"]) == ("none", "50")
    assert said(document) == [
        "postgresql.parameters_replica.max_connections: left out: all nodes need the same in every role"
    ]
    assert in_use({}).by_role == {}


def test_the_file_as_a_whole_wins_over_what_holds_for_one_role() -> None:
    document = {"postgresql": {"parameters_primary": {"work_mem": "1MB"}, "pg_hba_primary": ["dynamic"]}}
    found = in_use(document, postgresql__parameters={"work_mem": "2MB"}, postgresql__pg_hba=["own"]).rules("primary")
    assert (found.parameters["work_mem"], found.pg_hba) == ("2MB", ("own",))
