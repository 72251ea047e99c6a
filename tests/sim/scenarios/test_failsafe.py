"""Failsafe mode: who goes on without etcd, and who stops."""

from __future__ import annotations

import json

import pytest

from tests.sim.faults import Deed
from tests.sim.mutants.edits import MUTANTS, applied
from tests.sim.scenarios.scene import Scene, play
from tests.sim.simulation import Simulation
from tests.sim.world.knobs import Knobs

ON = Knobs(failsafe_mode=True)
LATELY_S = 20.0
"""Clients of a calm world write this often at least."""


@pytest.mark.parametrize("seconds", [40.0, 300.0])
def test_a_primary_goes_on_without_etcd_while_all_members_consent(seconds: float) -> None:
    """Faults 23 and 34: no demotion during the outage, and none after it; the key and PostgreSQL stay."""

    async def script(s: Scene) -> None:
        leader, pid, began = s.leader, s.pid(s.leader), s.now
        s.do("etcd down", "etcd", seconds)
        await s.wait(seconds - 1)
        assert s.acked_since(s.now - LATELY_S) == [leader]
        await s.wait(30)
        assert s.acked_since(s.now - LATELY_S) == [leader]
        assert (s.leader, s.pid(leader), s.states_since(began, leader)) == (leader, pid, [])
        assert s.whole()

    play(script, ON)


def test_without_the_mode_it_stops() -> None:
    """Faults 22 and 34."""

    async def script(s: Scene) -> None:
        leader = s.leader
        s.do("etcd down", "etcd", 60)
        await s.wait(12)
        assert s.acked_since(s.now - 1) == []
        assert "demoting" in s.states_since(0, leader)

    play(script)


def test_replicas_that_see_etcd_leave_the_key_of_a_primary_that_does_not() -> None:
    """Fault 23: its key expires, nobody takes it, and it takes the key again in place when etcd is back."""

    async def script(s: Scene) -> None:
        leader, pid, began = s.leader, s.pid(s.leader), s.now
        s.do("cut from etcd", leader, 60)
        await s.wait(50)
        assert s.leader == ""
        assert s.acked_since(s.now - LATELY_S) == [leader]
        await s.wait(30)
        assert s.leaders_since(began) == [leader]
        assert (s.pid(leader), s.states_since(began, leader)) == (pid, [])
        assert s.whole()

    play(script, ON)


@pytest.mark.parametrize("fault", ["cut", "power off", "freeze agent"])
def test_one_member_that_does_not_consent_stops_it(fault: str) -> None:
    """Fault 30: the failsafe rule fails closed, and nothing is acknowledged after the permit."""

    async def script(s: Scene) -> None:
        leader, other = s.leader, s.standbys[0]
        s.do("etcd down", "etcd", 120)
        await s.wait(30)
        assert s.acked_since(s.now - LATELY_S) == [leader]
        if fault == "cut":
            s.do("cut", leader, 60, other)
        else:
            s.do(fault, other, 60)
        await s.wait(s.world.knobs.ttl + 0.5)
        assert s.acked_since(s.now - 1) == []
        await s.wait(100)
        await s.until_whole()

    play(script, ON)


def test_a_dead_primary_is_replaced_when_the_promises_are_over() -> None:
    async def script(s: Scene) -> None:
        leader, ttl = s.leader, s.world.knobs.ttl
        s.do("cut from etcd", leader, 60)
        await s.wait(30)
        s.do("power off", leader, 60)
        died = s.now
        await s.until(lambda: bool(s.promotions_since(died)), ttl + 6)
        assert s.leader != leader

    play(script, ON)


def test_an_agent_that_is_restarted_honours_the_promise_of_the_one_before() -> None:
    async def script(s: Scene) -> None:
        leader, began = s.leader, s.now
        s.do("cut from etcd", leader, 40)
        await s.wait(25)
        for other in s.standbys:
            s.do("cut", leader, 60, other)
        for other in s.standbys:
            s.do("kill agent", other, 0.2)
        await s.wait(80)
        await s.until_whole()
        assert s.leaders_since(began)

    play(script, ON)


LONELY = Deed(40, "cut from etcd", "c", 60)
CAUGHT_BY = {
    "failsafe by majority": [LONELY, Deed(45, "cut", "c", 40, "b")],
    "failsafe counted from the answer": [
        *(Deed(39, "slow peers", "c", 60, strength=1.0), LONELY, Deed(60, "freeze agent", "c", 30)),
    ],
    "promise forgotten by a restart": [LONELY, Deed(60, "kill agent", "a", 0.2), Deed(60, "kill agent", "b", 0.2)],
    "failsafe open to all": [Deed(39, "power off", "b", 30), Deed(62, "cut from etcd", "c", 60)],
}


@pytest.mark.parametrize("name", CAUGHT_BY)
def test_what_each_rule_is_for(name: str) -> None:
    """Of known-bad edits each has a plan that lets two nodes write; the rule that it breaks prevents just that."""
    bad = next(one for one in MUTANTS if one.name == name)
    with applied(bad):
        broken = Simulation(1, knobs=ON, deeds=CAUGHT_BY[name], rest=False, keep_lines=False).run()
    assert broken.what in ("one writer", "under lease", "one route")
    assert Simulation(1, knobs=ON, deeds=CAUGHT_BY[name], rest=False, keep_lines=False).run().ok


def _named(s: Scene) -> set[str]:
    """Whom the failsafe key names; nobody when there is none."""
    found = s.world.etcd.etcd.keys.get("/service/sim/failsafe")
    return set() if found is None else set(json.loads(found.value))


def test_the_key_names_the_members_and_goes_with_the_mode() -> None:
    async def script(s: Scene) -> None:
        leader, gone = s.leader, s.standbys[0]
        assert _named(s) == set(s.world.hosts)
        s.do("power off", gone, 60)
        await s.until(lambda: gone not in _named(s), 25, "the member that is down leaves the key")
        await s.until(lambda: gone in _named(s), 75, "it comes back")
        agent = s.host(leader).agent
        assert agent is not None
        assert (await agent.submit("patch_config", {"failsafe_mode": False})).status == 200
        await s.until(lambda: not _named(s), 10, "the key is deleted")

    play(script, ON)


def test_a_member_that_the_key_does_not_name_does_not_lead() -> None:
    """It was away when the primary lost etcd, and is not asked: it must not take the key that expires."""

    async def script(s: Scene) -> None:
        leader, away = s.leader, s.standbys[0]
        s.do("power off", away, 30)
        await s.until(lambda: away not in _named(s), 25)
        await s.wait(2 * s.world.knobs.loop_wait)  # the leader asks it until it has seen that the key is rid of it
        s.do("cut from etcd", leader, 90)
        began = s.now
        await s.wait(85)
        assert s.leaders_since(began) == []
        assert s.acked_since(s.now - LATELY_S) == [leader]
        await s.wait(40)
        assert s.leader == leader
        assert _named(s) == set(s.world.hosts)

    play(script, ON)
