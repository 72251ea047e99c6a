"""Judging a played round: what clients were told against what is on the disks, and what the agents said."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from tests.chaos import checks
from tests.chaos.checks import Violation
from tests.chaos.conduct import Played, silences
from tests.chaos.faults.base import Fault
from tests.chaos.trial import Trial
from tests.real.node import Node
from tests.real.waiting import wait_until

CRIES = ("Traceback (most recent call last)", "PANIC:")
DIGEST = "SELECT count(*), coalesce(sum(number), 0)::text, coalesce(bit_xor(number), 0) FROM journal"
TIMELINE = "SELECT ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int"
CAUGHT_UP_WITHIN_S = 20.0


@dataclass
class Judge:
    """Judges rounds one after the other; what was acknowledged in one must still be there after all later ones."""

    trial: Trial
    kinds: dict[str, Fault]
    lossless: bool
    acknowledged: set[int] = field(default_factory=set)
    _timeline: int = 0
    _read: dict[Path, int] = field(default_factory=dict)
    _complaints: int = 0

    def judge(self, played: Played) -> None:
        """Add every violation found, and the rows that were lost, to what is known of the round."""
        record, seen = played.record, played.seen
        found = played.violations
        found += checks.one_writer(record)
        fence_after = self.trial.cluster.settings.fence_after
        found += checks.nothing_after_silence(record, silences(self.trial, self.kinds, played), fence_after)
        found += checks.nothing_after_permit(record, seen.permits)
        found += checks.no_late_claim(record, seen.roles)
        found += self._words()
        if any(violation.law == "whole again" for violation in found):
            return
        try:
            found += self._disks(played)
        except (AssertionError, OSError) as error:
            found.append(Violation("whole again", f"then it was not: {error}"))

    def _disks(self, played: Played) -> Iterator[Violation]:
        primary = self.trial.cluster.primary()
        rows = {row[0] for row in primary.sql("SELECT number FROM journal")}
        yield from checks.refused_absent(played.record, rows)
        self.acknowledged |= {one.number for one in played.record.acknowledged()}
        played.lost = sorted(self.acknowledged - rows)
        self.acknowledged -= set(played.lost)
        if self.lossless:
            yield from checks.nothing_lost(set(played.lost), [played.record])
        timeline = int(primary.sql(TIMELINE)[0][0])
        if timeline < self._timeline:
            yield Violation("no way back", f"timeline {timeline} of {primary.name} follows {self._timeline}")
        self._timeline = timeline
        yield from self._alike(primary)

    def _alike(self, primary: Node) -> Iterator[Violation]:
        lsn = primary.sql("SELECT pg_current_wal_lsn()")[0][0]
        expected = primary.sql(DIGEST)
        for node in self.trial.cluster.nodes:
            if node is primary:
                continue
            replayed = partial(node.sql, f"SELECT 1 WHERE pg_last_wal_replay_lsn() >= '{lsn}'")
            wait_until(replayed, f"{node.name} to replay {lsn}", CAUGHT_UP_WITHIN_S)
            found = node.sql(DIGEST)
            if found != expected:
                yield Violation("one history", f"{node.name} holds {found}, {primary.name} {expected}")

    def _words(self) -> Iterator[Violation]:
        """What no fault excuses: an agent that ended by itself, or that was surprised."""
        complaints = self.trial.services.complaints
        new, self._complaints = complaints[self._complaints :], len(complaints)
        yield from (Violation("nobody gives up", text) for text in new)
        for node in self.trial.cluster.nodes:
            with node.log.open("rb") as log:
                log.seek(self._read.get(node.log, 0))
                said = log.read()
            self._read[node.log] = self._read.get(node.log, 0) + len(said)
            for number, line in enumerate(lines := said.decode(errors="replace").splitlines()):
                if any(cry in line for cry in CRIES):
                    yield Violation(
                        "no surprise", f"{node.name}: " + " | ".join(lines[max(0, number - 1) : number + 25])
                    )
                    break
