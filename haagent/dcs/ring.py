"""Which endpoints etcd has now: those of the settings, or of SRV records, and the members that etcd itself names.

Laws: an endpoint that the settings name is never given up, but one that leads to another cluster is set aside; one
that etcd names is taken only when it answers as that very member of that very cluster, by the protocol of the settings.
All this is done behind the callers' backs, but for the very first look-up of SRV records.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from haagent.dcs import wire
from haagent.dcs.endpoint import Endpoint
from haagent.dcs.race import Try
from haagent.dcs.wire import Members
from haagent.ports import PortError, Unreachable

log = logging.getLogger(__name__)

EVERY_S, SOON_S = 60.0, 2.0
"""How often etcd's members are asked for, and how soon again when a call had trouble."""
ASK_TIMEOUT_S = 1.5

Seeds = Callable[[], Coroutine[Any, Any, tuple[str, ...]]]


@dataclass(frozen=True, slots=True)
class _Told:
    endpoint: Endpoint
    members: Members


class Ring:
    """``seeds`` are the endpoints of the settings, ``look_up`` finds them when a domain is given instead.

    Without ``discover`` etcd is not asked.
    """

    def __init__(
        self, make: Callable[[str], Endpoint], seeds: Sequence[str], look_up: Seeds | None, discover: bool
    ) -> None:
        self._make = make
        self._look_up = look_up
        self._discover = discover
        self._seeds = tuple(url.rstrip("/") for url in seeds)
        self._all = tuple(make(url) for url in self._seeds)
        self._strangers: tuple[Endpoint, ...] = ()
        self._current = 0
        self._looked_at = float("-inf")
        self._looking: asyncio.Task[None] | None = None
        self._lost: frozenset[str] = frozenset()
        self._why_none = "no name server has answered yet"
        self._seeded = asyncio.Event()

    # --- asking ---

    async def endpoints(self, timeout: float) -> tuple[Endpoint, ...]:
        """All of them, the one in use first; Unreachable when none becomes known within ``timeout`` seconds."""
        self.look(soon=not self._all)
        if not self._all and self._looking is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout):
                    await self._seeded.wait()
        if not self._all:
            raise Unreachable(f"no endpoint of etcd is known: {self._why_none}")
        return (*self._all[self._current :], *self._all[: self._current])

    def nth(self, number: int) -> Endpoint:
        """One after the other, round and round; Unreachable when none is known yet."""
        if not self._all:
            self.look(soon=True)
            raise Unreachable(f"no endpoint of etcd is known: {self._why_none}")
        return self._all[number % len(self._all)]

    def use(self, endpoint: Endpoint) -> None:
        """This one answered: it is asked first from now on."""
        self._current = self._all.index(endpoint) if endpoint in self._all else 0

    def distrust(self) -> None:
        """The one in use answered what cannot be: ask the next one first."""
        self._current = (self._current + 1) % max(1, len(self._all))

    async def close(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)
        for endpoint in (*self._all, *self._strangers):
            endpoint.close()

    # --- looking ---

    def look(self, *, soon: bool = False) -> None:
        """See in the background which endpoints there are, if that is due; ``soon``: a call had trouble."""
        if self._look_up is None and not self._discover:
            return
        now = asyncio.get_running_loop().time()
        if self._looking is None and now - self._looked_at > (SOON_S if soon else EVERY_S):
            self._looking = asyncio.create_task(self._refresh())

    async def _refresh(self) -> None:
        try:
            self._looked_at = asyncio.get_running_loop().time()
            self._seeded.clear()
            await self._renew_seeds()
            self._seeded.set()
            if self._discover:
                await self._ask_members()
        finally:
            self._looking = None

    async def _renew_seeds(self) -> None:
        if self._look_up is None:
            return
        try:
            seeds = await self._look_up()
        except (Unreachable, ValueError) as error:
            self._why_none = str(error)
            log.warning("%s; %s", error, "the endpoints known before stay in use" if self._all else "there are none")
            return
        if set(seeds) != set(self._seeds):
            known = {endpoint.url: endpoint for endpoint in self._all}
            others = [endpoint for endpoint in self._all if endpoint.url not in {*seeds, *self._seeds}]
            self._seeds = seeds
            self._become([*(known.get(url) or self._make(url) for url in seeds), *others], "SRV records name them")

    async def _ask_members(self) -> None:
        """Take in the members that no endpoint leads to, and give up found ones that are members no more."""
        told = await self._told((*self._all, *self._strangers))
        if not told:
            return
        # Most endpoints decide which cluster is meant; of as many each, the one in use, which stands first.
        in_use_first = sorted(told, key=lambda one: one.endpoint is not self._all[self._current])
        cluster_id = Counter(one.members.cluster_id for one in in_use_first).most_common(1)[0][0]
        same = [one for one in in_use_first if one.members.cluster_id == cluster_id]
        present = same[0].members
        self._set_aside([one for one in told if one not in same])
        reached = {one.members.member_id for one in same}
        missing = {
            self._normal(url): number for number, urls in present.urls.items() if number not in reached for url in urls
        }
        wanted = [url for url in missing if self._may_be_asked(url)]
        candidates = [self._make(url) for url in wanted]
        found = [
            one.endpoint
            for one in await self._told(candidates)
            if (one.members.cluster_id, one.members.member_id) == (present.cluster_id, missing[one.endpoint.url])
        ]
        for endpoint in candidates:
            if endpoint not in found:
                endpoint.close()
        self._settle(present, same, found)

    def _settle(self, present: Members, same: Sequence[_Told], found: Sequence[Endpoint]) -> None:
        listed = {self._normal(url) for urls in present.urls.values() for url in urls}
        answering = {one.endpoint for one in same if one.members.member_id in present.urls}
        known = [*self._all, *(one.endpoint for one in same if one.endpoint not in self._all)]
        known = [one for one in known if one not in self._strangers]
        good = [one for one in known if one in answering or one.url in listed]
        lost = [one for one in known if one not in good and one.url in self._seeds]
        self._become([*good, *found, *lost], "etcd names them as its members")
        if self._all[self._current] in lost and (good or found):
            self._current = 0
        self._complain_of_lost(frozenset(one.url for one in lost))

    def _set_aside(self, strangers: Sequence[_Told]) -> None:
        """Do not use what leads to another cluster, but go on asking it: it may be mended."""
        for one in strangers:
            if one.endpoint not in self._strangers:
                log.error(
                    "%s belongs to another etcd cluster (%x) than most endpoints and is not used: two clusters in one "
                    "list of hosts would make two leaders. Take it out of etcd3.hosts",
                    one.endpoint.url,
                    one.members.cluster_id,
                )
        self._strangers = tuple(one.endpoint for one in strangers)

    async def _told(self, endpoints: Iterable[Endpoint]) -> list[_Told]:
        """What these say of the cluster's members; those that say nothing are left out."""

        async def ask(endpoint: Endpoint) -> _Told | None:
            try:
                async with asyncio.timeout(ASK_TIMEOUT_S):
                    call = endpoint.call("/v3/cluster/member/list", {}, wire.members, ASK_TIMEOUT_S, Try(0))
                    return _Told(endpoint, await call)
            except (PortError, TimeoutError) as error:
                log.debug("%s does not name etcd's members: %s", endpoint.url, error)
                return None

        return [told for told in await asyncio.gather(*map(ask, endpoints)) if told is not None]

    def _may_be_asked(self, url: str) -> bool:
        """A found URL is of no use when it is known, of another protocol, or means each machine's own."""
        there, schemes = urlsplit(url), {urlsplit(seed).scheme for seed in self._seeds}
        own = any(_loopback(seed) for seed in self._seeds)
        known = url in {endpoint.url for endpoint in self._all}
        return not known and there.scheme in schemes and (own or not _loopback(url))

    @staticmethod
    def _normal(url: str) -> str:
        return url.rstrip("/")

    def _become(self, endpoints: Sequence[Endpoint], why: str) -> None:
        if [one.url for one in endpoints] == [one.url for one in self._all]:
            return
        present = self._all[self._current] if self._all else None
        for endpoint in self._all:
            if endpoint not in endpoints and endpoint not in self._strangers:
                endpoint.close()
        self._all = tuple(endpoints)
        self._current = self._all.index(present) if present in self._all else 0
        log.info("etcd's endpoints are now %s: %s", ", ".join(one.url for one in endpoints), why)

    def _complain_of_lost(self, lost: frozenset[str]) -> None:
        if lost and lost != self._lost:
            log.warning(
                "etcd's members have other addresses than the settings name: nobody answers at %s, which no member "
                "has any more. Change etcd3.hosts: an agent that is started needs at least one that answers",
                ", ".join(sorted(lost)),
            )
        self._lost = lost


def _loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    return host in {"localhost", "::1"} or host.startswith("127.")
