"""Faults of disks and file systems, and of whoever deletes what lies there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from haagent.core.facts import DataKind
from tests.sim.faults.database import freeze_server
from tests.sim.faults.deed import ONCE, Deed, End, Kind, during, nothing

if TYPE_CHECKING:
    from tests.sim.world.hosts import Host
    from tests.sim.world.world import World

NOTICED_S = 60.0
"""A postmaster looks for its lock file once a minute."""


def _full(world: World, deed: Deed) -> End:
    return during(world.hosts[deed.target].disk, "full")


def _read_only(world: World, deed: Deed) -> End:
    return during(world.hosts[deed.target].disk, "read_only")


def _hang(world: World, deed: Deed) -> End:
    host = world.hosts[deed.target]
    answer, thaw = during(host.disk, "hung"), freeze_server(host)

    def over() -> None:
        answer()
        thaw()

    return over


def _unmount(world: World, deed: Deed) -> End:
    host = world.hosts[deed.target]
    host.disk.unmount(known=deed.strength < 0.5)
    _soon_noticed(world, host, deed)
    return host.disk.mount


def _remove(world: World, deed: Deed) -> End:
    host = world.hosts[deed.target]
    if has_another(world, host):
        host.disk.remove()
        _soon_noticed(world, host, deed)
    return nothing


def _soon_noticed(world: World, host: Host, deed: Deed) -> None:
    if host.server is not None:
        world.loop.later(0.05 + NOTICED_S * deed.strength**2, host.server.end, "its data directory is gone")


def has_another(world: World, host: Host) -> bool:
    """A running machine that may lead holds all that is here: tests destroy nothing for good."""
    mine = host.data
    if mine.kind not in (DataKind.VALID, DataKind.UNREADABLE) or not mine.records:
        return False
    required = world.knobs.fence_required
    return any(
        other.data.kind is DataKind.VALID
        and other.data.at(mine.end) == mine.records[-1]
        and not (required and other.fence != "installed")
        for other in world.hosts.values()
        if other is not host and other.up
    )


def _spoil(world: World, deed: Deed) -> End:
    """pg_control can't be read for a while, and the server has mostly died of what caused that."""
    host = world.hosts[deed.target]
    spoilt = host.disk.spoil()
    if spoilt is None:
        return nothing
    if host.server is not None and deed.strength > 0.3:
        host.server.end("PANIC: could not read the control file")
    return lambda: host.disk.mend(spoilt)


def _copies_fail(world: World, deed: Deed) -> End:
    return during(world.hosts[deed.target], "copy_fails")


def _recycle(world: World, deed: Deed) -> End:
    """What WAL there is was recycled, as that of a primary whose slots were dropped or invalidated."""
    data = world.hosts[deed.target].data
    data.kept_from = data.end
    return nothing


KINDS = {
    "disk full": Kind(2, "node", (5, 60), _full),
    "disk read-only": Kind(2, "node", (5, 60), _read_only),
    "disk hangs": Kind(2, "node", (1, 40), _hang),
    "data unmounted": Kind(2, "node", (3, 60), _unmount),
    "data removed": Kind(1, "node", ONCE, _remove),
    "control file unreadable": Kind(2, "node", (3, 60), _spoil),
    "WAL recycled": Kind(0, "node", ONCE, _recycle),
    "copies fail": Kind(2, "node", (5, 60), _copies_fail),
}
