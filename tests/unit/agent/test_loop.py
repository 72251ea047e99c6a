"""What the loop writes into its log."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import replace
from unittest.mock import MagicMock

import pytest

from haagent.agent.loop import Agent
from haagent.core.decide import decide
from haagent.core.facts import Settings
from haagent.core.terms import later
from tests.builders import NOW, a_node, a_view


async def test_the_values_of_a_configuration_do_not_get_into_the_log(caplog: pytest.LogCaptureFixture) -> None:
    agent = Agent(a_node(), MagicMock(), lambda document: Settings())
    body = {"postgresql": {"pg_hba": ['host all all all ldap ldapbindpasswd="hunter2"']}}
    with caplog.at_level(logging.INFO), contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.01):
            await agent.submit("patch_config", body, "admin@10.0.0.9")
    assert "patch_config from admin@10.0.0.9" in caplog.text
    assert "postgresql" in caplog.text
    assert "hunter2" not in caplog.text


def test_a_line_that_only_repeats_the_one_before_comes_once_a_second_at_most_under_a_logger_of_its_own(
    caplog: pytest.LogCaptureFixture,
) -> None:
    agent = Agent(a_node(), MagicMock(), lambda document: Settings())
    first = a_view()
    plan = decide(first)
    again = replace(first, memory=plan.memory)
    with caplog.at_level(logging.INFO), caplog.at_level(logging.INFO, "haagent.loop.repeats"):
        for later_s, view in ((0.0, first), (0.5, again), (1.0, again), (1.5, again), (2.5, again)):
            agent._log(replace(view, now=later(NOW, later_s)), plan)
    assert [record.name for record in caplog.records] == [
        "haagent.loop",
        "haagent.loop.repeats",
        "haagent.loop.repeats",
    ]
    assert len({record.getMessage() for record in caplog.records}) == 1
