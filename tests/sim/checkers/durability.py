"""In a synchronous mode an acknowledged commit is in the history of every later primary, unless an operator forced one.

When operators change the mode, the promise begins anew with the next word of the leader in the ``sync`` key.
A wiped or restored etcd forgets who may be elected: what was acknowledged before is then promised no more, nor what is
until the leader has written that key again. Nor is what a server acknowledges that other hands made writable, or whose
node believes the cluster paused; nor does it hold for a standby that streamed onto a history which other hands had
parted from its own, or that had got the same number in an etcd since wiped or set back, and confirmed what it did not
have. The rest holds for all commits acknowledged while there is a
``sync`` key, whether standbys were waited for or not: with none to wait for, nobody else may be elected. And whether
the key names the node that acknowledged them or not: before a primary is writable it must have put its name there, lest
its predecessor and those whom that one listed are elected without it.
"""

from __future__ import annotations

import json

from tests.sim.checkers.base import Checker
from tests.sim.world.events import Acked, Corrupted, Event, KeyWritten, Writable


class SynchronousCommitsLast(Checker):
    name = "synchronous commits last"

    def __init__(self) -> None:
        self._acked: dict[int, int] = {}
        self._promised = False
        self._mode: object = None
        self._forced: set[str] = set()
        self._spoilt: set[str] = set()
        self._claims_lost = False

    def see(self, event: Event) -> str | None:
        if isinstance(event, KeyWritten) and event.data_lost:
            self._acked.clear()
            self._claims_lost = True
        if isinstance(event, KeyWritten) and event.key == "config" and event.value != "(deleted)":
            mode, self._mode = self._mode, json.loads(event.value).get("synchronous_mode")
            if mode != self._mode:
                self._acked.clear()
                self._promised = False
        if isinstance(event, KeyWritten) and event.key == "sync":
            spoken = event.value != "(deleted)" and event.by != "restore"
            self._promised = spoken and json.loads(event.value)["leader"] is not None
        elif isinstance(event, KeyWritten) and event.key == "failover" and event.value != "(deleted)":
            wish = json.loads(event.value)
            if wish.get("member") and not wish.get("leader"):
                self._forced.add(wish["member"])
        elif isinstance(event, Corrupted) and (event.by_hand or self._claims_lost):
            self._spoilt.add(event.where)
        elif isinstance(event, Acked) and self._promised and not event.void:
            self._acked[event.uid] = event.commit
        elif isinstance(event, Writable) and (event.promoted or event.adopted):
            return self._judge(event)
        return None

    def _judge(self, event: Writable) -> str | None:
        lost = {uid: commit for uid, commit in self._acked.items() if not event.holds(uid)}
        if event.where in self._forced or event.where in self._spoilt:
            self._forced.discard(event.where)
            for uid in lost:
                del self._acked[uid]
            return None
        if lost:
            commits = sorted(lost.values())
            return f"{event.where} leads without {len(lost)} acknowledged synchronous commits: {commits[:5]}"
        return None
