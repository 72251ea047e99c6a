"""Operators ask for things at moments that suit nobody; what they are told is noted."""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass

from tests.chaos.faults.base import Fault
from tests.chaos.plan import NODES, Deed
from tests.chaos.trial import Trial
from tests.real.http import request

PATIENCE_S = 60.0
ANY = ""


@dataclass(frozen=True)
class Request(Fault):
    """A request to the REST API of the target, from where the clients are."""

    path: str = ""

    def inject(self, trial: Trial, deed: Deed) -> None:
        threading.Thread(target=self._ask, args=(trial, deed), name=str(deed), daemon=True).start()

    def _ask(self, trial: Trial, deed: Deed) -> None:
        body = {"candidate": deed.other} if deed.other else {}
        if self.path == "/switchover":
            body["leader"] = _leader(trial) or deed.target
        place = trial.node(deed.target).place
        reply = request(
            trial.cluster.client, place.address, place.rest_port, "POST", self.path, body, timeout_s=PATIENCE_S
        )
        trial.journal.say("answer", f"{deed}: {reply.status} {reply.text.strip()[:200]}", deed=deed.number)


def _leader(trial: Trial) -> str | None:
    with contextlib.suppress(OSError):
        key = trial.cluster.key("leader")
        return key.value if key else None
    return None


FAULTS: tuple[Fault, ...] = (
    Request("switchover", 5, others=(ANY, *NODES), path="/switchover"),
    Request("failover", 2, others=NODES, may_lose=True, path="/failover"),
    Request("restart", 2, path="/restart"),
    Request("reinitialize", 2, path="/reinitialize"),
)
