"""The plan of a change of the dynamic configuration: what takes effect how, where, in what order."""

from __future__ import annotations

from typing import Any

import pytest

from haagent.ctl.effects import plan
from tests.builders import a_snapshot
from tests.unit.ctl.world import World, lines


def planned(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    return plan("demo", a_snapshot(), _document(before), _document(after))


def _document(parameters: dict[str, Any]) -> dict[str, Any]:
    return {"ttl": 10, "postgresql": {"parameters": parameters}}


@pytest.mark.parametrize(
    ("name", "before", "after", "how"),
    [
        ("work_mem", None, "8MB", "not set -> 8MB: reload, on every node by itself"),
        ("restore_command", None, "x", "not set -> x: reload, on every node by itself"),
        ("shared_buffers", "16MB", "32MB", "16MB -> 32MB: restart, in any order"),
        ("max_connections", None, 200, "not set -> 200: restart, standbys before the primary"),
        ("max_connections", 200, None, "200 -> not set: restart, the primary before the standbys"),
        ("max_wal_senders", "5", 20, "5 -> 20: restart, standbys before the primary"),
        ("port", None, 5433, "never: the agent sets it itself; use postgresql.listen"),
        ("recovery_target_xid", None, 5, "never: the agent sets it itself"),
    ],
)
def test_how_a_parameter_takes_effect(name: str, before: Any, after: Any, how: str) -> None:
    found = planned({name: before} if before is not None else {}, {name: after} if after is not None else {})
    assert found[0] == "What takes effect how:"
    assert found[1].startswith(f"  postgresql.parameters.{name}: ")
    assert how in found[1]


def test_the_restarts_come_as_commands_in_their_order() -> None:
    """Fault 75: increases on standbys first, decreases on the primary first."""
    to_standbys, to_primary = "    haagent-ctl restart demo b c --pending", "    haagent-ctl restart demo a --pending"
    assert planned({}, {"max_connections": 200})[-2:] == [to_standbys, to_primary]
    assert planned({"max_connections": 200}, {})[-2:] == [to_primary, to_standbys]
    mixed = planned({"max_connections": 200}, {"max_worker_processes": 20})
    assert "no one order of restarts suits both" in mixed[-1]
    assert not any("haagent-ctl restart" in line for line in planned({}, {"work_mem": "8MB"}))


def test_other_settings_take_effect_by_themselves() -> None:
    found = plan("demo", a_snapshot(), {"ttl": 10}, {"ttl": 20, "postgresql": {"pg_hba": ["local all all trust"]}})
    assert found[1].startswith("  postgresql.pg_hba: not set -> ['local all all trust']: reload")
    assert found[2] == "  ttl: 10 -> 20: at once, on every node by itself"
    assert plan("demo", a_snapshot(), {"ttl": 10}, {"ttl": 10}) == []


def test_edit_config_shows_the_plan_before_it_asks() -> None:
    result = World().run("edit-config", "-p", "max_connections=200", typed="n\n")
    assert result.exit_code == 1
    said = lines(result)
    assert said.index("    haagent-ctl restart demo a --pending") < said.index("Apply these changes? [y/N]: n")
    assert "What takes effect how:" not in World().run("edit-config", "-q", "-s", "ttl=11", "--force").output


def test_whom_the_cluster_follows() -> None:
    section = {"standby_cluster": {"host": "x"}}
    assert "a primary here is stopped" in plan("demo", a_snapshot(), {}, section)[1]
    assert "the standby leader is promoted" in plan("demo", a_snapshot(), section, {})[1]
