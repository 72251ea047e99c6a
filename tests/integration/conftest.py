"""One cluster shared by the integration tests, whole again before each; the agents' words when one fails."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from tests.real.cluster import Cluster, in_namespaces
from tests.real.programs import AgentProgram, haagent, patroni
from tests.real.settings import ClusterSettings

TAIL = 6000
"""Characters of each agent's log that a failed test shows."""


class Shared:
    """The cluster that lives as long as the tests leave it whole; else a new one takes its place."""

    def __init__(self, program: AgentProgram, settings: ClusterSettings) -> None:
        self._program, self._settings = program, settings
        self._stack = contextlib.ExitStack()
        self._cluster: Cluster | None = None
        self._hopeless = ""

    def whole(self) -> Cluster:
        """The present cluster, mended; a new one when it can't be."""
        if self._cluster is not None:
            try:
                self._cluster.mend()
                self._cluster.wait_whole(15)
            except (AssertionError, OSError):
                self.end()
        if self._cluster is None:
            self._cluster = self._fresh()
        return self._cluster

    def _fresh(self) -> Cluster:
        assert not self._hopeless, f"no cluster came into being before: {self._hopeless}"
        cluster = self._stack.enter_context(in_namespaces(self._program, self._settings))
        try:
            cluster.start()
        except (AssertionError, OSError) as error:
            self._hopeless = str(error)
            self.end()
            raise
        return cluster

    def end(self) -> None:
        """Take the cluster down."""
        self._cluster = None
        self._stack.close()


def pytest_configure() -> None:
    """Let a polite request to end (CI's timeout) take the clusters down, as Ctrl-C does."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


@pytest.fixture(scope="session")
def program() -> AgentProgram:
    """The agent under test; HAAGENT_TEST_PATRONI names an environment with Patroni to try the tests on."""
    home = os.environ.get("HAAGENT_TEST_PATRONI")
    return patroni(Path(home)) if home else haagent()


@pytest.fixture(scope="session")
def settings(program: AgentProgram) -> ClusterSettings:
    """As quick as is allowed."""
    return ClusterSettings(ttl=20, retry_timeout=3) if program.name == "patroni" else ClusterSettings()


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
    request.node.stash[_LOGS] = {node.log: node.log.stat().st_size for node in found.nodes}
    return found


_LOGS = pytest.StashKey[dict[Path, int]]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what the agents said during a test that failed."""
    report = yield
    if report.failed:
        for log, offset in item.stash.get(_LOGS, {}).items():
            if log.exists():
                said = log.read_text(errors="replace")[offset:]
                report.sections.append((f"{log.parent.name}'s log", said[-TAIL:]))
    return report
