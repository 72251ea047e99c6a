"""Faults of PostgreSQL: crashes, hangs, and what other hands than the agent's do to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from haagent.core.facts import DataKind
from tests.sim.faults.deed import ONCE, Deed, End, Kind, during, nothing

if TYPE_CHECKING:
    from tests.sim.world.hosts import Host
    from tests.sim.world.world import World

BACKEND_LINGERS_S = 8.0
"""A busy backend was seen to go on committing for 7 s after its postmaster had been killed."""


def _kill_postmaster(world: World, deed: Deed) -> End:
    world.hosts[deed.target].kill_tree(0.01, "SIGKILL by a fault")
    return nothing


def _orphan_backends(world: World, deed: Deed) -> End:
    server = world.hosts[deed.target].server
    if server is not None:
        server.orphan(BACKEND_LINGERS_S * (0.05 + deed.strength))
    return nothing


def _crash_backend(world: World, deed: Deed) -> End:
    server = world.hosts[deed.target].server
    if server is not None:
        server.crash_backend()
    return nothing


def _freeze_postmaster(world: World, deed: Deed) -> End:
    return freeze_server(world.hosts[deed.target])


def freeze_server(host: Host) -> End:
    """Its processes get no time until the end."""
    server = host.server
    if server is None:
        return nothing
    server.process.freeze()
    server.froze()

    def thaw() -> None:
        if server.process.alive:
            server.process.thaw()
            server.thawed()

    return thaw


def _promote_by_hand(world: World, deed: Deed) -> End:
    server = world.hosts[deed.target].server
    if server is not None and server.answers and not server.writable:
        server.promote(by_hand=True)
    return nothing


def _stop_by_hand(world: World, deed: Deed) -> End:
    server = world.hosts[deed.target].server
    if server is not None and not server.orphaned:
        server.stop("immediate" if deed.strength > 0.6 else "fast")
    return nothing


def _start_by_hand(world: World, deed: Deed) -> End:
    host = world.hosts[deed.target]
    _start(host, standby=host.data.standby_signal)
    return nothing


def _restart_as_standby(world: World, deed: Deed) -> End:
    return _restart_as(world, deed, standby=True)


def _restart_as_primary(world: World, deed: Deed) -> End:
    return _restart_as(world, deed, standby=False)


def _restart_as(world: World, deed: Deed, *, standby: bool) -> End:
    host = world.hosts[deed.target]
    if host.server is not None:
        host.server.end("pg_ctl restart by hand")
        host.data.tainted = host.data.tainted or (host.data.standby_signal and not standby)
        _start(host, standby=standby)
    return nothing


def _start(host: Host, *, standby: bool) -> None:
    """``pg_ctl start`` on what lies there, with or without standby.signal."""
    if host.up and host.server is None and host.data.kind is DataKind.VALID:
        host.start_server(primary=not standby).by_hand = True


def _starts_fail(world: World, deed: Deed) -> End:
    return during(world.hosts[deed.target], "starts_fail")


def _crash_loop(world: World, deed: Deed) -> End:
    host = world.hosts[deed.target]
    if host.server is not None:
        host.server.end("it crashed")
    return during(host, "crash_loops")


def _stops_hang(world: World, deed: Deed) -> End:
    return during(world.hosts[deed.target], "stops_hang", 2 if deed.strength > 0.7 else 1)


def _promotions_hang(world: World, deed: Deed) -> End:
    return during(world.hosts[deed.target], "promotions_hang")


KINDS = {
    "kill postmaster": Kind(4, "node", ONCE, _kill_postmaster),
    "orphan backends": Kind(3, "node", ONCE, _orphan_backends),
    "crash backend": Kind(2, "node", ONCE, _crash_backend),
    "freeze postmaster": Kind(2, "node", (1, 60), _freeze_postmaster),
    "promote by hand": Kind(2, "node", ONCE, _promote_by_hand),
    "stop by hand": Kind(2, "node", ONCE, _stop_by_hand),
    "start by hand": Kind(1, "node", ONCE, _start_by_hand),
    "restart as standby": Kind(1, "node", ONCE, _restart_as_standby),
    "restart as primary": Kind(1, "node", ONCE, _restart_as_primary),
    "starts fail": Kind(2, "node", (2, 60), _starts_fail),
    "crash loop": Kind(2, "node", (5, 60), _crash_loop),
    "stops hang": Kind(2, "node", (2, 90), _stops_hang),
    "promotions hang": Kind(2, "node", (2, 60), _promotions_hang),
}
