"""A permit rests on a write of the leader key, never on the sight of one: standbys count from the last write."""

from __future__ import annotations

import pytest

from tests.sim.scenarios.scene import Scene, play
from tests.sim.world.events import Event, LeaderKeyChanged
from tests.sim.world.knobs import Knobs

SLOW = Knobs(ttl=30.0, loop_wait=10.0, retry_timeout=10.0, commit_every=0.2, fence=True)


def test_a_move_to_another_lease_that_was_done_already_is_no_proof() -> None:
    """The ttl is changed, the answers to the move are lost, and it is tried again just before the road is cut."""

    async def script(s: Scene) -> None:
        leader, began, etcd = s.leader, s.now, s.world.etcd
        moved: list[float] = []

        def hear(event: Event) -> None:
            if isinstance(event, LeaderKeyChanged) and event.at > began and event.ttl == 40 and not moved:
                moved.append(event.at)
                etcd.answers_lost = 1.0

        s.world.listeners.append(hear)
        s.world.operators.patch(leader, {"ttl": 40.0, "loop_wait": 10.0, "retry_timeout": 10.0})
        await s.until(lambda: bool(moved), 60)
        agent = s.host(leader).agent
        assert agent is not None
        await s.wait(agent.current().timing.renew_timeout + 0.05)
        etcd.answers_lost = 0.0
        before = agent.current().lease.renewed_at
        await s.until(lambda: agent.current().lease.renewed_at != before, 10)
        s.do("isolate", leader, 200)
        await s.wait(120)
        assert s.leader not in ("", leader)

    play(script, SLOW)


@pytest.mark.parametrize("ttl", [20.0, 40.0])
def test_an_agent_killed_while_the_key_moves_to_another_lease_resumes_its_term(ttl: float) -> None:
    """Fault 1: it never heard that the key had moved."""

    async def script(s: Scene) -> None:
        leader, pid, began = s.leader, s.pid(s.leader), s.now

        def moved(event: Event) -> bool:
            return isinstance(event, LeaderKeyChanged) and event.at > began and event.ttl == ttl

        s.when(moved, "kill agent", leader, 3)
        s.world.operators.patch(leader, {"ttl": ttl, "loop_wait": 5.0, "retry_timeout": 5.0})
        await s.wait(150)
        assert any(map(moved, s.events))
        assert (s.leader, s.pid(leader)) == (leader, pid)
        assert s.leaders_since(began) == []

    play(script, SLOW)
