"""What each protection is for: without it a short plan of known faults makes a checker speak, with it none does."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from tests.sim.faults import Deed
from tests.sim.mutants.edits import MUTANTS, applied
from tests.sim.scenarios.test_failsafe import CAUGHT_BY
from tests.sim.simulation import Simulation
from tests.sim.world.dcs import MEMBERS
from tests.sim.world.knobs import Knobs
from tests.sim.world.network import Weather
from tests.sim.world.server import Speed


@dataclass(frozen=True)
class Catch:
    """A plan that catches an edit, and which checkers may speak."""

    deeds: tuple[Deed, ...]
    by: tuple[str, ...]
    knobs: Knobs = Knobs()
    seed: int = 1
    """Where two nodes must act within the same few milliseconds."""


def _each_cut_off() -> tuple[Deed, ...]:
    """No node hears of another, but each of etcd."""
    return tuple(Deed(39, "cut", one, 60, other) for one, other in (("a", "b"), ("a", "c"), ("b", "c")))


def _asked_no_more(at: float, seconds: float = 60, node: str = "leader") -> tuple[Deed, ...]:
    """etcd gets no request of a node any more; its answers still arrive."""
    return tuple(Deed(at, "cut one way", node, seconds, member) for member in MEMBERS)


def _handed_over_and_frozen(times: int) -> tuple[Deed, ...]:
    """Each new leader is frozen soon after it has won the key, each time a little later."""
    return tuple(
        deed
        for i in range(times)
        for deed in (
            Deed(40 + 45 * i, "terminate agent", "leader"),
            Deed(40.8 + 45.15 * i, "freeze agent", "leader", 25),
        )
    )


def _asks_for_its_key_again() -> tuple[Deed, ...]:
    """The leader hears late that its key was deleted, and campaigns about a second after 40."""
    return (
        *(Deed(25, "switchover", "leader", other="a"), *_asked_no_more(36, 4, "a")),
        Deed(39.5, "leader key deleted", "etcd"),
    )


def _asks_too_late() -> tuple[Deed, ...]:
    """A leader without etcd and without peers is frozen, with its guard, until others campaign; then it reaches them.

    It may ask them at once, and its loop comes to look only after that, since PostgreSQL keeps it waiting.
    """
    return (
        *(Deed(25, "switchover", "leader", other="a"), Deed(40, "cut from etcd", "a", 60)),
        *(Deed(39, "cut", "a", 11.5, "b"), Deed(39, "cut", "a", 11.5, "c")),
        *(Deed(44.8, "freeze agent", "a", 5.8), Deed(44.9, "freeze guard", "a", 6.5)),
        *(Deed(48, "slow to etcd", "b", 30, strength=0.5), Deed(48, "slow to etcd", "c", 30, strength=0.5)),
        Deed(50.4, "freeze postmaster", "a", 0.7),
    )


SLOW = Weather(least=0.1, typical=0.01)
"""A look at etcd and what is then asked of it lie so far apart that a fault fits between them."""
IDLE = Knobs(ttl=30.0, loop_wait=10.0, retry_timeout=10.0, commit_every=20.0, rogue_every=60.0)
"""Little happens: healing, its bound and calm are gone through in a second."""

CAUGHT = {
    "guard removed": Catch((Deed(40, "freeze agent", "leader", 60),), ("within permit",)),
    "fence told of no end": Catch(
        (Deed(40, "kill agent and guard", "leader", 60),), ("under lease", "one writer"), Knobs(fence=True)
    ),
    "pause ignored": Catch((Deed(40, "pause", "standby", 100), Deed(50, "power off", "leader", 90)), ("pause",)),
    "bootstraps into a wiped store": Catch(
        (
            *(Deed(40, "copies fail", "a", 15), Deed(40, "reinitialize", "a")),
            *(Deed(45, "power off", "b", 40), Deed(45, "power off", "c", 40), Deed(50, "etcd wiped", "etcd")),
        ),
        ("one cluster",),
    ),
    "orphans not seen": Catch(
        (Deed(40, "orphan backends", "leader", strength=1.0),), ("leader key",), Knobs(primary_start_timeout=0.0)
    ),
    "promotion by hand left alone": Catch(
        (Deed(40, "promote by hand", "standby"), Deed(80, "etcd compacts", "etcd")), ("strays end",)
    ),
    "standby cluster ignored": Catch((Deed(120, "etcd compacts", "etcd"),), ("follows",), Knobs(elsewhere=True)),
    "vanished key taken at once": Catch(
        (Deed(40, "isolate", "leader", 40), Deed(40.5, "leader key deleted", "etcd")), ("one writer", "under lease")
    ),
    "no margin": Catch(
        (Deed(40, "freeze agent", "leader", 40),), ("under lease", "one writer"), Knobs(speed=Speed(kill=0.28))
    ),
    "guard not armed": Catch(
        (Deed(40, "power off", "leader", 60), Deed(62, "freeze agent", "leader", 40)), ("within permit",)
    ),
    "resign before stop": Catch((Deed(40, "terminate agent", "leader"),), ("leader key",)),
    "view without the clock": Catch((Deed(40, "freeze agent", "leader", 30),), ("one route",)),
    "permit counted from the answer": Catch(
        (
            *(Deed(40, "slow answers", "leader", 60, strength=0.8), *_asked_no_more(55)),
            Deed(57, "freeze agent", "leader", 40),
        ),
        ("under lease", "one writer", "permit is proven"),
    ),
    "keepalive believed": Catch(
        (Deed(40, "patch ttl", "leader", 60, strength=0.7),),
        ("under lease", "one writer", "leader key", "permit is proven"),
    ),
    "shorter ttl taken at once": Catch(
        (Deed(40, "patch ttl", "leader", 60, strength=0.5), Deed(45, "freeze agent", "leader", 40)),
        ("under lease", "one writer"),
        Knobs(ttl=30.0),
    ),
    "campaign on an aged lease": Catch(_handed_over_and_frozen(6), ("under lease", "one writer")),
    "campaign without condition": Catch(
        (*_each_cut_off(), Deed(40, "power off", "leader", 60)),
        ("leader key", "one writer", "permit is proven"),
        Knobs(weather=Weather(least=0.002, typical=0.02)),
        seed=2,
    ),
    "standstill cut short": Catch((Deed(40, "freeze agent", "leader", 40),), ("leader key",)),
    "depose without condition": Catch(
        (
            *(*_each_cut_off(), Deed(40, "freeze host", "leader", 60), Deed(48, "etcd leader changes", "etcd")),
            Deed(45, "slow to etcd", "standby", 60, strength=0.3),
            Deed(49, "freeze agent", "standby", 4.4, strength=0.9),
        ),
        ("leader key",),
    ),
    "unlisted standby elected": Catch(
        (
            *(Deed(40, "isolate", "standby", 16, strength=0.9), Deed(50, "power off", "standby", 60, strength=0.1)),
            Deed(50.1, "power off", "leader", 60),
        ),
        ("synchronous commits last",),
        Knobs(synchronous_mode="on"),
    ),
    "disarm before stop": Catch(
        (
            *(Deed(39, "freeze guard", "leader", 2), Deed(40, "terminate agent", "leader")),
            Deed(40.3, "freeze agent", "leader", 30),
        ),
        ("within permit",),
    ),
    "standstill counted from the first sight": Catch(_each_cut_off(), ("leader key",)),
    "resign without condition": Catch((Deed(40, "isolate", "leader", 40),), ("leader key",)),
    "started writable to find out": Catch(
        (Deed(40, "etcd down", "etcd", 40), Deed(42, "power off", "leader", 10)),
        ("within permit",),
        Knobs(rogue_every=0.5),
    ),
    "resumed without proof": Catch(
        (Deed(40, "kill agent", "leader", 6), *_asked_no_more(46.3)),
        ("under lease", "one writer", "permit is proven"),
        Knobs(weather=SLOW),
    ),
    # That very request is held back.
    "unknown taken for success": Catch(
        (*_asks_for_its_key_again(), *_asked_no_more(41.1, 60, "a")),
        ("under lease", "one writer", "one route"),
        Knobs(weather=SLOW),
        seed=2,
    ),
    # It is frozen over the request, and another leads when it is thawed; only the commit fence stands in between.
    "key not needed to promote": Catch(
        (*_asks_for_its_key_again(), Deed(40.7, "freeze agent", "a", 7.8), Deed(40.75, "freeze guard", "a", 20)),
        ("one writer", "under lease", "one route"),
        Knobs(fence=True, weather=SLOW),
        seed=2,
    ),
    "timeline not claimed": Catch(
        (*_each_cut_off(), Deed(40, "power off", "leader", 60), Deed(56, "power off", "leader", 60)),
        ("one promoter",),
    ),
    "histories never compared": Catch((Deed(40, "isolate", "leader", 60),), ("liveness",), IDLE),
    "route to whoever is writable": Catch(
        (Deed(40, "freeze host", "leader", 13),), ("one route",), Knobs(speed=Speed(kill=0.28))
    ),
    "member written each tick": Catch((), ("quiet",), IDLE),
    "lost lease renewed in vain": Catch(
        (Deed(40, "isolate", "leader", 40),), ("under lease", "one writer", "permit is proven")
    ),
    "sync key left to another": Catch(
        (Deed(40, "power off", "leader", 25), Deed(50.6, "cut from etcd", "leader", 60)),
        ("synchronous commits last",),
        Knobs(synchronous_mode="on", speed=Speed(promote=4.0)),
    ),
    # A leader without etcd is frozen until its permit has ended; it asks the others just as they campaign.
    "promise given while campaigning": Catch(
        _asks_too_late(), ("under lease", "one writer"), Knobs(fence=True, failsafe_mode=True)
    ),
    "failsafe by majority": Catch(
        (
            *(Deed(40, "cut", "a", 60, "b"), Deed(40, "cut", "b", 60, "c")),
            Deed(40, "cut from etcd", "leader", 50),
        ),
        ("under lease", "one writer"),
        Knobs(failsafe_mode=True),
    ),
}


@pytest.mark.parametrize("name", CAUGHT)
def test_an_edit_is_caught_by_its_plan_and_the_code_as_it_is_survives_it(name: str) -> None:
    catch = CAUGHT[name]
    edit = next(one for one in MUTANTS if one.name == name)
    deeds, rest = list(catch.deeds), edit.harmless
    with applied(edit):
        broken = Simulation(catch.seed, knobs=catch.knobs, deeds=deeds, rest=rest, keep_lines=False).run()
    assert broken.what in catch.by, broken.violations[:3]
    sound = Simulation(catch.seed, knobs=catch.knobs, deeds=deeds, rest=rest, keep_lines=False).run()
    assert sound.ok, sound.violations[:3]


def test_each_edit_has_a_plan_that_catches_it() -> None:
    assert {*CAUGHT, *CAUGHT_BY} == {one.name for one in MUTANTS}
