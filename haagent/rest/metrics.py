"""The metrics of one node for Prometheus, collected from the published view at the moment of the request.

Names that begin with ``patroni_`` are those of Patroni's documentation ("REST API", monitoring endpoint); positions
in the WAL are gauges here, because a rewind moves them back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from math import isinf
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from haagent.core import disks
from haagent.core.conditions import leads
from haagent.core.facts import ServerFacts, View
from haagent.core.states import State
from haagent.core.status import PROTECTIONS, accepts_writes, protection, server_now, status
from haagent.core.terms import WIRE_VERSION

CONTENT_TYPE = CONTENT_TYPE_LATEST

_POSTGRES_STATES = {
    "initializing new cluster": 0,
    "initdb failed": 1,
    "running custom bootstrap script": 2,
    "custom bootstrap failed": 3,
    "creating replica": 4,
    "running": 5,
    "starting": 6,
    "starting after custom bootstrap": 7,
    "start failed": 8,
    "restarting": 9,
    "restart failed": 10,
    "stopping": 11,
    "stopped": 12,
    "stop failed": 13,
    "crashed": 14,
}
"""Fixed by Patroni's documentation ("PostgreSQL State Values"); haagent's own words have no number."""

_LABELS = ("scope", "name")


@dataclass(frozen=True, slots=True)
class Counters:
    """What the agent counts since it started."""

    rows: Mapping[int, int] = field(default_factory=dict)
    """How often each row of the table was taken."""
    ticks: int = 0
    stalls: int = 0
    """How often the event loop stood still for over a second."""
    renewals: int = 0
    renewals_failed: int = 0
    renewals_took: Sequence[tuple[float, int]] = ()
    """How many proven renewals took no longer than each bound, in seconds; the last is infinity."""
    renewals_took_s: float = 0.0
    """All together."""
    fences: int = 0
    """How often the guard had to kill PostgreSQL."""
    journal_lost: int = 0
    """Decisions that never reached the journal on disk."""
    certificates: Mapping[str, float] = field(default_factory=dict)
    """When each certificate ends, by the name of its setting, in seconds since 1970."""


class Metrics:
    """Renders the metrics; ``counters`` may be left out where nothing is counted."""

    def __init__(self, current: Callable[[], View], counters: Callable[[], Counters] | None = None) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(_ViewCollector(current, counters or Counters))

    def render(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self._registry)


class _ViewCollector(Collector):
    def __init__(self, current: Callable[[], View], counters: Callable[[], Counters]) -> None:
        self._current = current
        self._counters = counters

    def collect(self) -> Iterator[Metric]:
        view = self._current()
        document = status(view)
        labels = (view.me.scope, view.me.name)
        for name, (summary, value) in _patroni_values(view, document).items():
            yield _gauge(f"patroni_{name}", summary, labels, value)
        number = _POSTGRES_STATES.get(document["state"])
        if number is not None:
            yield _gauge("patroni_postgres_state", _state_summary(), labels, number)
        yield from _own(view, labels)
        yield from _counted(self._counters(), labels)


def _gauge(name: str, summary: str, labels: tuple[str, str], value: float) -> Metric:
    family = GaugeMetricFamily(name, summary, labels=_LABELS)
    family.add_metric(labels, float(value))
    return family


def _counter(name: str, summary: str, labels: tuple[str, str], value: float) -> Metric:
    family = CounterMetricFamily(name, summary, labels=_LABELS)
    family.add_metric(labels, float(value))
    return family


def _state_summary() -> str:
    values = ", ".join(f"{number}={word}" for word, number in _POSTGRES_STATES.items())
    return f"State of PostgreSQL: {values}"


def _version_number(text: str) -> int:
    """``4.1.0`` as 40100."""
    parts = [int(part) for part in text.split(".")[:3]]
    return parts[0] * 10000 + parts[1] * 100 + parts[2]


def _epoch(text: str | None) -> float:
    """Seconds since 1970 of an ISO 8601 instant; 0 for none."""
    try:
        return datetime.fromisoformat(text).timestamp() if text else 0.0
    except ValueError:
        return 0.0


def _patroni_values(view: View, document: Mapping[str, Any]) -> dict[str, tuple[str, float]]:
    """Metric → (summary, value)."""
    server = server_now(view)
    role = document["role"]
    xlog: Mapping[str, Any] = document.get("xlog", {})
    replicating = document.get("replication_state")
    return {
        "version": ("Version that tools of the ecosystem read", _version_number(WIRE_VERSION)),
        "postgres_running": ("1 if PostgreSQL runs and answers", server is not None),
        "postmaster_start_time": ("When PostgreSQL started, epoch seconds", _epoch(_started(server))),
        "primary": ("1 if this node leads and accepts writes", accepts_writes(view) and leads(view)),
        "xlog_location": ("Position in the WAL of a primary, 0 elsewhere", xlog.get("location", 0)),
        "standby_leader": ("1 if this node leads a standby cluster", role == "standby_leader"),
        "replica": ("1 if this node is a standby", role == "replica"),
        "sync_standby": ("1 if commits wait for this standby", "sync_standby" in document),
        "quorum_standby": ("1 if this standby counts towards the quorum", "quorum_standby" in document),
        "xlog_received_location": ("Position received, 0 on a primary", xlog.get("received_location", 0)),
        "xlog_replayed_location": ("Position replayed, 0 on a primary", xlog.get("replayed_location", 0)),
        "xlog_replayed_timestamp": (
            "Commit time of the last transaction replayed, epoch seconds",
            _epoch(xlog.get("replayed_timestamp")),
        ),
        "xlog_paused": ("1 if replay is paused", bool(xlog.get("paused"))),
        "postgres_streaming": ("1 if this standby streams", replicating == "streaming"),
        "postgres_in_archive_recovery": (
            "1 if this standby reads the archive",
            replicating == "in archive recovery",
        ),
        "postgres_server_version": ("server_version_num, 0 if not running", document.get("server_version", 0)),
        "cluster_unlocked": ("1 if nobody is known to lead", "cluster_unlocked" in document),
        "failsafe_mode_is_active": ("1 if failsafe mode is at work", "failsafe_mode_is_active" in document),
        "postgres_timeline": ("Timeline, 0 if not running", document.get("timeline", 0)),
        "dcs_last_seen": ("When etcd last answered, epoch seconds", document["dcs_last_seen"]),
        "pending_restart": ("1 if a parameter waits for a restart", "pending_restart" in document),
        "is_paused": ("1 if automatic failover is off", view.settings.pause),
    }


def _started(server: ServerFacts | None) -> str | None:
    return server.started_at if server else None


def _own(view: View, labels: tuple[str, str]) -> Iterator[Metric]:
    states = GaugeMetricFamily("haagent_state", "1 for the state of this node", labels=(*_LABELS, "state"))
    for state in State:
        states.add_metric((*labels, state.value), float(state is view.state))
    yield states
    permit_until = view.lease.permit_until
    permit = max(0.0, permit_until - view.now) if leads(view) and permit_until is not None else 0.0
    yield _gauge("haagent_permit_seconds", "How long this node may still accept commits", labels, permit)
    yield _gauge("haagent_term", "Term that this node leads, 0 for none", labels, int(view.lease.term or 0))
    yield _gauge("haagent_guard_alive", "1 if the guard process answers", labels, view.guard.alive)
    yield _gauge("haagent_guard_armed", "1 if the guard enforces a permit", labels, view.guard.armed)
    protects = GaugeMetricFamily("haagent_protection", "1 for what ends this node's commits", labels=(*_LABELS, "by"))
    present = protection(view)
    for name in PROTECTIONS:
        protects.add_metric((*labels, name), float(name in present))
    yield protects
    reset_s = view.watchdog.timeout_s or 0
    yield _gauge("haagent_watchdog_seconds", "Timeout of the open watchdog device, 0 for none", labels, reset_s)
    since = max(0.0, view.now - view.memory.since)
    yield _gauge("haagent_state_seconds", "How long this node has been in its state", labels, since)
    silent_since = view.cluster.silent_since
    silence = 0.0 if silent_since is None else max(0.0, view.now - silent_since)
    yield _gauge("haagent_dcs_silent_seconds", "How long etcd has not answered, 0 if it does", labels, silence)
    disk = view.postgres.disk
    free = GaugeMetricFamily("haagent_disk_free_bytes", "Free bytes under PostgreSQL", labels=(*_LABELS, "holds"))
    for holds, room in (("data", disk.data_free), ("wal", disk.wal_free)):
        if room is not None:
            free.add_metric((*labels, holds), float(room))
    yield free
    unfit = disks.trouble(view) is not None
    yield _gauge("haagent_disk_unfit", "1 if the disk refuses writes, hangs or lacks room", labels, unfit)


def _renewals_took(counters: Counters, labels: tuple[str, str]) -> Metric:
    family = HistogramMetricFamily(
        "haagent_renewal_seconds", "From sending a renewal of the leader key to its proof", labels=_LABELS
    )
    if counters.renewals_took:
        buckets = [("+Inf" if isinf(bound) else f"{bound:g}", count) for bound, count in counters.renewals_took]
        family.add_metric(labels, buckets, counters.renewals_took_s)
    return family


def _counted(counters: Counters, labels: tuple[str, str]) -> Iterator[Metric]:
    rows = CounterMetricFamily("haagent_row", "How often a row of the table was taken", labels=(*_LABELS, "row"))
    for row, times in sorted(counters.rows.items()):
        rows.add_metric((*labels, str(row)), float(times))
    yield rows
    yield _counter("haagent_ticks", "Rounds of the loop", labels, counters.ticks)
    yield _counter("haagent_stalls", "Times that the event loop stood still for over a second", labels, counters.stalls)
    yield _counter("haagent_renewals", "Proven renewals of the leader key", labels, counters.renewals)
    yield _counter("haagent_renewals_failed", "Renewals without proof", labels, counters.renewals_failed)
    yield _renewals_took(counters, labels)
    yield _counter("haagent_fences", "Times the guard killed PostgreSQL", labels, counters.fences)
    yield _counter("haagent_journal_lost", "Decisions not written to disk", labels, counters.journal_lost)
    ends = GaugeMetricFamily(
        "haagent_certificate_end_seconds", "When a certificate ends, epoch seconds", labels=(*_LABELS, "setting")
    )
    for setting, end in sorted(counters.certificates.items()):
        ends.add_metric((*labels, setting), end)
    yield ends
