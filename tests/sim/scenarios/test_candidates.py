"""What befalls a candidate between the free leader key and its promotion."""

from __future__ import annotations

from tests.sim.scenarios.scene import Scene, becomes, play, wins
from tests.sim.world.knobs import Knobs

TWO = Knobs(nodes=("a", "b"))
ASKED = Knobs(nodes=("a", "b"), pre_promote=True)


def peers_are_slow(s: Scene) -> None:
    """So that whoever asks them is a candidate for a while."""
    for name in s.standbys:
        s.do("slow peers", name, 30)


def test_a_candidate_whose_postgresql_dies_leaves_the_key_to_another() -> None:
    async def script(s: Scene) -> None:
        old, (victim, other), began = s.leader, s.standbys, s.now
        peers_are_slow(s)
        s.when(becomes(victim, "candidate"), "kill postmaster", victim)
        s.do("power off", old, 60)
        await s.until(lambda: s.acked_since(began + 5) == [other], 30)
        await s.wait(60)
        assert s.leaders_since(began) == [other]
        assert s.states_since(began, victim)[:4] == ["candidate", "fenced", "starting", "standby"]
        await s.until_whole()

    play(script)


def test_a_candidate_that_is_told_to_stop_does_not_campaign() -> None:
    async def script(s: Scene) -> None:
        old, new, began = s.leader, s.standbys[0], s.now
        s.when(becomes(new, "candidate"), "terminate agent", new)
        s.do("power off", old, 60)
        await s.until(lambda: "demoting" in s.states_since(began, new), 30)
        assert s.leaders_since(began) == []
        await s.until(lambda: s.acked_since(s.now - 1) == [new], 30)
        await s.wait(60)
        await s.until_whole()

    play(script, TWO)


def test_a_pause_while_too_few_vote_ends_the_candidacy() -> None:
    """Fault 89."""

    async def script(s: Scene) -> None:
        old, (lone, other), began = s.leader, s.standbys, s.now
        s.do("power off", other, 60)
        s.do("power off", old, 60)
        await s.until(lambda: "candidate" in s.states_since(began, lone), 30)
        await s.wait(10)
        paused = s.now
        s.do("pause", lone, 60)
        await s.until(lambda: s.states_since(paused, lone) == ["standby"], 5)
        await s.wait(45)
        assert s.leaders_since(began) == []
        await s.until(lambda: bool(s.acked_since(s.now - 1)), 60)
        await s.until_whole()

    play(script, Knobs(synchronous_mode="quorum"))


def test_a_lease_that_ends_while_pre_promote_hangs_promotes_nobody_and_holds_up_nobody() -> None:
    """The program is ended with its candidacy: the next one does not wait for it, up to a minute."""

    async def script(s: Scene) -> None:
        old, new, began = s.leader, s.standbys[0], s.now
        s.host(new).hook = "hangs"
        s.do("power off", old, 90)
        await s.until(lambda: s.leader == new, 20)
        await s.wait(1)
        s.do("isolate", new, 25)
        healed = s.now + 25
        await s.until(lambda: s.leader == "", 12)
        s.host(new).hook = "agrees"
        await s.wait(healed - s.now)
        assert s.promotions_since(began) == []
        await s.until(lambda: s.promotions_since(began) == [new], 15)
        await s.wait(60)
        await s.until_whole()

    play(script, ASKED)


def test_a_winner_that_is_shut_down_while_pre_promote_runs_gives_the_key_back() -> None:
    async def script(s: Scene) -> None:
        old, new, began = s.leader, s.standbys[0], s.now
        s.host(new).hook = "hangs"
        s.do("power off", old, 60)
        await s.until(lambda: s.leader == new, 20)
        await s.wait(1)
        s.do("kill postmaster", new)
        s.do("terminate agent", new)
        await s.until(lambda: s.leader == "", 1)
        s.host(new).hook = "agrees"
        assert s.promotions_since(began) == []
        await s.until(lambda: s.promotions_since(began) == [new], 20)
        await s.wait(60)
        await s.until_whole()

    play(script, ASKED)


def test_a_primary_promoted_by_hand_in_a_pause_keeps_the_key_it_won_unheard() -> None:
    async def script(s: Scene) -> None:
        old, new = s.leader, s.standbys[0]
        s.do("pause", new, 120)
        await s.wait(5)
        s.do("power off", old, 60)
        await s.wait(15)
        s.when(wins(new), "cut from etcd", new, 6, "answers")
        began = s.now
        s.do("promote by hand", new)
        await s.until(lambda: s.leader == new, 20)
        pid = s.pid(new)
        await s.wait(100)
        await s.until_whole()
        assert (s.leader, s.leaders_since(began), s.pid(new)) == (new, [new], pid)

    play(script, TWO)


def test_nobody_campaigns_while_a_primary_of_a_pause_still_runs() -> None:
    """Faults 23, 33 and 89: cut off from etcd it knows nothing of the pause's end, and its lease goes on."""

    async def script(s: Scene) -> None:
        leader, pid, began = s.leader, s.pid(s.leader), s.now
        s.do("pause", s.standbys[0], 18)
        await s.wait(5)
        s.do("cut from etcd", leader, 16)
        await s.wait(8)
        s.do("etcd leader changes", "etcd")
        await s.wait(7)
        assert s.writes(leader)
        assert s.promotions_since(began) == []
        await s.wait(20)
        await s.until_whole(60)
        assert (s.leader, s.pid(leader), s.leaders_since(began)) == (leader, pid, [])

    play(script)
