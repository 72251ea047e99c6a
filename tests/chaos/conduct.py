"""One round: writers and observer on, the deeds in time, then everything healed and the cluster waited for."""

from __future__ import annotations

import contextlib
import heapq
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from tests.chaos.checks import Silence, Violation
from tests.chaos.faults.base import Fault
from tests.chaos.observer import Observer, Sightings
from tests.chaos.plan import LEADER, PRIMARY, Deed, Kind, Round
from tests.chaos.trial import Trial
from tests.real.record import Record
from tests.real.waiting import now, wait_until
from tests.real.writers import Writers

STARTED_WITHIN_S = 30.0
WHOLE_WITHIN_S = 90.0
WRITES_WITHIN_S = 15.0
PAUSE_S = 0.05
"""Between two rows of a writer."""


@dataclass
class Stroke:
    """A deed as it was done."""

    deed: Deed
    began_at: float
    done_at: float
    healed_at: float | None = None
    """When its healing began."""


@dataclass
class Played:
    """All that is known of a round."""

    round: Round
    began_at: float
    record: Record
    seen: Sightings
    strokes: list[Stroke] = field(default_factory=list)
    healed_at: float = 0.0
    ended_at: float = 0.0
    violations: list[Violation] = field(default_factory=list)
    lost: list[int] = field(default_factory=list)


class Conductor:
    """Begins deeds and ends them in time."""

    def __init__(self, trial: Trial, kinds: dict[str, Fault], played: Played) -> None:
        self._trial, self._kinds, self._played = trial, kinds, played
        self._open: list[tuple[float, int, Stroke]] = []

    def play(self) -> None:
        """All deeds of the round; then heal what still goes on."""
        began = self._played.began_at
        for deed in self._played.round.deeds:
            self._heal_until(began + deed.at_s)
            _sleep_until(began + deed.at_s)
            self._begin(deed)
        self._heal_until(began + self._played.round.seconds)
        _sleep_until(began + self._played.round.seconds)
        self.heal_all()

    def heal_all(self) -> None:
        """End everything that goes on."""
        self._heal_until(float("inf"), wait=False)
        self._played.healed_at = now()
        self._trial.journal.say("round", "everything is healed")

    def _begin(self, drawn: Deed) -> None:
        say = self._trial.journal.say
        deed = self._aimed(drawn)
        fault = self._kinds[deed.fault]
        began = now()
        try:
            why = self._why_not(fault, deed)
            if why:
                say("left out", f"{deed}: {why}", deed=deed.number)
                return
            fault.inject(self._trial, deed)
        except (OSError, AssertionError) as error:
            say("left out", f"{deed}: {error}", deed=deed.number)
            with contextlib.suppress(OSError, AssertionError):
                fault.heal(self._trial, deed)
            return
        stroke = Stroke(deed, began, now())
        self._played.strokes.append(stroke)
        say("fault", str(deed), deed=deed.number)
        if deed.seconds:
            heapq.heappush(self._open, (stroke.done_at + deed.seconds, deed.number, stroke))

    def _why_not(self, fault: Fault, deed: Deed) -> str:
        same = [one for _, _, one in self._open if (one.deed.fault, one.deed.target) == (deed.fault, deed.target)]
        return "it goes on already" if same else fault.available(self._trial, deed)

    def _aimed(self, deed: Deed) -> Deed:
        """The deed with its target looked up."""
        cluster = self._trial.cluster
        if deed.target == PRIMARY:
            with contextlib.suppress(OSError, StopIteration):
                leader = cluster.leader()
                if leader is not None:
                    return replace(deed, target=leader.name)
            return replace(deed, target=cluster.nodes[int(deed.chance * len(cluster.nodes))].name)
        if deed.target == LEADER:
            member = cluster.etcd.leader() or cluster.etcd.members[int(deed.chance * len(cluster.etcd.members))]
            return replace(deed, target=member.name)
        return deed

    def _heal_until(self, instant: float, wait: bool = True) -> None:
        while self._open and self._open[0][0] <= instant:
            at, _, stroke = heapq.heappop(self._open)
            if wait:
                _sleep_until(at)
            stroke.healed_at = now()
            self._kinds[stroke.deed.fault].heal(self._trial, stroke.deed)
            self._trial.journal.say("over", str(stroke.deed), deed=stroke.deed.number)


def _sleep_until(instant: float) -> None:
    time.sleep(max(0.0, instant - now()))


def play(trial: Trial, kinds: dict[str, Fault], drawn: Round) -> Played:
    """Play the round on a whole cluster; what must be said of liveness is already judged."""
    cluster = trial.cluster
    cluster.wait_whole(WHOLE_WITHIN_S, restarted=True)  # an operator's order of the last round may have come late
    names = {(node.place.address, node.place.postgres_port): node.name for node in cluster.nodes}
    writers, observer = Writers(cluster.routes(PAUSE_S), names), Observer(trial)
    with observer as seen, writers as record:
        wait_until(record.acknowledged, "the first acknowledged row", 10, 0.02)
        played = Played(drawn, now(), record, seen)
        trial.journal.say("round", f"round {drawn.number}: {len(drawn.deeds)} deeds in {drawn.seconds:g} s")
        conductor = Conductor(trial, kinds, played)
        try:
            conductor.play()
        except BaseException:
            conductor.heal_all()
            raise
        played.violations += _lively(trial, played)
    played.ended_at = now()
    return played


def _lively(trial: Trial, played: Played) -> Iterator[Violation]:
    """Healed, the cluster becomes whole within a bound, and clients write by every way."""
    try:
        wait_until(lambda: trial.services.all_run, "every service to run again", STARTED_WITHIN_S)
        trial.cluster.wait_whole(WHOLE_WITHIN_S, restarted=True)
        trial.journal.say("round", f"whole {now() - played.healed_at:.1f} s after healing")
        since = now()
        for route in ("haproxy", "multihost", "direct", "outside"):
            trial.cluster.wait_acknowledged(played.record, since, WRITES_WITHIN_S, route)
    except AssertionError as error:
        yield Violation("whole again", str(error), now())


def silences(trial: Trial, kinds: dict[str, Fault], played: Played) -> list[Silence]:
    """When nodes could renew nothing: as long as the fault went on, or until an agent was started that it spares."""
    found = []
    for stroke in played.strokes:
        fault = kinds[stroke.deed.fault]
        if fault.silences and stroke.healed_at is not None:
            name, until = stroke.deed.target, stroke.healed_at
            if not fault.outlasts_agent:
                started = [at for what, at in trial.services.started if what == name and at >= stroke.done_at]
                until = min([until, *started])
            found.append(Silence(name, stroke.done_at, until, str(stroke.deed)))
    return found


def as_kinds(faults: dict[str, Fault]) -> dict[str, Kind]:
    """The catalogue as drawing sees it."""
    return dict(faults)
