"""What the loop writes into its log."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from unittest.mock import MagicMock

import pytest

from haagent.agent.loop import Agent
from haagent.core.facts import Settings
from tests.builders import a_node


async def test_the_values_of_a_configuration_do_not_get_into_the_log(caplog: pytest.LogCaptureFixture) -> None:
    agent = Agent(a_node(), MagicMock(), lambda document: Settings())
    body = {"postgresql": {"pg_hba": ['host all all all ldap ldapbindpasswd="hunter2"']}}
    with caplog.at_level(logging.INFO), contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.01):
            await agent.submit("patch_config", body, "admin@10.0.0.9")
    assert "patch_config from admin@10.0.0.9" in caplog.text
    assert "postgresql" in caplog.text
    assert "hunter2" not in caplog.text
