"""Faults of machines and of the agents and guards on them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.sim.faults.deed import ONCE, Deed, End, Kind, during, nothing

if TYPE_CHECKING:
    from tests.sim.world.world import World


def _power(world: World, deed: Deed) -> End:
    world.hosts[deed.target].power_off()
    return world.hosts[deed.target].power_on


def _kill_agent(world: World, deed: Deed) -> End:
    host = world.hosts[deed.target]
    host.kill_agent(None)
    return host.start_agent


def _terminate_agent(world: World, deed: Deed) -> End:
    world.hosts[deed.target].stop_agent()
    return nothing


def _freeze_agent(world: World, deed: Deed) -> End:
    process = world.hosts[deed.target].agent_process
    if process is None:
        return nothing
    process.freeze()

    def thaw() -> None:
        process.thaw()
        world.hosts[deed.target].able_again()

    return thaw


def _freeze_guard(world: World, deed: Deed) -> End:
    guard = world.hosts[deed.target].guard
    if guard is None:
        return nothing
    guard.process.freeze()
    return guard.process.thaw


def _kill_guard(world: World, deed: Deed) -> End:
    world.hosts[deed.target].kill_guard()
    return nothing


def _freeze_host(world: World, deed: Deed) -> End:
    host = world.hosts[deed.target]
    host.freeze()
    return host.thaw


def _suspend_host(world: World, deed: Deed) -> End:
    """As a laptop's lid or a hypervisor does: unlike in a freeze, asyncio's timers do not come nearer meanwhile."""
    host, began = world.hosts[deed.target], world.now
    host.freeze()

    def resume() -> None:
        world.loop.resumed(host.clock, host.processes(), world.now - began)
        host.thaw()

    return resume


def _kill_both(world: World, deed: Deed) -> End:
    world.hosts[deed.target].kill_guard()
    return _kill_agent(world, deed)


def _freeze_both(world: World, deed: Deed) -> End:
    thaw_agent, thaw_guard = _freeze_agent(world, deed), _freeze_guard(world, deed)

    def thaw() -> None:
        thaw_agent()
        thaw_guard()

    return thaw


def _guards_fail(world: World, deed: Deed) -> End:
    return during(world.hosts[deed.target], "guard_fails")


def _device_fails(world: World, deed: Deed) -> End:
    return during(world.hosts[deed.target], "device_fails")


def _hook(world: World, deed: Deed) -> End:
    host = world.hosts[deed.target]
    host.hook = deed.other or "vetoes"

    def mend() -> None:
        host.hook = "agrees"

    return mend


KINDS = {
    "power off": Kind(5, "node", (5, 120), _power),
    "kill agent": Kind(5, "node", (0.2, 60), _kill_agent, blinds=True),
    "terminate agent": Kind(3, "node", ONCE, _terminate_agent),
    "freeze agent": Kind(5, "node", (0.2, 60), _freeze_agent, blinds=True),
    "kill guard": Kind(3, "node", ONCE, _kill_guard, blinds=True),
    "freeze guard": Kind(2, "node", (1, 40), _freeze_guard, blinds=True),
    "freeze host": Kind(4, "node", (0.2, 60), _freeze_host),
    "suspend host": Kind(0, "node", (0.2, 60), _suspend_host),
    "kill agent and guard": Kind(3, "node", (0.2, 60), _kill_both, blinds=True, needs_fence=True),
    "freeze agent and guard": Kind(3, "node", (0.2, 60), _freeze_both, blinds=True, needs_fence=True),
    "no guard starts": Kind(2, "node", (2, 60), _guards_fail),
    "watchdog device fails": Kind(1, "node", (2, 60), _device_fails),
    "hook": Kind(2, "node", (5, 90), _hook, others=("vetoes", "hangs")),
}
