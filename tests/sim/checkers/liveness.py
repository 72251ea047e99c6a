"""After healing: one primary, and all others stream from it, within a bound, and so it stays."""

from __future__ import annotations

from tests.sim.checkers.base import Checker
from tests.sim.world.events import Event, Judged, Note

HEALED = "healed"
QUIET = "quiet"


class Liveness(Checker):
    name = "liveness"

    def __init__(self, bound_s: float) -> None:
        self._bound_s = bound_s
        self._healed_at: float | None = None
        self._whole = False
        self._last: Judged | None = None

    def see(self, event: Event) -> str | None:
        if isinstance(event, Note) and event.text == HEALED:
            self._healed_at, self._whole = event.at, False
        if not isinstance(event, Judged) or self._healed_at is None:
            return None
        self._last = event
        whole = len(event.primaries) == 1 and len(event.streaming) == len(event.nodes) - 1
        self._whole = self._whole or whole
        if not self._whole and event.at - self._healed_at > self._bound_s:
            self._whole = True
            return f"{self._bound_s:.0f} s after healing: {self._state()}"
        return None

    def finish(self) -> str | None:
        if self._healed_at is not None and not self._whole:
            return f"at the end: {self._state()}"
        return None

    def _state(self) -> str:
        last = self._last
        if last is None:
            return "nothing is known"
        missing = [n for n in last.nodes if n not in (*last.primaries, *last.streaming)]
        return f"primaries {list(last.primaries)}, streaming {list(last.streaming)}, not well {missing}"
