"""The deadline machine of the guard: what follows from the permit at an instant; pure, and the simulator's too.

Laws: while a permit is in force an older term is refused; with none in force any term may bring one, since an etcd that
was built anew counts from the beginning. Within a term the permit only moves forward, a newer term brings its own end;
it fires at the permit's end or when asked to, never before; having fired, it takes no permit until it is cleared.
"""

from __future__ import annotations

SWEEP_S = 0.5
"""How often a guard that has fired looks for a PostgreSQL that somebody started again."""
IDLE_S = 60.0
"""How long a guard without agent, permit and report waits before it ends itself."""

WAIT, FENCE, SWEEP, END = "wait", "fence", "sweep", "end"

Report = dict[str, int | float | str]
"""What was done when the permit ended: ``term``, ``processes``, ``took_ms``, ``reason``, ``at``."""
Step = tuple[str, float | None, str]
"""What to do now, when to judge again at the latest (None: when something is heard), and why."""


class Watch:
    """The permit (``until``, None while disarmed) of the newest ``term`` known, and the report once it has fired."""

    __slots__ = ("_asked", "_idle_since", "_sweep_at", "fired", "term", "until")

    def __init__(self, term: int = 0, until: float | None = None, fired: Report | None = None) -> None:
        self.term = term
        self.until = None if fired else until
        self.fired = fired
        self._asked = ""
        self._sweep_at = 0.0
        self._idle_since: float | None = None

    def hear(self, do: str, term: int = 0, until: float = 0.0, reason: str = "") -> str:
        """Take in ``arm``, ``extend``, ``disarm``, ``clear`` or ``kill``: why it is refused, or an empty string."""
        if do == "kill":
            self._asked = reason or "asked to"
        elif do == "clear":
            self.fired = None
        elif do in ("arm", "extend", "disarm"):
            if term < self.term and self.until is not None:
                return f"term {term} is older than term {self.term}"
            if do == "disarm":
                self.term, self.until = term, None
            else:
                return self._permit(do, term, until)
        return ""

    def judge(self, now: float, agents: int) -> Step:
        """What to do at ``now`` (CLOCK_BOOTTIME, seconds) with that many agents connected."""
        if self._asked:
            return FENCE, None, self._asked
        if self.until is not None and now >= self.until:
            return FENCE, None, f"the permit of term {self.term} ended {(now - self.until) * 1000:.0f} ms ago"
        if agents or self.fired or self.until is not None:
            self._idle_since = None
        if self.fired and now >= self._sweep_at:
            self._sweep_at = now + SWEEP_S
            return SWEEP, self._sweep_at, ""
        if self.fired:
            return WAIT, self._sweep_at, ""
        if agents or self.until is not None:
            return WAIT, self.until, ""
        self._idle_since = now if self._idle_since is None else self._idle_since
        if now >= self._idle_since + IDLE_S:
            return END, None, f"no agent and no permit for {IDLE_S:.0f} s"
        return WAIT, self._idle_since + IDLE_S, ""

    def fenced(self, report: Report, now: float) -> None:
        """The tree has been killed: fired from here on."""
        self.fired, self.until, self._asked = report, None, ""
        self._sweep_at = now + SWEEP_S

    def _permit(self, do: str, term: int, until: float) -> str:
        if self.fired:
            return f"fenced at {self.fired['at']} ({self.fired['reason']}); only a start as standby clears that"
        going_on = term == self.term and self.until is not None
        if do == "extend" and not going_on:
            return f"term {term} is not armed"
        self.until = max(self.until, until) if going_on and self.until is not None else until
        self.term = term
        return ""
