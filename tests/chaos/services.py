"""The service manager's part: whatever ended is started again, unless a fault keeps it down."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.real.waiting import now

RESTART_AFTER_S = 0.5
LOOK_EVERY_S = 0.05


@dataclass(eq=False)
class Service:
    """Something that shall run."""

    name: str
    running: Callable[[], bool]
    start: Callable[[], None]
    held: set[int] = field(default_factory=set)
    """The deeds that keep it down."""
    killed: bool = False
    """Its end is a fault's doing."""
    ended_at: float | None = None


class Services(threading.Thread):
    """Looks after all services of a trial; a context manager."""

    def __init__(self, services: list[Service], say: Callable[[str, str], None]) -> None:
        super().__init__(name="services", daemon=True)
        self._services = {service.name: service for service in services}
        self._say = say
        self._over = threading.Event()
        self.turn = threading.RLock()
        """Held while a service is started or killed, so that the two do not cross."""
        self.started: list[tuple[str, float]] = []
        """Which service was started again, and when."""
        self.complaints: list[str] = []
        """Services that ended though no fault had touched them."""

    def __enter__(self) -> Services:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join(10)

    def run(self) -> None:
        """Look around until the trial is over."""
        while not self._over.wait(LOOK_EVERY_S):
            with self.turn:
                for service in self._services.values():
                    self._look_after(service)

    def hold(self, name: str, deed: int) -> None:
        """Keep it down, once it is: that is for the fault to do."""
        with self.turn:
            self._services[name].held.add(deed)
            self._services[name].killed = True

    def release(self, name: str, deed: int) -> None:
        """Let it be started again, if nothing else keeps it down."""
        with self.turn:
            self._services[name].held.discard(deed)

    @property
    def all_run(self) -> bool:
        """Whether nothing is down."""
        return all(service.running() for service in self._services.values())

    def _look_after(self, service: Service) -> None:
        if service.running():
            service.ended_at = None
            return
        if service.ended_at is None:
            service.ended_at = now()
            if not service.killed:
                self.complaints.append(f"{service.name} ended by itself")
                self._say(service.name, "ended by itself")
        if not service.held and now() - service.ended_at >= RESTART_AFTER_S:
            service.killed = False
            self.started.append((service.name, now()))
            service.start()
            self._say(service.name, "was started")
