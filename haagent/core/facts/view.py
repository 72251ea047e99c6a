"""All that one decision may look at."""

from __future__ import annotations

from dataclasses import dataclass

from haagent.core.facts.cluster import ClusterFacts, LeaderKey, Snapshot
from haagent.core.facts.jobs import JobFacts, Outcome
from haagent.core.facts.memory import Intent, Memory
from haagent.core.facts.node import Me, Settings, Timing
from haagent.core.facts.peers import PeerPoll
from haagent.core.facts.postgres import PostgresFacts
from haagent.core.facts.promises import FailsafeFacts
from haagent.core.facts.protection import FenceFacts, GuardFacts, LeaseFacts, WatchdogFacts
from haagent.core.states import State
from haagent.core.terms import Instant


@dataclass(frozen=True, slots=True)
class View:
    """All that one decision may look at."""

    now: Instant
    wall: float
    """Seconds since 1970 by this machine's wall clock; for schedules and texts, never for leadership."""
    me: Me
    settings: Settings
    timing: Timing
    postgres: PostgresFacts
    cluster: ClusterFacts
    lease: LeaseFacts
    guard: GuardFacts
    memory: Memory
    fence: FenceFacts = FenceFacts()
    watchdog: WatchdogFacts = WatchdogFacts()
    peers: PeerPoll | None = None
    failsafe: FailsafeFacts = FailsafeFacts()
    job: JobFacts | None = None
    outcomes: tuple[Outcome, ...] = ()
    intents: tuple[Intent, ...] = ()
    stopping: bool = False
    """SIGTERM was received."""

    @property
    def snapshot(self) -> Snapshot | None:
        """The cluster, only while the DCS answers."""
        return None if self.cluster.silent_since is not None else self.cluster.snapshot

    @property
    def leader(self) -> LeaderKey | None:
        return self.snapshot.leader if self.snapshot else None

    @property
    def state(self) -> State:
        return self.memory.state
