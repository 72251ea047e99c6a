"""One process of a node, or two, dies or stands still; the node lives on."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.faults.base import Fault
from tests.chaos.plan import Deed
from tests.chaos.trial import Trial
from tests.real.processes import descendants, signal_all

AGENT, GUARD = "agent", "guard"


def _absent(trial: Trial, name: str, parts: tuple[str, ...]) -> str:
    """What is missing of a node's agent and guard, or keeps them from dying."""
    if trial.freezer.frozen(name):
        return "the node is frozen"
    if AGENT in parts and trial.agent_of(name) is None:
        return "there is no agent"
    if GUARD in parts and trial.guard_of(name) is None:
        return "there is no guard"
    return ""


def _pids(trial: Trial, name: str, parts: tuple[str, ...]) -> set[int]:
    agent, guard = trial.agent_of(name), trial.guard_of(name)
    found = {agent.pid} if agent is not None and AGENT in parts else set()
    return found | ({guard} if guard is not None and GUARD in parts else set())


@dataclass(frozen=True)
class Kill(Fault):
    """SIGKILL; an agent is kept down until the deed ends, a guard is for the agent to start again."""

    parts: tuple[str, ...] = ()

    def available(self, trial: Trial, deed: Deed) -> str:
        return _absent(trial, deed.target, self.parts)

    def inject(self, trial: Trial, deed: Deed) -> None:
        pids = _pids(trial, deed.target, self.parts)
        signal_all(pids, signal.SIGSTOP)
        if AGENT in self.parts:
            trial.kill_agent(deed.target, deed.number)
        signal_all(pids, signal.SIGKILL)

    def heal(self, trial: Trial, deed: Deed) -> None:
        trial.services.release(deed.target, deed.number)


@dataclass(frozen=True)
class Freeze(Fault):
    """SIGSTOP, and SIGCONT at the end."""

    parts: tuple[str, ...] = ()

    def available(self, trial: Trial, deed: Deed) -> str:
        return _absent(trial, deed.target, self.parts)

    def inject(self, trial: Trial, deed: Deed) -> None:
        trial.stops.stop(deed.number, _pids(trial, deed.target, self.parts))

    def heal(self, trial: Trial, deed: Deed) -> None:
        trial.stops.go_on(deed.number)


@dataclass(frozen=True)
class OrderlyRestart(Fault):
    """SIGTERM to the agent, as by a service manager; started again when the deed ends and the old one has."""

    def available(self, trial: Trial, deed: Deed) -> str:
        return _absent(trial, deed.target, (AGENT,))

    def inject(self, trial: Trial, deed: Deed) -> None:
        trial.services.hold(deed.target, deed.number)
        agent = trial.agent_of(deed.target)
        if agent is not None:
            agent.send(signal.SIGTERM)

    def heal(self, trial: Trial, deed: Deed) -> None:
        trial.services.release(deed.target, deed.number)


def _server(trial: Trial, name: str) -> str:
    if trial.freezer.frozen(name):
        return "the node is frozen"
    return "" if trial.node(name).postmaster_pid() else "PostgreSQL is down"


@dataclass(frozen=True)
class KillPostmaster(Fault):
    """SIGKILL the postmaster alone, as the kernel does when memory runs out."""

    def available(self, trial: Trial, deed: Deed) -> str:
        return _server(trial, deed.target)

    def inject(self, trial: Trial, deed: Deed) -> None:
        postmaster = trial.node(deed.target).postmaster_pid()
        signal_all([postmaster] if postmaster else [], signal.SIGKILL)


def _children(trial: Trial, name: str, title: str) -> list[int]:
    """PostgreSQL's processes whose title contains that word."""
    postmaster = trial.node(name).postmaster_pid()
    found = descendants({postmaster}) - {postmaster} if postmaster else set()
    return sorted(pid for pid in found if title in _title(pid))


def _title(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return ""


@dataclass(frozen=True)
class KillBackend(Fault):
    """SIGKILL one process of PostgreSQL that is not the postmaster: a crash of the server."""

    def available(self, trial: Trial, deed: Deed) -> str:
        why = _server(trial, deed.target)
        return why or ("" if _children(trial, deed.target, deed.other) else "no such process")

    def inject(self, trial: Trial, deed: Deed) -> None:
        found = _children(trial, deed.target, deed.other)
        chosen = int(deed.chance * len(found))
        signal_all(found[chosen : chosen + 1], signal.SIGKILL)


@dataclass(frozen=True)
class FreezePostgres(Fault):
    """SIGSTOP one process of PostgreSQL, or the postmaster."""

    def available(self, trial: Trial, deed: Deed) -> str:
        why = _server(trial, deed.target)
        return why or ("" if self._pids(trial, deed) else "no such process")

    def inject(self, trial: Trial, deed: Deed) -> None:
        trial.stops.stop(deed.number, self._pids(trial, deed))

    def heal(self, trial: Trial, deed: Deed) -> None:
        trial.stops.go_on(deed.number)

    def _pids(self, trial: Trial, deed: Deed) -> list[int]:
        if deed.other == "postmaster":
            postmaster = trial.node(deed.target).postmaster_pid()
            return [postmaster] if postmaster else []
        return _children(trial, deed.target, deed.other)


FAULTS: tuple[Fault, ...] = (
    Kill("kill agent", 5, seconds=(0.2, 20), blinds=True, silences=True, parts=(AGENT,)),
    Kill("kill guard", 3, blinds=True, parts=(GUARD,)),
    Kill(
        "kill agent and guard", 4, seconds=(0.2, 20), blinds=True, needs_fence=True, silences=True, parts=(AGENT, GUARD)
    ),
    Freeze("freeze agent", 5, seconds=(0.2, 20), blinds=True, silences=True, parts=(AGENT,)),
    Freeze("freeze guard", 2, seconds=(0.5, 20), blinds=True, parts=(GUARD,)),
    Freeze(
        "freeze agent and guard",
        4,
        seconds=(0.2, 20),
        blinds=True,
        needs_fence=True,
        silences=True,
        parts=(AGENT, GUARD),
    ),
    OrderlyRestart("restart agent", 3, seconds=(0.1, 10), silences=False),
    KillPostmaster("kill postmaster", 4),
    KillBackend(
        "kill backend", 3, others=("observer", "observer", "walsender", "walreceiver", "startup", "checkpointer")
    ),
    FreezePostgres("freeze postgres", 2, seconds=(0.5, 15), others=("postmaster", "walsender", "walreceiver")),
)
