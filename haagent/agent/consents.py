"""Asks all other members, while etcd is silent, whether this primary may go on; it judges nothing.

Whom it asks is the loop's mandate. Only when all consented, and they still are all who must, is the keeper told, with
the instant at which they were asked.
"""

from __future__ import annotations

import asyncio
import logging

from haagent.agent.keeper import RETRY_S, Keeper
from haagent.core.facts import Asked, Mandate, Timing
from haagent.core.failsafe import still_covers
from haagent.ports import Clock, Peers

log = logging.getLogger("haagent.failsafe")


class Consents:
    """Asks for the keeper of one node."""

    def __init__(self, keeper: Keeper, peers: Peers, clock: Clock) -> None:
        self._keeper, self._peers, self._clock = keeper, peers, clock
        self._mandate: Mandate | None = None
        self._timing: Timing | None = None
        self._asked: Asked | None = None
        self._said = ""

    def facts(self) -> Asked | None:
        """The last round of questions since etcd fell silent."""
        return self._asked if self._keeper.unrenewed.is_set() else None

    def hold(self, mandate: Mandate | None, timing: Timing) -> None:
        """Whose consent counts from now on; None: nobody's."""
        self._mandate, self._timing = mandate, timing

    async def run(self) -> None:
        """Ask whenever renewals fail, for ever."""
        while True:
            if not self._keeper.unrenewed.is_set():
                self._asked = None
                self._say("")
                await self._keeper.unrenewed.wait()
            extended = await self._ask()
            await asyncio.sleep(self._timing.renew_every if extended and self._timing else RETRY_S)

    async def _ask(self) -> bool:
        mandate, timing, facts = self._mandate, self._timing, self._keeper.facts()
        if mandate is None or timing is None or facts.term is None or not self._keeper.may_extend:
            return False
        sent_at = self._clock.now()
        self._asked = Asked(sent_at, tuple(await self._peers.consent(mandate, timing.renew_timeout)))
        against = [f"{reply.name}: {reply.why}" for reply in self._asked.replies if not reply.accepted]
        consented = self._asked.unanimous and still_covers(mandate, self._mandate)
        extended = consented and self._keeper.vouched(facts.term, sent_at)
        if against:
            left_s = (self._keeper.facts().permit_until or sent_at) - self._clock.now()
            count = f"{len(against)} of {len(mandate.members)} members do not consent"
            self._say(f"{count} to go on without etcd; {left_s:.1f} s of the permit are left: {'; '.join(against)}")
        elif extended:
            names = ", ".join(mandate.members) or "nobody else"
            self._say(
                f"etcd is silent; all {len(mandate.members)} other members consent ({names}): this primary goes on"
            )
        return extended

    def _say(self, text: str) -> None:
        """Log what is new; numbers alone are not."""
        key = text.partition(";")[0]
        if key and key != self._said:
            log.warning("failsafe mode: %s", text)
        self._said = key
