"""One cluster for all the programs that know nothing of haagent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.compat.clients import Patronictl
from tests.real.cluster import Cluster
from tests.real.programs import haagent
from tests.real.settings import PASSWORD, ClusterSettings
from tests.real.shared import Shared, note_logs
from tests.real.shared import pytest_runtest_makereport as pytest_runtest_makereport

LOCAL: dict[str, dict[str, Any]] = {
    "restapi": {"authentication": {"username": "operator", "password": PASSWORD}},
    "postgresql": {"listen": "0.0.0.0:5432"},
}
"""Unsafe requests need a password, and PostgreSQL answers on an address that comes later."""


@pytest.fixture(scope="package")
def shared() -> Iterator[Shared]:
    """The holder of the cluster."""
    holder = Shared(haagent(), ClusterSettings(local=LOCAL))
    try:
        yield holder
    finally:
        holder.end()


@pytest.fixture
def cluster(shared: Shared, request: pytest.FixtureRequest) -> Cluster:
    """Three nodes and three etcd members: whole."""
    found = shared.whole()
    note_logs(request.node, found)
    return found


@pytest.fixture
def patronictl(cluster: Cluster) -> Patronictl:
    """Patroni's command line."""
    return Patronictl(cluster)
