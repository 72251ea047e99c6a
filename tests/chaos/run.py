"""A whole run: a cluster, its rounds one after the other, judged and reported as they end."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

from tests.chaos import plan
from tests.chaos.conduct import as_kinds, play
from tests.chaos.faults import KINDS
from tests.chaos.judge import Judge
from tests.chaos.report import Report
from tests.chaos.trial import Journal, Trial, on_trial
from tests.real.programs import haagent
from tests.real.settings import ClusterSettings
from tests.real.waiting import wait_until

INTERRUPTED = 130


@dataclass(frozen=True)
class Options:
    """What a run is asked for."""

    seed: int
    minutes: float
    sync: str = "off"
    strict: bool = False
    fence: bool = True
    only: tuple[int, ...] = ()
    round_s: float = plan.ROUND_S

    @property
    def name(self) -> str:
        """A name for its report."""
        sync = "" if self.sync == "off" else f"-sync-{self.sync}{'-strict' if self.strict else ''}"
        return f"seed-{self.seed}{sync}{'' if self.fence else '-no-fence'}"

    @property
    def command(self) -> str:
        """How to do the same again; of the environment in which it runs."""
        words = [f"make chaos SEED={self.seed} MINUTES={self.minutes:g}"]
        words += [f"SYNC={self.sync}"] if self.sync != "off" else []
        words += ["STRICT=1"] if self.strict else []
        words += [] if self.fence else ["NO_FENCE=1"]
        words += [f'ROUND="{" ".join(map(str, self.only))}"'] if self.only else []
        words += [] if self.round_s == plan.ROUND_S else [f"ROUND_S={self.round_s:g}"]
        return " ".join(words)

    @property
    def settings(self) -> ClusterSettings:
        """The cluster's."""
        # Two primaries may die so early that both make the same timeline: only a new copy mends the one that lost.
        dynamic: dict[str, object] = {"postgresql": {"remove_data_directory_on_diverged_timelines": True}}
        if self.sync != "off":
            dynamic["synchronous_mode"] = True if self.sync == "on" else self.sync
            dynamic["synchronous_mode_strict"] = self.strict
        return ClusterSettings(dcs=dynamic)

    def rounds(self, fence: bool) -> Iterator[plan.Round]:
        """The chosen rounds, else one after the other until so many minutes have passed; each is its number's own."""
        begun_at = time.monotonic()
        for number in self.only or count(1):
            yield plan.draw(
                self.seed,
                number,
                as_kinds(KINDS),
                ttl=self.settings.ttl,
                seconds=self.round_s,
                fence=fence,
                lossless=self.sync != "off",
            )
            if not self.only and time.monotonic() - begun_at >= 60 * self.minutes:
                return


def run(options: Options, directory: Path, quiet: bool = False) -> Report:
    """Play all rounds, or up to one after which the cluster is not whole; the report, which is also on disk."""
    journal = Journal(quiet=quiet)
    title = f"Chaos: {options.name}"
    given = {
        "seed": options.seed,
        "minutes": options.minutes,
        "synchronous_mode": options.sync,
        "strict": options.strict,
    }
    with on_trial(haagent(), options.settings, journal, options.fence) as trial:
        report = Report(directory, title, options.command, {**given, "commit_fence": trial.fence})
        try:
            _play_all(trial, options, report)
        finally:
            report.write(trial)
            report.keep_logs(trial)
        return report


def _play_all(trial: Trial, options: Options, report: Report) -> None:
    judge = Judge(trial, KINDS, options.sync != "off")
    for drawn in options.rounds(trial.fence):
        if options.sync != "off":
            wait_until(lambda: _synchronous(trial), "a synchronous standby", 20)
        played = play(trial, KINDS, drawn)
        judge.judge(played)
        report.add(trial, played)
        for violation in played.violations:
            trial.journal.say("VIOLATION", f"round {drawn.number}: {violation}"[:3000])
        if played.violations:
            trial.journal.say("VIOLATION", f"alone: {replace(options, only=(drawn.number,)).command}")
        lost = f", {len(played.lost)} of them lost" if played.lost else ""
        trial.journal.say("round", f"round {drawn.number} judged: {len(played.record.acknowledged())} rows{lost}")
        if any(violation.law == "whole again" for violation in played.violations):
            return


def _synchronous(trial: Trial) -> bool:
    key = trial.cluster.key("sync")
    return key is not None and bool(json.loads(key.value).get("sync_standby"))
