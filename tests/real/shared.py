"""A cluster that many tests share, whole again before each, and the agents' words when one of them fails."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.chaos.postgres import own_postgres
from tests.real.cluster import Cluster, in_namespaces
from tests.real.programs import AgentProgram
from tests.real.settings import ClusterSettings

TAIL = 6000
"""Characters of each agent's log that a failed test shows."""
_LOGS = pytest.StashKey[dict[Path, int]]()


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
                self._cluster.wait_whole(30)
            except (AssertionError, OSError):
                self.end()
        if self._cluster is None:
            self._cluster = self._fresh()
        return self._cluster

    def _fresh(self) -> Cluster:
        assert not self._hopeless, f"no cluster came into being before: {self._hopeless}"
        cluster = self._stack.enter_context(in_namespaces(self._program, self._settings))
        if not os.environ.get("HAAGENT_TEST_POSTGRES_BIN"):  # that one is used as it is, without the commit fence
            bin_dir, _ = own_postgres(cluster.home, fence=True)
            for node in cluster.nodes:
                node.place = replace(node.place, bin_dir=bin_dir)
        try:
            cluster.start(120)
        except (AssertionError, OSError) as error:
            self._hopeless = str(error)
            self.end()
            raise
        return cluster

    def end(self) -> None:
        """Take the cluster down."""
        self._cluster = None
        self._stack.close()


def note_logs(item: pytest.Item, cluster: Cluster) -> None:
    """Remember where the agents' logs are as a test begins."""
    item.stash[_LOGS] = {node.log: node.log.stat().st_size for node in cluster.nodes}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what the agents said during a test that failed; for a conftest to take over."""
    report = yield
    if report.failed:
        for log, offset in item.stash.get(_LOGS, {}).items():
            if log.exists():
                said = log.read_text(errors="replace")[offset:]
                report.sections.append((f"{log.parent.name}'s log", said[-TAIL:]))
    return report
