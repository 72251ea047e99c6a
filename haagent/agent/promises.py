"""What this node promised to a primary that goes on without etcd, kept so that a restarted agent honours it.

Laws: a promise is on the disk before it is given; a campaign and a promise never cross: while one runs, the other is
refused.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from haagent.core import failsafe
from haagent.core.facts import Document, Promise, Settings, View
from haagent.core.failsafe import Judged
from haagent.ports import Clock, LocalStore, Refused

log = logging.getLogger("haagent.failsafe")

KEPT = "promised_s"


class Promises:
    """The one promise of this node; asked by other agents, at any moment between the loop's ticks."""

    def __init__(self, store: LocalStore, clock: Clock, settings: Settings) -> None:
        self._store, self._clock = store, clock
        kept = store.load().get(KEPT)
        self._promise = failsafe.inherited(kept, settings.ttl, settings.failsafe_mode, clock.now())
        self._kept_s = 0.0
        """The length that is surely on the disk."""
        self._campaigning = False

    def facts(self) -> Promise | None:
        """What binds this node now."""
        promise = self._promise
        return promise if promise is not None and self._clock.now() < promise.until else None

    async def answer(self, view: View, body: Document) -> Judged:
        """Answer POST /failsafe; ``view`` is of this moment."""
        judged = failsafe.judge(view, body, campaigning=self._campaigning)
        if judged.promise is None:
            return judged
        if self.facts() is None:
            log.info(
                "%s goes on without etcd (failsafe mode): this node promised not to take the leader key for %.1f s",
                judged.promise.name,
                judged.promise.length_s,
            )
        # It binds from here on: no campaign may begin while the disk is waited for.
        self._promise = judged.promise
        if await self._keep(judged.promise):
            return judged
        return Judged(503, "the promise can't be kept on this node's disk; its log says why")

    async def _keep(self, promise: Promise) -> bool:
        if self._kept_s < promise.length_s:
            saved = await self._store.keep(**{KEPT: promise.length_s})
            self._kept_s = promise.length_s if saved else 0.0
        return self._kept_s >= promise.length_s

    async def tidy(self) -> None:
        """Forget on the disk too what is over."""
        if self.facts() is None and KEPT in self._store.load():
            self._promise, self._kept_s = None, 0.0
            await self._store.keep(**{KEPT: None})

    @contextmanager
    def campaign(self) -> Iterator[None]:
        """For as long as this node tries for the leader key; Refused when a promise forbids it."""
        promise = self.facts()
        if promise is not None:
            left_s = promise.until - self._clock.now()
            to = f" to {promise.name}" if promise.name else ""
            raise Refused(f"this node promised{to} not to take the leader key for {left_s:.1f} s more (failsafe mode)")
        self._campaigning = True
        try:
            yield
        finally:
            self._campaigning = False
