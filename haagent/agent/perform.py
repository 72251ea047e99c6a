"""One handler for each action: it checks the proof once more, does it, or reports; it never picks another action."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any

from haagent.agent.hooks import Hooks
from haagent.agent.jobs import Jobs
from haagent.agent.keeper import Keeper
from haagent.agent.promises import Promises
from haagent.agent.stopping import Stopping
from haagent.core import actions as a
from haagent.core.facts import Document, HistoryLine, Me, Outcome, PeerPoll, Settings, Snapshot
from haagent.core.lease import leads
from haagent.core.terms import LeaseId, Revision, Term, Timeline
from haagent.ports import (
    Clock,
    Dcs,
    Fence,
    Guard,
    LocalStore,
    NoFence,
    NoWatchdog,
    Peers,
    PortError,
    Postgres,
    Refused,
    Watchdog,
)

log = logging.getLogger("haagent.perform")

ADAPTER_TIMEOUT_S = 2.0
CHECKPOINT_TIMEOUT_S = 600.0
PRE_PROMOTE_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Ports:
    """Everything outside that the agent works with."""

    dcs: Dcs
    postgres: Postgres
    guard: Guard
    peers: Peers
    clock: Clock
    store: LocalStore
    fence: Fence = field(default_factory=NoFence)
    watchdog: Watchdog = field(default_factory=NoWatchdog)


@dataclass
class Hands:
    """What handlers use besides the ports."""

    keeper: Keeper
    promises: Promises
    jobs: Jobs
    hooks: Hooks
    answer: Callable[[int, int, str | Document], None]
    validate: Callable[[Document], object]
    reload: Callable[[], None]


class Performer:
    """Carries out plans."""

    def __init__(self, me: Me, ports: Ports, hands: Hands) -> None:
        self.me, self.ports, self.hands = me, ports, hands
        self.stopping = Stopping(ports.postgres)
        self.settings = Settings()
        self.snapshot: Snapshot | None = None
        self.polled: PeerPoll | None = None
        self.failsafe_kept = True
        """Who may lead in failsafe mode is on this node's disk, as far as this agent was told to keep it."""
        self.exit_code: int | None = None

    async def perform(self, actions: Sequence[a.Action]) -> tuple[Outcome, ...]:
        """Carry actions out in order; the first that fails ends the plan."""
        outcomes: list[Outcome] = []
        for action in actions:
            name = type(action).__name__
            try:
                result = HANDLERS[type(action)](self, action)
                if inspect.isawaitable(result):
                    result = await result
            except PortError as error:
                log.warning("%s: %s: %s", name, error.failure.value, error)
                outcomes.append(Outcome(name, error.failure, str(error), error.reason))
                if name not in MAY_FAIL:
                    break
            else:
                outcomes.append(Outcome(name, result=result))
        return tuple(outcomes)

    @property
    def timeout(self) -> float:
        return self.settings.retry_timeout

    def _permitted(self, term: Term) -> None:
        facts = self.hands.keeper.facts()
        if facts.term != term or facts.lost is not None or not leads(facts, self.ports.clock.now()):
            raise Refused(f"the permit of term {term} has ended meanwhile")

    # --- the leader key ---

    async def campaign(self, action: a.Campaign) -> Term:
        with self.hands.promises.campaign():
            term = await self.hands.keeper.campaign(action.grounds)
        await self.ports.store.keep(term=int(term))
        return term

    async def remember_failsafe(self, action: a.RememberFailsafe) -> None:
        known = action.known
        kept = {"revision": int(known.revision), "members": dict(known.members)} if known else None
        self.failsafe_kept = await self.ports.store.keep(failsafe=kept)
        if not self.failsafe_kept:
            raise Refused("who may lead in failsafe mode can't be kept on this node's disk; its log says why")

    async def remember_standing(self, action: a.RememberStanding) -> None:
        found = action.standing
        stray = None if found.stray is None else int(found.stray)
        await self.ports.store.keep(standing={"stood": found.stood, "stray": stray})

    async def depose(self, action: a.Depose) -> None:
        if action.released is not None:
            self.ports.fence.refuse(action.released)
            await self.ports.dcs.depose(action.revision, self.timeout, action.released)
            return
        # A holder that stood still may be going on by this node's promise, given since the plan was made.
        with self.hands.promises.campaign():
            await self.ports.dcs.depose(action.revision, self.timeout)

    async def resume(self, action: a.ResumeLease) -> None:
        await self.hands.keeper.resume(action.term, action.lease_id)

    async def resign(self, action: a.Resign) -> None:
        # It may be carried out long after this agent has ended: the next one must not go on with that term.
        await self.ports.store.keep(gave_up=int(action.term))
        await self.hands.keeper.resign(action.term)
        await self.ports.store.keep(gave_up=None)
        log.info("the leader key of term %s was given up", action.term)

    # --- fencing ---

    async def ensure_guard(self, action: a.EnsureGuard) -> None:
        await self.ports.guard.ensure(ADAPTER_TIMEOUT_S)

    async def arm_guard(self, action: a.ArmGuard) -> None:
        self._permitted(action.term)
        permit_until = self.hands.keeper.facts().permit_until
        if permit_until is not None and permit_until != float("inf"):
            await self.ports.guard.arm(action.term, permit_until, ADAPTER_TIMEOUT_S)

    async def disarm_guard(self, action: a.DisarmGuard) -> None:
        facts = self.ports.guard.facts()
        if facts.alive and facts.armed and facts.term is not None:
            await self.ports.guard.disarm(facts.term, ADAPTER_TIMEOUT_S)

    async def clear_guard(self, action: a.ClearGuard) -> None:
        await self.ports.guard.clear(ADAPTER_TIMEOUT_S)

    async def open_watchdog(self, action: a.OpenWatchdog) -> None:
        await self.ports.store.keep(watchdog=int(self.ports.clock.now()))
        await self.ports.watchdog.open(self.settings.ttl, ADAPTER_TIMEOUT_S)

    async def close_watchdog(self, action: a.CloseWatchdog) -> None:
        await self.ports.watchdog.close(ADAPTER_TIMEOUT_S)
        await self.ports.store.keep(watchdog=None)

    # --- PostgreSQL ---

    async def start_primary(self, action: a.StartPrimary) -> None:
        self.stopping.forget()
        permitted = partial(self._permitted, action.term)
        permitted()
        await self.ports.postgres.start(action.config, primary=True, permitted=permitted)

    async def start_standby(self, action: a.StartStandby) -> None:
        self.stopping.forget()
        await self.ports.postgres.start(action.config, primary=False)

    async def stop(self, action: a.StopPostgres) -> None:
        if action.first:
            self.stopping.after(action.first, action.first_s)
            return
        self.stopping.forget()
        await self.ports.postgres.stop("immediate" if action.mode == "immediate" else "fast")

    async def kill(self, action: a.KillPostgres) -> int:
        self.stopping.forget()
        return await self.ports.postgres.kill_tree()

    async def promote(self, action: a.Promote) -> None:
        self._permitted(action.term)
        await self.ports.postgres.promote(action.present, action.claimed)

    async def configure(self, action: a.Configure) -> None:
        await self.ports.postgres.configure(action.config)

    async def reload_postgres(self, action: a.ReloadPostgres) -> None:
        await self.ports.postgres.reload()

    async def stir_standbys(self, action: a.StirStandbys) -> None:
        await self.ports.postgres.stir(ADAPTER_TIMEOUT_S)

    async def sync_slots(self, action: a.SyncSlots) -> None:
        await self.ports.postgres.sync_slots(
            action.create,
            action.drop,
            action.advance,
            ADAPTER_TIMEOUT_S,
            protect=action.protect,
        )

    async def copy_slots(self, action: a.CopySlots) -> None:
        await self.ports.postgres.copy_slots(action.source, action.own_slot, action.fetch, action.prove)

    async def move_aside(self, action: a.MoveAside) -> str:
        path = await self.ports.postgres.move_aside(action.why)
        log.warning("the data directory was moved aside (%s): %s", action.why, path)
        return path

    # --- jobs ---

    def initialize(self, action: a.Initialize) -> None:
        self.hands.jobs.start("initialize", lambda report: self.ports.postgres.initialize(action.config, report))

    def clone(self, action: a.Clone) -> None:
        work = partial(self.ports.postgres.clone, action.source, action.slot, methods=action.methods)
        self.hands.jobs.start("clone", work)

    def rewind(self, action: a.Rewind) -> None:
        self.hands.jobs.start("rewind", partial(self.ports.postgres.rewind, action.source))

    def compare(self, action: a.Compare) -> None:
        self.hands.jobs.start("compare", lambda report: self.ports.postgres.compare(action.source))

    def checkpoint(self, action: a.Checkpoint) -> None:
        self.hands.jobs.start("checkpoint", lambda report: self.ports.postgres.checkpoint(CHECKPOINT_TIMEOUT_S))

    def pre_promote(self, action: a.PrePromote) -> None:
        async def work(report: object) -> None:
            code = await self.ports.postgres.run_hook(action.command, (), PRE_PROMOTE_TIMEOUT_S)
            if code != 0:
                raise Refused(f"{action.command} ended with exit code {code}")

        self.hands.jobs.start("pre_promote", work)

    async def cancel_job(self, action: a.CancelJob) -> None:
        await self.hands.jobs.cancel()

    # --- the cluster's keys ---

    async def begin_initialize(self, action: a.BeginInitialize) -> object:
        return await self.ports.dcs.begin_initialize(self.timeout)

    async def finish_initialize(self, action: a.FinishInitialize) -> None:
        await self.ports.dcs.finish_initialize(action.system_id, action.begun, self.timeout)

    async def abandon_initialize(self, action: a.AbandonInitialize) -> None:
        await self.ports.dcs.abandon_initialize(action.begun, self.timeout)

    async def put_config(self, action: a.PutConfig) -> Document:
        try:
            self.hands.validate(action.document)
        except ValueError as why:
            refusal = Refused(str(why))
            refusal.reason = "invalid"
            raise refusal from None
        await self.ports.dcs.put_config(action.document, action.expected, self.timeout)
        return action.document

    async def put_failover(self, action: a.PutFailover) -> None:
        await self.ports.dcs.put_failover(
            action.leader, action.candidate, action.scheduled_at, action.expected, self.timeout
        )

    async def publish_member(self, action: a.PublishMember) -> LeaseId:
        lease = self.hands.keeper.facts().lease_id
        if lease is None:
            raise Refused("this node has no lease at the moment")
        try:
            await self.ports.dcs.put_member(action.member, lease, self.timeout)
        except Refused:
            self.hands.keeper.doubt()
            raise
        return lease

    async def publish_status(self, action: a.PublishStatus) -> None:
        await self.ports.dcs.put_status(action.optime, action.slots, action.retain, action.term, self.timeout)

    async def publish_history(self, action: a.PublishHistory) -> Timeline:
        there = self.snapshot.history if self.snapshot else ()
        known = {(line.timeline, line.lsn): line for line in there}
        lines = list(await self.ports.postgres.history())
        if not lines:
            return action.timeline
        newest = lines[-1]
        lines[-1] = HistoryLine(newest.timeline, newest.lsn, newest.reason, _iso(self.ports.clock.wall()), self.me.name)
        kept = tuple(known.get((line.timeline, line.lsn), line) for line in lines)
        limit = self.settings.max_timelines_history
        kept = kept[-limit:] if limit > 0 else kept
        if kept != there:
            await self.ports.dcs.put_history(kept, action.term, self.timeout)
        return action.timeline

    async def claim_timeline(self, action: a.ClaimTimeline) -> tuple[Term, Timeline]:
        await self.ports.dcs.claim_timeline(action.timeline, action.expected, action.term, self.timeout)
        return action.term, action.timeline

    async def put_sync(self, action: a.PutSync) -> Revision:
        log.info("%s", _electorate(action))
        return await self.ports.dcs.put_sync(
            action.leader, action.quorum, action.standbys, action.expected, action.term, self.timeout
        )

    async def drop_sync(self, action: a.DropSync) -> None:
        log.info("any node may be elected from now on: the sync key is deleted")
        await self.ports.dcs.drop_sync(action.expected, action.term, self.timeout)

    async def put_failsafe(self, action: a.PutFailsafe) -> None:
        if not self.failsafe_kept:
            raise Refused("a restarted agent would not know whom to ask: the key failsafe stays as it is")
        names = "any node" if action.members is None else f"only {', '.join(sorted(action.members))}"
        log.info("failsafe mode: %s may lead from now on", names)
        await self.ports.dcs.put_failsafe(action.members, action.expected, action.term, self.timeout)

    # --- others ---

    async def ask_peers(self, action: a.AskPeers) -> None:
        self.polled = await self.ports.peers.ask(action.members, self.settings.peer_timeout)

    def callback(self, action: a.Callback) -> None:
        self.hands.hooks.tell(action.event, action.role)

    def reply(self, action: a.Reply) -> None:
        self.hands.answer(action.intent_id, action.status, action.body)

    def reload_settings(self, action: a.ReloadSettings) -> None:
        self.hands.reload()

    def exit(self, action: a.Exit) -> None:
        if action.why:
            log.log(logging.CRITICAL if action.code else logging.INFO, "%s", action.why)
        self.exit_code = action.code


def _electorate(action: a.PutSync) -> str:
    if not action.standbys:
        return f"only {action.leader} itself may be elected from now on: no standby holds every acknowledged commit"
    names = ", ".join(action.standbys)
    votes = f", with the votes of {action.quorum} others of them" if action.quorum else ""
    return f"{action.leader} or one of {names}{votes} may be elected from now on"


def _iso(epoch: float) -> str:
    return datetime.fromtimestamp(epoch, UTC).isoformat()


MAY_FAIL = frozenset(
    {
        "PutConfig",
        "Resign",
        "DisarmGuard",
        "OpenWatchdog",
        "CloseWatchdog",
        "PublishMember",
        "SyncSlots",
        "CopySlots",
        "StirStandbys",
        "PublishStatus",
        "RememberFailsafe",
        "PutFailsafe",
    }
)
"""Actions whose failure does not stop those after them; their own proof guards each of those."""

Handler = Callable[[Performer, Any], Awaitable[Any] | Any]

HANDLERS: dict[type[a.Action], Handler] = {
    a.Campaign: Performer.campaign,
    a.Depose: Performer.depose,
    a.ResumeLease: Performer.resume,
    a.Resign: Performer.resign,
    a.EnsureGuard: Performer.ensure_guard,
    a.ArmGuard: Performer.arm_guard,
    a.DisarmGuard: Performer.disarm_guard,
    a.ClearGuard: Performer.clear_guard,
    a.OpenWatchdog: Performer.open_watchdog,
    a.CloseWatchdog: Performer.close_watchdog,
    a.StartPrimary: Performer.start_primary,
    a.StartStandby: Performer.start_standby,
    a.StopPostgres: Performer.stop,
    a.KillPostgres: Performer.kill,
    a.Promote: Performer.promote,
    a.Configure: Performer.configure,
    a.ReloadPostgres: Performer.reload_postgres,
    a.StirStandbys: Performer.stir_standbys,
    a.SyncSlots: Performer.sync_slots,
    a.CopySlots: Performer.copy_slots,
    a.MoveAside: Performer.move_aside,
    a.Initialize: Performer.initialize,
    a.Clone: Performer.clone,
    a.Rewind: Performer.rewind,
    a.Compare: Performer.compare,
    a.Checkpoint: Performer.checkpoint,
    a.PrePromote: Performer.pre_promote,
    a.CancelJob: Performer.cancel_job,
    a.BeginInitialize: Performer.begin_initialize,
    a.FinishInitialize: Performer.finish_initialize,
    a.AbandonInitialize: Performer.abandon_initialize,
    a.PutConfig: Performer.put_config,
    a.PutFailover: Performer.put_failover,
    a.PublishMember: Performer.publish_member,
    a.PublishStatus: Performer.publish_status,
    a.ClaimTimeline: Performer.claim_timeline,
    a.PublishHistory: Performer.publish_history,
    a.PutSync: Performer.put_sync,
    a.DropSync: Performer.drop_sync,
    a.PutFailsafe: Performer.put_failsafe,
    a.RememberFailsafe: Performer.remember_failsafe,
    a.RememberStanding: Performer.remember_standing,
    a.AskPeers: Performer.ask_peers,
    a.Callback: Performer.callback,
    a.Reply: Performer.reply,
    a.ReloadSettings: Performer.reload_settings,
    a.Exit: Performer.exit,
}
