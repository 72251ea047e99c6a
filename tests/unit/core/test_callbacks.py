"""Which callbacks operators get, and which not."""

from __future__ import annotations

from dataclasses import replace

from haagent.core import orders, publish
from haagent.core.actions import Action, Callback, Configure
from haagent.core.conditions import as_upstream
from haagent.core.facts import Goal, Rules, Settings, View
from haagent.core.states import State
from tests.builders import a_memory, a_primary_view, a_standby, a_view


def told(actions: tuple[Action, ...]) -> list[tuple[str, str]]:
    return [(one.event, one.role) for one in actions if isinstance(one, Callback)]


def at(state: State, **memory: object) -> View:
    return replace(a_view(postgres=a_standby()), memory=a_memory(state, **memory))


def test_a_standby_that_was_started_gets_on_start() -> None:
    assert told(orders.settle(at(State.STARTING)).actions) == [("on_start", "replica")]


def test_a_former_primary_gets_on_role_change() -> None:
    assert told(orders.settle(at(State.STARTING, told_role="primary")).actions) == [("on_role_change", "replica")]


def test_a_restart_in_its_role_gets_on_restart() -> None:
    view = at(State.STARTING, told_role="replica", goal=Goal.RESTART)
    assert told(orders.settle(view).actions) == [("on_restart", "replica")]


def test_a_restart_is_known_as_one_until_postgresql_answers() -> None:
    stopped = at(State.FENCED, told_role="replica", goal=Goal.RESTART)
    assert orders.start_standby(stopped).memory["goal"] is Goal.RESTART
    assert "told_role" not in orders.follow(at(State.STARTING)).memory, "on_start is still to be told"


def test_a_standby_that_was_stopped_and_started_for_another_reason_gets_both() -> None:
    view = at(State.STANDBY, told_role="replica")
    stop = orders.stopper(Goal.FOLLOW)(view)
    assert told(stop.actions) == [("on_stop", "replica")]
    assert told(orders.settle(at(State.STARTING, told_role="replica", told_stop=True)).actions) == [
        ("on_start", "replica")
    ]
    assert told(orders.settle(at(State.STARTING, told_role="replica")).actions) == []


def test_a_standby_found_running_gets_none() -> None:
    assert told(orders.settle(at(State.FENCED)).actions) == []


def test_a_new_copy_starts_anew() -> None:
    changes = orders.reinit_aside(at(State.DEMOTING, told_role="replica")).memory
    assert changes["told_role"] == ""


def test_a_changed_configuration_gets_on_reload_and_a_new_upstream_does_not() -> None:
    view = a_primary_view()
    present = publish.server_config(view, None)
    view = replace(view, postgres=replace(view.postgres, configured=present))
    assert publish.configured(view, None) == ()
    elsewhere = as_upstream("c", "postgres://10.0.0.3:5432/postgres")
    assert told(publish.configured(view, elsewhere)) == []
    changed = replace(view, settings=replace(Settings(), parameters={"work_mem": "8MB"}))
    found = publish.configured(changed, None)
    assert isinstance(found[0], Configure)
    assert told(found) == [("on_reload", "primary")]


def test_a_change_of_role_changes_what_holds_for_one_role_only() -> None:
    apart = {"primary": Rules(pg_hba=("p",)), "replica": Rules({"work_mem": "8MB"})}
    settings = replace(Settings(), pg_hba=("all",), by_role=apart)
    leading, standing = replace(a_primary_view(), settings=settings), replace(at(State.STANDBY), settings=settings)
    (as_primary,) = [action.config for action in publish.led(leading) if isinstance(action, Configure)]
    (as_standby,) = [action.config for action in publish.followed(standing) if isinstance(action, Configure)]
    assert as_primary.pg_hba == ("p",)
    assert "work_mem" not in as_primary.parameters
    assert as_standby.pg_hba == ()
    assert as_standby.parameters["work_mem"] == "8MB"
