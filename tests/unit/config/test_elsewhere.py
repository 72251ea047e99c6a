"""The section standby_cluster: what it becomes, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from haagent.config.problems import ConfigError
from haagent.core.facts import Remote
from tests.unit.config.test_dynamic import in_use, said


def following(**section: Any) -> dict[str, Any]:
    return {"standby_cluster": section}


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ({"host": "10.1.0.1"}, Remote("10.1.0.1")),
        ({"host": "a, b,", "port": "5433", "primary_slot_name": "dc2"}, Remote("a,b", 5433, "dc2")),
        ({"port": 5433}, Remote("localhost", 5433)),
        ({"restore_command": "cp x %p"}, Remote("")),
        ({"host": None, "port": None}, None),
    ],
)
def test_whom_it_follows(section: dict[str, Any], expected: Remote | None) -> None:
    assert in_use(following(**section)).standby_cluster == expected


@pytest.mark.parametrize(
    ("section", "text"),
    [
        ({"port": 0}, "standby_cluster.port: found 0; expected a port from 1 to 65535"),
        ({"port": True}, "expected a port from 1 to 65535"),
        ({"host": []}, "standby_cluster.host: found a list; expected text"),
        ({"host": "x", "create_replica_methods": ["far"]}, "postgresql.far: must be given"),
    ],
)
def test_what_cannot_be_used_is_refused(section: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        in_use(following(**section))


def test_what_is_not_known_or_of_no_use_is_told() -> None:
    assert said(following(hots="x")) == [
        "standby_cluster.hots: no such setting; did you mean host?",
        "standby_cluster: is not used: it has neither host nor port nor restore_command",
    ]


def test_recovery_of_all_and_of_the_leader_alone() -> None:
    document = {
        "standby_cluster": {
            "host": "x",
            "restore_command": "far %p",
            "archive_cleanup_command": "clean",
            "recovery_min_apply_delay": "5min",
        },
        "postgresql": {
            "parameters": {"restore_command": "near %p", "work_mem": "1MB"},
            "parameters_standby_leader": {"work_mem": "2MB"},
            "parameters_primary": {"work_mem": "3MB"},
        },
    }
    found = in_use(document)
    assert found.rules("replica").recovery == {"restore_command": "far %p"}
    assert found.rules("primary").recovery == {"restore_command": "near %p"}
    leader = found.rules("standby_leader")
    assert leader.parameters["work_mem"] == "2MB"
    assert leader.recovery == {
        "restore_command": "far %p",
        "archive_cleanup_command": "clean",
        "recovery_min_apply_delay": "5min",
    }


def test_its_own_ways_to_make_a_copy() -> None:
    methods = {"create_replica_methods": ["basebackup"], "far": {"command": "fetch"}}
    document = {"standby_cluster": {"host": "x", "create_replica_methods": ["far"]}, "postgresql": methods}
    assert [method.name for method in in_use(document).replica_methods] == ["far"]
    assert [method.name for method in in_use({"postgresql": methods}).replica_methods] == ["basebackup"]
    assert said(document) == []
