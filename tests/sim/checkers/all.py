"""Every checker there is, set up for one world."""

from __future__ import annotations

from tests.sim.checkers.base import Checker
from tests.sim.checkers.by_the_table import ByTheTable
from tests.sim.checkers.copies import AnotherCopy
from tests.sim.checkers.durability import SynchronousCommitsLast
from tests.sim.checkers.follows import Follows
from tests.sim.checkers.goes_on import GoesOn
from tests.sim.checkers.histories import OneHistory
from tests.sim.checkers.identity import OneCluster
from tests.sim.checkers.leader_key import LeaderKeyPassesOn
from tests.sim.checkers.liveness import Liveness
from tests.sim.checkers.one_promoter import OnePromoter
from tests.sim.checkers.one_timeline import OneTimeline
from tests.sim.checkers.one_writer import OneWriter
from tests.sim.checkers.overlap import SetsOverlap
from tests.sim.checkers.pause import PauseIsKept
from tests.sim.checkers.permit import WithinPermit
from tests.sim.checkers.proof import PermitIsProven
from tests.sim.checkers.quiet import Quiet
from tests.sim.checkers.refusals import RefusalsAreObeyed
from tests.sim.checkers.routing import OneRoute
from tests.sim.checkers.strays import StraysEnd
from tests.sim.checkers.under_lease import UnderLease


def all_checkers(
    *, bound_s: float, stray_s: float = 20.0, failsafe_mode: bool = False, grace_s: float = 60.0
) -> list[Checker]:
    """``bound_s``: within how many seconds after healing the cluster must be whole; ``stray_s``: see ``StraysEnd``.

    ``grace_s``: how long a primary may take to stop when its cluster is to follow another.
    """
    return [
        OneWriter(),
        WithinPermit(),
        PermitIsProven(failsafe_mode=failsafe_mode),
        UnderLease(failsafe_mode=failsafe_mode),
        StraysEnd(stray_s),
        OnePromoter(),
        OneTimeline(),
        OneHistory(),
        LeaderKeyPassesOn(),
        RefusalsAreObeyed(),
        OneRoute(),
        PauseIsKept(),
        OneCluster(),
        ByTheTable(),
        AnotherCopy(),
        SynchronousCommitsLast(),
        SetsOverlap(),
        Follows(grace_s),
        GoesOn(failsafe_mode=failsafe_mode),
        Liveness(bound_s),
        Quiet(),
    ]
