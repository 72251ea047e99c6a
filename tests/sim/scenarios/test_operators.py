"""What operators ask for, and long jobs that are interrupted."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from tests.sim.scenarios.scene import Scene, play
from tests.sim.world.events import Note
from tests.sim.world.knobs import Knobs

SLOW_CLONE = Knobs(speed=replace(Knobs().speed, clone=20.0, rewind=10.0))


def test_a_switchover_goes_where_it_is_asked_to_and_loses_nothing() -> None:
    async def script(s: Scene) -> None:
        old, new, began = s.leader, s.standbys[1], s.now
        s.do("switchover", old, other=new)
        await s.until(lambda: s.promotions_since(began) == [new], 5)
        await s.until_whole(20)
        assert s.host(old).data.records[: len(s.host(old).data.records)] == s.host(new).data.records
        await s.until(lambda: bool(s.answers_to_operators()), 5, "an answer to the operator")

    play(script)


@pytest.mark.parametrize("seed", range(1, 5))
@pytest.mark.parametrize("apart_s", [0.0, 0.02])
def test_of_two_switchovers_at_once_one_is_done_and_the_other_refused(apart_s: float, seed: int) -> None:
    """Fault 86: through different agents, so that etcd alone can tell which was first."""

    async def script(s: Scene) -> None:
        (one, two), began = s.standbys, s.now
        s.do("switchover", one, other=one)
        await s.wait(apart_s)
        s.do("switchover", two, other=two)
        await s.wait(30)
        await s.until_whole()
        [winner], told = s.promotions_since(began), _told(s, began)
        assert sorted(told) == sorted((one, two))
        assert told.pop(winner) == f'200 Successfully switched over to "{winner}"'
        [conflict] = told.values()
        assert conflict.startswith("409 ")
        assert "was changed by somebody else" in conflict or f"to {winner} was requested already" in conflict
        assert s.leader == winner

    play(script, seed=seed)


def _told(s: Scene, since: float) -> dict[str, str]:
    """What each operator was answered, by the candidate asked for."""
    answers = (re.fullmatch(r"switchover .*'candidate': '(\w+)'\}: (.*)", e.text) for e in s.since(since, Note))
    return {found[1]: found[2] for found in answers if found}


def test_a_candidate_that_dies_after_the_leader_stopped_leaves_the_cluster_led() -> None:
    """Fault 85."""

    async def script(s: Scene) -> None:
        old, new, began = s.leader, s.standbys[0], s.now
        s.do("switchover", old, other=new)
        await s.until(lambda: "demoting" in s.states_since(began, old), 5)
        s.do("power off", new, 60)
        await s.until(lambda: bool(s.acked_since(s.now - 0.2)), s.world.knobs.ttl + 5)
        assert s.leader != new
        await s.wait(70)
        await s.until_whole()

    play(script)


def test_a_clone_whose_source_dies_is_begun_again() -> None:
    """Fault 53's kin: what there is of the copy is never started."""

    async def script(s: Scene) -> None:
        victim = s.standbys[0]
        s.do("reinitialize", victim)
        await s.wait(6)
        s.do("power off", s.leader, 30)
        await s.wait(60)
        await s.until_whole(120)
        assert len(s.host(victim).aside) >= 1

    play(script, SLOW_CLONE)


def test_a_rewind_that_is_interrupted_is_never_started_and_made_good() -> None:
    """Fault 62."""

    async def script(s: Scene) -> None:
        old = s.leader
        for name in s.standbys:
            s.do("cut", old, 20, name)
        await s.wait(5)
        s.do("isolate", old, 40)
        await s.until(lambda: s.host(old).agent is not None and s.leader not in ("", old), 30)
        await s.until(lambda: s.host(old).data.marker == "rewinding", 120)
        s.do("kill agent", old, 2)
        await s.until_whole(120)

    play(script, SLOW_CLONE)
