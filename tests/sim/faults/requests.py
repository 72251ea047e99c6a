"""What operators ask of the agents, at good moments and bad."""

from __future__ import annotations

from typing import TYPE_CHECKING

from haagent.core.facts import Document
from haagent.core.lease import timing
from tests.sim.faults.deed import NODES, ONCE, Deed, End, Kind, nothing

if TYPE_CHECKING:
    from tests.sim.world.world import World

TTLS = (3.0, 5.0, 10.0, 20.0, 30.0)


def _request(world: World, deed: Deed) -> End:
    world.operators.act(deed.kind, deed.target, deed.other)
    return nothing


def _pause(world: World, deed: Deed) -> End:
    world.operators.act("pause", deed.target, "")
    return lambda: world.operators.act("resume", deed.target, "")


def _patch(world: World, deed: Deed, body: Document) -> End:
    """A change of the dynamic configuration, and back."""
    before = world.knobs.document()
    world.operators.patch(deed.target, body)
    return lambda: world.operators.patch(deed.target, {key: before.get(key) for key in body})


def _patch_ttl(world: World, deed: Deed) -> End:
    knobs, ttl = world.knobs, TTLS[int(deed.strength * len(TTLS)) % len(TTLS)]
    try:
        timing(ttl, knobs.loop_wait, knobs.retry_timeout)
    except ValueError:
        return _patch(world, deed, {"ttl": ttl, "loop_wait": 1.0, "retry_timeout": 1.0})
    return _patch(world, deed, {"ttl": ttl})


def _patch_synchrony(world: World, deed: Deed) -> End:
    return _patch(
        world, deed, {"synchronous_mode": deed.other or "off", "synchronous_mode_strict": deed.strength > 0.5}
    )


KINDS = {
    "switchover": Kind(4, "node", ONCE, _request, others=(NODES,)),
    "schedule switchover": Kind(1, "node", ONCE, _request, others=(NODES,)),
    "failover": Kind(2, "node", ONCE, _request, others=(NODES,)),
    "restart": Kind(2, "node", ONCE, _request),
    "schedule restart": Kind(1, "node", ONCE, _request),
    "reinitialize": Kind(1, "node", ONCE, _request),
    "pause": Kind(3, "node", (3, 120), _pause),
    "patch ttl": Kind(2, "node", (3, 90), _patch_ttl),
    "patch synchronous mode": Kind(2, "node", (3, 90), _patch_synchrony, others=("off", "on", "quorum")),
}
