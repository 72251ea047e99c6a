"""``python -m tests.chaos.calm --minutes M [--load]``: no fault at all, and hence no alarm.

With the default timing and writers on; ``--load`` keeps every core busy besides, at ordinary priority.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

from tests.chaos.observer import Observer, Sightings
from tests.chaos.run import INTERRUPTED
from tests.chaos.trial import Journal, Trial, on_trial
from tests.real.programs import haagent
from tests.real.record import Outcome, Record
from tests.real.settings import ClusterSettings
from tests.real.waiting import now, wait_until
from tests.real.writers import Writers

DEFAULTS = ClusterSettings(ttl=10, loop_wait=3, retry_timeout=3)
PAUSE_S = 0.25
BUSY = "while True: pass"
BUSY_PER_CORE = 2
TELL_EVERY_S = 300.0


@dataclass(frozen=True)
class Calm:
    """What was seen of the quiet time."""

    term_before: int
    term_after: int
    leaders: frozenset[str]
    unserved: int
    """How often the leader did not answer 200 to GET /primary."""
    refused: tuple[str, ...]
    """Why writes were not acknowledged, those through every route to the primary."""
    longest_gap_s: float
    acknowledged: int
    complaints: tuple[str, ...]

    @property
    def alarms(self) -> list[str]:
        """What must not be, in words."""
        found = list(self.complaints)
        if self.term_before != self.term_after or len(self.leaders) != 1:
            found.append(
                f"the leader changed: term {self.term_before} became {self.term_after}, {sorted(self.leaders)} led"
            )
        if self.refused:
            found.append(f"{len(self.refused)} writes to the primary were not acknowledged, such as: {self.refused[0]}")
        return found

    def __str__(self) -> str:
        return (
            f"{self.acknowledged} rows acknowledged, longest gap {self.longest_gap_s:.2f} s, "
            f"/primary not 200 on the leader {self.unserved} times"
        )


@contextlib.contextmanager
def busy_cores(load: bool) -> Iterator[None]:
    """Processes that do nothing but count."""
    count = BUSY_PER_CORE * (os.cpu_count() or 1) if load else 0
    busy = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(count)]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


def watch(trial: Trial, minutes: float, load: bool) -> Calm:
    """Look on for so long."""
    cluster = trial.cluster
    leader = cluster.primary()
    names = {(node.place.address, node.place.postgres_port): node.name for node in cluster.nodes}
    straight = ("direct", "outside")
    routes = [
        one for one in cluster.routes(PAUSE_S) if not one.name.startswith(straight) or one.name.endswith(leader.name)
    ]
    before = _term(trial)
    with busy_cores(load), Observer(trial) as seen, Writers(routes, names) as record:
        wait_until(record.acknowledged, "the first acknowledged row", 10, 0.02)
        began = now()
        _look_on(trial, record, began + minutes * 60)
        ended = now()
    return _judged(trial, before, leader.name, seen, record, (began, ended))


def _term(trial: Trial) -> int:
    key = trial.cluster.key("leader")
    return key.create_revision if key is not None else 0


def _look_on(trial: Trial, record: Record, until: float) -> None:
    while (left := until - now()) > 0:
        time.sleep(min(left, TELL_EVERY_S))
        trial.journal.say("calm", f"{max(0.0, until - now()) / 60:.0f} min left, {len(record.attempts)} writes tried")


def _judged(
    trial: Trial, before: int, leader: str, seen: Sightings, record: Record, between: tuple[float, float]
) -> Calm:
    began, ended = between
    tried = [one for one in record.attempts if began <= one.started_at and one.ended_at <= ended]
    return Calm(
        term_before=before,
        term_after=_term(trial),
        leaders=frozenset(one.name for one in seen.leaders),
        unserved=sum(role.node == leader and role.status != 200 for role in seen.roles if role.answered_at <= ended),
        refused=tuple(f"{one.route}: {one.reason}" for one in tried if one.outcome is not Outcome.ACKNOWLEDGED),
        longest_gap_s=record.longest_gap(f"direct {leader}", began, ended).length_s,
        acknowledged=len(record.acknowledged()),
        complaints=tuple(trial.services.complaints),
    )


def main() -> int:
    """Run; 0 when nothing was raised, 1 when something was."""
    parser = argparse.ArgumentParser(prog="make calm", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--load", action="store_true", help="keep every core busy")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with on_trial(haagent(), DEFAULTS, Journal(), fence=True) as trial:
            calm = watch(trial, given.minutes, given.load)
    except KeyboardInterrupt:
        print("Interrupted: everything was ended and removed.", file=sys.stderr)
        return INTERRUPTED
    print("\n".join([str(calm), *(f"FALSE ALARM: {alarm}" for alarm in calm.alarms)]))
    return 1 if calm.alarms else 0


if __name__ == "__main__":
    sys.exit(main())
