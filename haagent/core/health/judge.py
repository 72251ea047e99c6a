"""All checks of one node, and what of it other nodes' answers are compared with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from haagent.core.health import files, machine, roads, server
from haagent.core.health.facts import NodeFacts
from haagent.core.health.finding import Finding, Verdict

Check = Callable[[NodeFacts], Finding]

CHECKS: tuple[Check, ...] = (*files.CHECKS, *machine.CHECKS, *server.CHECKS, *roads.CHECKS)

ALIKE = (
    "max_connections",
    "max_worker_processes",
    "max_wal_senders",
    "max_prepared_transactions",
    "max_locks_per_transaction",
    "max_replication_slots",
    "wal_level",
    "wal_log_hints",
    "archive_mode",
    "fsync",
    "synchronous_commit",
)
"""PostgreSQL's parameters that should be the same on all nodes."""


BY_LOOKING: tuple[Check, ...] = (
    *files.CHECKS,
    machine.clock_source,
    machine.clock_synchronised,
    machine.certificates,
    machine.watchdog,
    machine.user,
)
"""Those that say nothing while the disk does not answer."""


def judged(facts: NodeFacts) -> list[Finding]:
    """Every check in its order."""
    blind = () if facts.host.looked else BY_LOOKING
    return [_unseen(check(facts)) if check in blind else check(facts) for check in CHECKS]


def _unseen(finding: Finding) -> Finding:
    return replace(finding, verdict=Verdict.UNKNOWN, evidence="the disk did not answer in time", mend="")


def report(facts: NodeFacts) -> dict[str, Any]:
    """The answer to ``GET /haagent/doctor``, but for the time at which it leaves."""
    settings = facts.sql.settings if facts.sql else {}
    alike = {name: settings[name] for name in ALIKE if name in settings}
    alike |= {"watchdog.mode": facts.watchdog_mode, "postgresql.commit_fence": facts.fence_mode}
    if facts.host.data_version:
        alike["PostgreSQL"] = facts.host.data_version
    return {
        "name": facts.me.name,
        "alike": alike,
        "findings": [finding.document() for finding in judged(facts)],
    }
