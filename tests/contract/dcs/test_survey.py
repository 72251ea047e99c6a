"""What a real cluster's endpoints say of themselves, by both transports alike."""

from __future__ import annotations

from typing import Literal

import pytest

from haagent.core.health.etcd import judged
from haagent.core.health.finding import Verdict
from haagent.dcs.client import EtcdClient
from haagent.dcs.settings import EtcdSettings
from tests.contract.dcs.conftest import Trial


@pytest.mark.parametrize("transport", ["http", "grpc"])
async def test_a_cluster_of_three_that_is_well(trial: Trial, transport: Literal["http", "grpc"]) -> None:
    client = EtcdClient(EtcdSettings(trial.urls, transport=transport))
    try:
        found = await client.survey(5.0)
    finally:
        await client.close()
    assert (len({one.member_id for one in found.answering}), found.members, found.alarms) == (3, 3, ())
    assert {one.quota_bytes for one in found.answering} == {2 * 1024**3}, "as etcd's own metrics tell"
    assert all(one.version.startswith("3.") and one.db_bytes > 0 for one in found.answering)
    assert Verdict.PROBLEM not in {one.verdict for one in judged(found)}
