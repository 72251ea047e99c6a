"""One cluster shared by the integration tests, whole again before each; the agents' words when one fails."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.freezer import Freezer
from tests.real.cluster import Cluster
from tests.real.programs import AgentProgram, haagent, patroni
from tests.real.settings import ClusterSettings
from tests.real.shared import Shared, note_logs
from tests.real.shared import pytest_runtest_makereport as pytest_runtest_makereport


def pytest_configure() -> None:
    """Let a polite request to end (CI's timeout) take the clusters down, as Ctrl-C does."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


@pytest.fixture(scope="session")
def program() -> AgentProgram:
    """The agent under test; HAAGENT_TEST_PATRONI names an environment with Patroni to try the tests on."""
    home = os.environ.get("HAAGENT_TEST_PATRONI")
    return patroni(Path(home)) if home else haagent()


DCS = {"postgresql": {"parameters": {"wal_level": "logical", "hot_standby": "on", "wal_log_hints": "on"}}}
"""Logical slots can be made."""


@pytest.fixture(scope="session")
def settings(program: AgentProgram) -> ClusterSettings:
    """As quick as is allowed."""
    return (
        ClusterSettings(ttl=20, retry_timeout=3)
        if program.name == "patroni"
        else ClusterSettings(grpc=("node3",), dcs=DCS)
    )


@pytest.fixture(scope="session")
def shared(program: AgentProgram, settings: ClusterSettings) -> Iterator[Shared]:
    """The holder of the shared cluster."""
    holder = Shared(program, settings)
    try:
        yield holder
    finally:
        holder.end()


@pytest.fixture
def cluster(shared: Shared, request: pytest.FixtureRequest) -> Cluster:
    """Three nodes, three etcd members, HAProxy: whole."""
    found = shared.whole()
    note_logs(request.node, found)
    return found


@pytest.fixture
def freezer() -> Iterator[Freezer]:
    """Stops whole groups of processes; at the end all go on."""
    with Freezer() as freezer:
        assert freezer.works, "no freezer of control groups version 1 on this machine"
        yield freezer
