"""The edits, as patches that hold for the length of a run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import Any
from unittest.mock import patch

from haagent.agent import loop, perform
from haagent.agent.keeper import Keeper
from haagent.core import actions as a
from haagent.core import answers, failsafe, lease, publish, synchrony, timelines
from haagent.core.actions import Action, Plan
from haagent.core.conditions import leadership
from haagent.core.decide import ROWS, decide
from haagent.core.facts import (
    Asked,
    ClusterFacts,
    Divergence,
    Document,
    Grounds,
    Heartbeat,
    PostgresFacts,
    Settings,
    Timing,
    View,
)
from haagent.core.failsafe import Judged
from haagent.core.states import State
from haagent.core.status import accepts_writes
from haagent.core.terms import Instant, LeaseId, Revision, Term, Timeline, later
from haagent.core.transitions import TABLE
from haagent.dcs import keys
from haagent.dcs.etcd import EtcdDcs
from haagent.dcs.kv import Delete, Put
from haagent.dcs.sightings import Sightings
from haagent.guard.watch import FENCE, WAIT, Step, Watch
from haagent.ports import PortError, Refused, Unknown
from tests.sim.world.fence import SimFence
from tests.sim.world.postgres import SimPostgres

Edit = Callable[[], AbstractContextManager[Any]]


@dataclass(frozen=True, slots=True)
class Mutant:
    """One edit, and why it is bad."""

    name: str
    why: str
    patch: Edit
    harmless: bool
    """It breaks no safety, only liveness or quiet."""
    elsewhere: bool = False
    """It shows in a standby cluster only."""


MUTANTS: list[Mutant] = []


def mutant(why: str, *, harmless: bool = False, elsewhere: bool = False) -> Callable[[Edit], Edit]:
    """Register an edit under its function's name."""

    def register(made: Edit) -> Edit:
        MUTANTS.append(Mutant(made.__name__.replace("_", " "), why, made, harmless, elsewhere))
        return made

    return register


@mutant("nobody enforces the permit when the agent is killed or frozen")
def guard_removed() -> AbstractContextManager[Any]:
    judge = Watch.judge

    def never(self: Watch, now: float, agents: int) -> Step:
        step = judge(self, now, agents)
        return (WAIT, None, "") if step[0] == FENCE else step

    return patch.object(Watch, "judge", never)


@mutant("the answer comes later than etcd's clock began to run")
def permit_counted_from_the_answer() -> AbstractContextManager[Any]:
    prove = Keeper._prove

    def late(self: Keeper, lease_id: LeaseId, term: Term, sent_at: Instant, timing: Timing) -> None:
        prove(self, lease_id, term, self._clock.now(), timing)

    return patch.object(Keeper, "_prove", late)


@mutant("killing takes time, and clocks drift")
def no_margin() -> AbstractContextManager[Any]:
    timing = lease.timing

    def bold(ttl: float, loop_wait: float, retry_timeout: float) -> Timing:
        return replace(timing(ttl, loop_wait, retry_timeout), margin=0.0, fence_after=ttl)

    return patch.object(lease, "timing", bold)


def _plans(edit: Callable[[View, Plan], Plan]) -> AbstractContextManager[Any]:
    return patch.object(loop, "decide", lambda view: edit(view, decide(view)))


def _at_demotion(make: Callable[[Term], Action]) -> AbstractContextManager[Any]:
    def edit(view: View, plan: Plan) -> Plan:
        demotes = view.state is State.PRIMARY and plan.memory.state is State.DEMOTING
        if not demotes or view.lease.term is None:
            return plan
        return replace(plan, actions=(make(view.lease.term), *plan.actions))

    return _plans(edit)


@mutant("the next leader may write while this one still does")
def resign_before_stop() -> AbstractContextManager[Any]:
    return _at_demotion(a.Resign)


@mutant("a server that is being stopped still takes commits")
def disarm_before_stop() -> AbstractContextManager[Any]:
    return _at_demotion(lambda term: a.DisarmGuard())


@mutant("etcd has answered OK for leases that were gone")
def keepalive_believed() -> AbstractContextManager[Any]:
    async def renew(self: EtcdDcs, name: str, term: Term, lease_id: LeaseId, timeout: float, *_: Any) -> Revision:
        await self._kv.keepalive(lease_id, timeout)
        return Revision(0)

    return patch.object(EtcdDcs, "renew", renew)


@mutant("the leader key of a living leader is written over")
def campaign_without_condition() -> AbstractContextManager[Any]:
    async def campaign(self: EtcdDcs, name: str, lease_id: LeaseId, timeout: float, *proof: Any) -> Term:
        reply = await self._txn([], [Put(self._key(keys.LEADER), name.encode(), lease_id)], [], timeout)
        return Term(reply.revision)

    return patch.object(EtcdDcs, "campaign", campaign)


@mutant("a campaign whose outcome is unknown may have been lost")
def unknown_taken_for_success() -> AbstractContextManager[Any]:
    campaign = EtcdDcs.campaign

    async def hopeful(self: EtcdDcs, name: str, lease_id: LeaseId, timeout: float, *proof: Any) -> Term:
        try:
            return await campaign(self, name, lease_id, timeout, *proof)
        except Unknown:
            return Term(self._fresh.floor.revision + 1)

    return patch.object(EtcdDcs, "campaign", hopeful)


@mutant("the lease may have been granted long ago, while the permit counts from now")
def campaign_on_an_aged_lease() -> AbstractContextManager[Any]:
    async def campaign(self: Keeper, grounds: Grounds | None = None) -> Term:
        timing = self._deadlines()
        async with self._renewing:
            sent_at = self._clock.now()
            held = self._facts.lease_id or await self._open()
            term = await self._dcs.campaign(self._name, held, timing.renew_timeout, grounds)
            self._prove(held, term, sent_at, timing)
            return term

    return patch.object(Keeper, "campaign", campaign)


@mutant("the holder's permit still runs")
def standstill_cut_short() -> AbstractContextManager[Any]:
    standstill_at = lease.standstill_at

    def early(heartbeat: Heartbeat, drift: float = lease.DRIFT) -> Instant | None:
        at = standstill_at(heartbeat, drift)
        return None if at is None else later(heartbeat.seen_at, (at - heartbeat.seen_at) * 0.7)

    return patch.object(lease, "standstill_at", early)


@mutant("a leader that beats is taken for one that stands still")
def standstill_counted_from_the_first_sight() -> AbstractContextManager[Any]:
    saw = Sightings._saw_leader

    def once(self: Sightings, kv: Any, as_of: int) -> None:
        before, term = self._seen_at, self._leader and self._leader.term
        saw(self, kv, as_of)
        if self._leader is not None and self._leader.term == term:
            self._seen_at = before

    return patch.object(Sightings, "_saw_leader", once)


@mutant("the key may have been renewed, or be another's, since it was read")
def depose_without_condition() -> AbstractContextManager[Any]:
    async def depose(self: EtcdDcs, revision: Revision, timeout: float, released: Term | None = None) -> None:
        await self._txn([], [Delete(self._key(keys.LEADER))], [], timeout)

    return patch.object(EtcdDcs, "depose", depose)


@mutant("the key may be another leader's by now")
def resign_without_condition() -> AbstractContextManager[Any]:
    async def resign(self: EtcdDcs, term: Term, timeout: float) -> None:
        await self._txn([], [Delete(self._key(keys.LEADER))], [], timeout)

    return patch.object(EtcdDcs, "resign", resign)


def _handler(kind: type[Action], handle: Callable[..., Any]) -> AbstractContextManager[Any]:
    return patch.dict(perform.HANDLERS, {kind: handle})


@mutant("a server is made writable that nobody guards")
def guard_not_armed() -> AbstractContextManager[Any]:
    return _handler(a.ArmGuard, lambda performer, action: None)


@mutant("an old primary accepts writes before it has seen the cluster")
def started_writable_to_find_out() -> AbstractContextManager[Any]:
    async def start(performer: perform.Performer, action: a.StartStandby) -> None:
        was = (await performer.ports.postgres.probe(1.0)).data
        await performer.ports.postgres.start(action.config, primary=not was.standby_signal)

    return _handler(a.StartStandby, start)


@mutant("the proof is minutes old when PostgreSQL is at last promoted")
def key_not_needed_to_promote() -> AbstractContextManager[Any]:
    async def campaign(performer: perform.Performer, action: a.Campaign) -> None:
        keeper = performer.hands.keeper
        try:
            await keeper.campaign()
        except Refused:
            timing, held = keeper._deadlines(), keeper.facts().lease_id
            if held is not None:
                keeper._prove(held, Term(1), performer.ports.clock.now(), timing)

    return _handler(a.Campaign, campaign)


@mutant("the key may be gone since the agent died")
def resumed_without_proof() -> AbstractContextManager[Any]:
    async def resume(self: Keeper, term: Term, lease_id: LeaseId) -> None:
        timing = self._deadlines()
        self._granted_ttl = timing.ttl
        self._prove(lease_id, term, self._clock.now(), timing)

    return patch.object(Keeper, "resume", resume)


@mutant("two primaries make timelines of one number")
def timeline_not_claimed() -> AbstractContextManager[Any]:
    def from_here(view: View) -> Timeline:
        server = view.postgres.server
        return Timeline(1 if server is None else server.timeline + 1)

    return patch.object(timelines, "number_to_claim", from_here)


@mutant("a diverged standby never streams again", harmless=True)
def histories_never_compared() -> AbstractContextManager[Any]:
    compare = SimPostgres.compare

    async def blind(self: SimPostgres, source: Any) -> Divergence:
        return replace(await compare(self, source), fork_lsn=None)

    return patch.object(SimPostgres, "compare", blind)


@mutant("a former leader answers 200 beside the new one")
def route_to_whoever_is_writable() -> AbstractContextManager[Any]:
    return patch.object(answers, "primary", lambda view, query: accepts_writes(view))


@mutant("a thawed agent answers from before it froze")
def view_without_the_clock() -> AbstractContextManager[Any]:
    def stale(self: loop.Agent) -> View:
        return self._view if self._view is not None else self._blank()

    return patch.object(loop.Agent, "current", stale)


@mutant("etcd is written to all day long", harmless=True)
def member_written_each_tick() -> AbstractContextManager[Any]:
    return patch.object(publish, "member_if_changed", lambda view: (a.PublishMember(publish.member(view)),))


@mutant("the dead lease is believed for ever")
def lost_lease_renewed_in_vain() -> AbstractContextManager[Any]:
    renew = EtcdDcs.renew

    async def deaf(self: EtcdDcs, name: str, term: Term, lease_id: LeaseId, timeout: float, *rest: Any) -> Revision:
        try:
            return await renew(self, name, term, lease_id, timeout, *rest)
        except PortError:
            return Revision(0)

    return patch.object(EtcdDcs, "renew", deaf)


@mutant("the one that was not asked may be on the side of the majority of etcd")
def failsafe_by_majority() -> AbstractContextManager[Any]:
    def enough(self: Asked) -> bool:
        return 2 * sum(reply.accepted for reply in self.replies) >= len(self.replies)

    return patch.object(Asked, "unanimous", property(enough))


@mutant("a member's promise began when it was asked, and the answer may have taken long")
def failsafe_counted_from_the_answer() -> AbstractContextManager[Any]:
    vouched = Keeper.vouched

    def late(self: Keeper, term: Term, sent_at: Instant) -> bool:
        return vouched(self, term, self._clock.now())

    return patch.object(Keeper, "vouched", late)


@mutant("the primary still goes on by the promise that its previous agent gave")
@contextmanager
def promise_forgotten_by_a_restart() -> Iterator[None]:
    """Without the promise it would still wait a ttl for a leader that it never heard: that is left out too."""
    with (
        patch.object(failsafe, "inherited", lambda *given: None),
        patch.object(leadership, "unheard_at", lambda view: view.now),
    ):
        yield


@mutant("who has joined meanwhile was never asked")
def failsafe_open_to_all() -> AbstractContextManager[Any]:
    return patch.object(failsafe, "left_out", lambda view: None)


@mutant("a campaign that is under way may win after the promise was given")
def promise_given_while_campaigning() -> AbstractContextManager[Any]:
    judge = failsafe.judge

    def careless(view: View, body: Document, *, campaigning: bool) -> Judged:
        return judge(view, body, campaigning=False)

    return patch.object(failsafe, "judge", careless)


def _without(number: int, *names: str) -> AbstractContextManager[Any]:
    """A row of the table lacks conditions; without names it is not there at all."""
    row = next(row for row in TABLE if row.id == number)
    assert set(names) <= {condition.__name__ for condition in row.when}
    left = tuple(condition for condition in row.when if condition.__name__ not in names)
    edited = (replace(row, when=left),) if names else ()
    rows = ROWS[row.state]
    place = rows.index(row)
    return patch.dict(ROWS, {row.state: (*rows[:place], *edited, *rows[place + 1 :])})


@mutant("with agent and guard gone nobody else refuses commits")
def fence_told_of_no_end() -> AbstractContextManager[Any]:
    permit = SimFence.permit
    return patch.object(SimFence, "permit", lambda self, term, until: permit(self, term, Instant(float("inf"))))


@mutant("the operator is in charge then")
def pause_ignored() -> AbstractContextManager[Any]:
    return patch.object(
        loop, "decide", lambda view: decide(replace(view, settings=replace(view.settings, pause=False)))
    )


@mutant("the keys were lost, not the cluster")
def bootstraps_into_a_wiped_store() -> AbstractContextManager[Any]:
    return _without(140, "let_go", "never_led", "nobody_has_data")


@mutant("a busy backend goes on committing after its postmaster has died")
def orphans_not_seen() -> AbstractContextManager[Any]:
    probe = SimPostgres.probe

    async def blind(self: SimPostgres, timeout: float) -> PostgresFacts:
        return replace(await probe(self, timeout), orphans=0)

    return patch.object(SimPostgres, "probe", blind)


@mutant("what other hands promote is a second writer for ever")
def promotion_by_hand_left_alone() -> AbstractContextManager[Any]:
    return _without(525)


@mutant("its holder may not know yet, and write on till its permit ends")
def vanished_key_taken_at_once() -> AbstractContextManager[Any]:
    return patch.object(leadership, "let_go", leadership.leaderless)


@mutant("whoever is not in the sync key may lack acknowledged commits")
def unlisted_standby_elected() -> AbstractContextManager[Any]:
    return patch.object(synchrony, "objection", lambda view: None)


@mutant("whoever the last primary left out does not know that it was left out")
def sync_key_left_to_another() -> AbstractContextManager[Any]:
    return patch.object(synchrony, "claim", lambda view, of=None: ())


@mutant("the guard goes on enforcing the longer permit, while others wait for the shorter ttl")
def shorter_ttl_taken_at_once() -> AbstractContextManager[Any]:
    lease_for = Keeper._lease_for

    async def hasty(self: Keeper, present: LeaseId, sent_at: Instant, timing: Timing) -> tuple[LeaseId, float]:
        self._told_until = Instant(0.0)
        return await lease_for(self, present, sent_at, timing)

    return patch.object(Keeper, "_lease_for", hasty)


@mutant("a cluster that follows another has a primary of its own", elsewhere=True)
def standby_cluster_ignored() -> AbstractContextManager[Any]:
    settings_for = loop.Agent._settings_for

    def heedless(self: loop.Agent, cluster: ClusterFacts) -> Settings:
        return replace(settings_for(self, cluster), standby_cluster=None)

    return patch.object(loop.Agent, "_settings_for", heedless)


@contextmanager
def applied(one: Mutant) -> Iterator[None]:
    """The edit holds inside the block."""
    with one.patch():
        yield
