"""A synchronous mode at work: how long commits wait when a standby that they count on goes."""

from __future__ import annotations

import json
from itertools import pairwise

from tests.sim.scenarios.scene import Scene, play
from tests.sim.world.dcs import PREFIX
from tests.sim.world.events import Acked
from tests.sim.world.knobs import Knobs

PATIENT = Knobs(synchronous_mode="on", ttl=30.0, loop_wait=10.0, retry_timeout=8.0, commit_every=0.05)
"""The default timing, so that nothing within a second is the work of a next loop."""


def counted_on(s: Scene) -> str:
    """The standby in the ``sync`` key."""
    return str(json.loads(s.world.etcd.etcd.keys[PREFIX + "sync"].value)["sync_standby"])


def test_a_lost_synchronous_standby_is_replaced_within_a_second() -> None:
    """Fault 69: by the end of its walsender, not by the next loop."""

    async def script(s: Scene) -> None:
        leader, lost, began = s.leader, counted_on(s), s.now
        s.do("kill postmaster", lost)
        await s.wait(8)
        assert counted_on(s) not in (lost, "")
        acked = [began, *(event.at for event in s.since(began, Acked)), s.now]
        assert max(later - earlier for earlier, later in pairwise(acked)) < 1
        assert s.acked_since(began) == [leader]

    play(script, PATIENT)
