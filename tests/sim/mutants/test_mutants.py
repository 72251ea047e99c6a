"""What each protection is for: without it a short plan of known faults makes a checker speak, with it none does."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from tests.sim.faults import Deed
from tests.sim.mutants.edits import MUTANTS, applied
from tests.sim.simulation import Simulation
from tests.sim.world.knobs import Knobs


@dataclass(frozen=True)
class Catch:
    """A plan that catches an edit, and which checkers may speak."""

    deeds: tuple[Deed, ...]
    by: tuple[str, ...]
    knobs: Knobs = Knobs()


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
}


@pytest.mark.parametrize("name", CAUGHT)
def test_an_edit_is_caught_by_its_plan_and_the_code_as_it_is_survives_it(name: str) -> None:
    catch = CAUGHT[name]
    edit = next(one for one in MUTANTS if one.name == name)
    deeds = list(catch.deeds)
    with applied(edit):
        broken = Simulation(1, knobs=catch.knobs, deeds=deeds, rest=False, keep_lines=False).run()
    assert broken.what in catch.by, broken.violations[:3]
    sound = Simulation(1, knobs=catch.knobs, deeds=deeds, rest=False, keep_lines=False).run()
    assert sound.ok, sound.violations[:3]
