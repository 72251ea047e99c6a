"""Who hears whom: cuts that overlap on one host are in force together, and each ends by itself."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from tests.real.network import NamespacedHost


@dataclass(frozen=True)
class Cut:
    """Whose packets are dropped on the way in and on the way out; None: everybody's."""

    incoming: Collection[NamespacedHost] | None = ()
    outgoing: Collection[NamespacedHost] | None = ()


@dataclass
class Cuts:
    """All cuts in force, by host and by the number of the deed."""

    _of: dict[str, dict[int, Cut]] = field(default_factory=dict)

    def make(self, host: NamespacedHost, deed: int, cut: Cut) -> None:
        """From now on."""
        self._of.setdefault(host.name, {})[deed] = cut
        self._apply(host)

    def heal(self, host: NamespacedHost, deed: int) -> None:
        """End one; the others stay."""
        if self._of.get(host.name, {}).pop(deed, None) is not None:
            self._apply(host)

    def _apply(self, host: NamespacedHost) -> None:
        cuts = list(self._of[host.name].values())
        if cuts:
            host.drop(_union([cut.incoming for cut in cuts]), _union([cut.outgoing for cut in cuts]))
        else:
            host.heal()


def _union(parts: Collection[Collection[NamespacedHost] | None]) -> list[NamespacedHost] | None:
    together: dict[str, NamespacedHost] = {}
    for part in parts:
        if part is None:
            return None
        together |= {host.name: host for host in part}
    return list(together.values())
