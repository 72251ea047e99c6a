"""The report of a run: a directory with all events as JSON, a page with a picture of each round, and all logs."""

from __future__ import annotations

import dataclasses
import html
import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.chaos import picture
from tests.chaos.conduct import Played
from tests.chaos.trial import Trial
from tests.real.record import Outcome

PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>
<style>body {{ font: 14px sans-serif; margin: 20px }} .bad {{ color: #c92a2a }} code {{ background: #f1f3f5 }}
svg {{ border: 1px solid #dee2e6; display: block; margin-bottom: 18px }}</style>
<h1>{title}</h1><p class="{kind}"><b>{verdict}</b></p><p>Again: <code>{command}</code></p>
<p>Bands: green, an agent that answers 200 to <code>/primary</code>; blue, a standby; yellow, neither; grey, no answer.
Ticks: acknowledged rows, their colour the timeline. Violet line: until when PostgreSQL was permitted to commit.</p>
{rounds}</html>
"""


@dataclass
class Report:
    """Written anew after each round, so that an interrupted run has one too."""

    directory: Path
    title: str
    command: str
    options: dict[str, Any]
    rounds: list[dict[str, Any]] = field(default_factory=list)
    sections: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        shutil.rmtree(self.directory, ignore_errors=True)
        self.directory.mkdir(parents=True)

    def add(self, trial: Trial, played: Played) -> None:
        """One more round."""
        name = f"round-{played.round.number:03}"
        svg = picture.draw(played, [node.name for node in trial.cluster.nodes])
        (self.directory / f"{name}.svg").write_text(svg)
        self.rounds.append(_summary(played))
        if played.violations:
            self._write(f"{name}-attempts.json", [_attempt(one, played) for one in played.record.attempts])
        self._write(f"{name}-observations.json", {key: _rows(value) for key, value in vars(played.seen).items()})
        bad = "".join(f'<p class="bad">{html.escape(str(one)[:2000])}</p>' for one in played.violations)
        self.sections.append(f"<h2>Round {played.round.number}</h2>{bad}<p>{html.escape(_figures(played))}</p>{svg}")
        self.write(trial)

    def write(self, trial: Trial) -> None:
        """Everything that is known so far."""
        events = [dataclasses.asdict(line) for line in trial.journal.lines]
        content = {
            **self.options,
            "command": self.command,
            "verdict": self.verdict,
            "rounds": self.rounds,
            "events": events,
        }
        self._write("report.json", content)
        kind = "bad" if self.violated else "good"
        page = PAGE.format(
            title=html.escape(self.title),
            kind=kind,
            verdict=html.escape(self.verdict),
            command=html.escape(self.command),
            rounds="\n".join(self.sections),
        )
        (self.directory / "index.html").write_text(page)

    def keep_logs(self, trial: Trial) -> None:
        """What agents, PostgreSQL, etcd and HAProxy said, for whoever looks for a cause."""
        logs = self.directory / "logs"
        logs.mkdir(exist_ok=True)
        for node in trial.cluster.nodes:
            shutil.copy(node.log, logs / f"{node.name}.log")
            for journal in node.place.directory.glob("**/journal.jsonl*"):
                shutil.copy(journal, logs / f"{node.name}-{journal.name}")
        for member in trial.cluster.etcd.members:
            shutil.copy(member.process.log, logs)

    @property
    def violated(self) -> bool:
        """Whether any round was."""
        return any(one["violations"] for one in self.rounds)

    @property
    def verdict(self) -> str:
        """In one line."""
        count = sum(len(one["violations"]) for one in self.rounds)
        faults, rows = (sum(one[key] for one in self.rounds) for key in ("faults", "acknowledged"))
        lost = sum(len(one["lost"]) for one in self.rounds)
        what = f"{count} violations" if count else "no violation"
        return f"{what} in {len(self.rounds)} rounds: {faults} faults, {rows} rows acknowledged, {lost} of them lost"

    def _write(self, name: str, content: object) -> None:
        (self.directory / name).write_text(json.dumps(content, indent=1, default=str) + "\n")


def _summary(played: Played) -> dict[str, Any]:
    return {
        "number": played.round.number,
        "began_at": played.began_at,
        "healed_at": played.healed_at,
        "ended_at": played.ended_at,
        "deeds": [dataclasses.asdict(deed) for deed in played.round.deeds],
        "strokes": [dataclasses.asdict(stroke) for stroke in played.strokes],
        "faults": len(played.strokes),
        "acknowledged": len(played.record.acknowledged()),
        "unknown": sum(one.outcome is Outcome.UNKNOWN for one in played.record.attempts),
        "lost": played.lost,
        "outage_s": round(played.record.longest_gap("multihost", played.began_at, played.ended_at).length_s, 3),
        "violations": [dataclasses.asdict(one) for one in played.violations],
    }


def _figures(played: Played) -> str:
    known = _summary(played)
    return (
        f"{known['faults']} faults; {known['acknowledged']} rows acknowledged, {len(known['lost'])} of them lost, "
        f"{known['unknown']} answers lost; longest outage {known['outage_s']:.1f} s; whole "
        f"{played.ended_at - played.healed_at:.1f} s after healing"
    )


def _attempt(one: Any, played: Played) -> list[Any]:
    instants = (round(one.started_at - played.began_at, 4), round(one.ended_at - played.began_at, 4))
    return [one.number, one.route, *instants, one.outcome.value, one.node, one.timeline, one.reason]


def _rows(sightings: list[Any]) -> list[list[Any]]:
    """Without the names of their parts, which would be most of the file."""
    return [list(dataclasses.astuple(one)) for one in sightings]
