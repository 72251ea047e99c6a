"""The end of each walsender that commits may wait for, noticed at once through a pidfd and not at the next look."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from haagent.core.facts import WalSender
from haagent.postgres.process import Watch, identify

AWAITED = frozenset({"sync", "quorum", "potential"})
"""States of pg_stat_replication in which commits wait for a standby, or may soon."""


class SenderWatches:
    """Watches the walsenders that were last seen; one that has ended already tells so at the next look anyway."""

    def __init__(self) -> None:
        self._watches: dict[int, Watch] = {}
        self._wakes: list[Callable[[str], None]] = []

    def on_end(self, wake: Callable[[str], None]) -> None:
        """Call ``wake`` with a reason whenever a watched walsender ends."""
        self._wakes.append(wake)

    def see(self, senders: Iterable[WalSender]) -> None:
        """These are the walsenders now."""
        awaited = {sender.pid: sender.application_name for sender in senders if sender.sync_state in AWAITED}
        for pid in self._watches.keys() - awaited.keys():
            self._watches.pop(pid).close()
        for pid in awaited.keys() - self._watches.keys():
            process = identify(pid)
            if process is not None:
                self._watches[pid] = Watch(process, self._teller(awaited[pid]))

    def _teller(self, name: str) -> Callable[[Watch], None]:
        def tell(watch: Watch) -> None:
            self._watches.pop(watch.process.pid, None)
            for wake in self._wakes:
                wake(f"{name} no longer streams: walsender {watch.process.pid} ended")

        return tell

    def close(self) -> None:
        """Watch no longer."""
        for watch in self._watches.values():
            watch.close()
        self._watches.clear()
