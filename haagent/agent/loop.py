"""Observe, decide, perform, wait: the loop chooses nothing."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace

from haagent.agent.consents import Consents
from haagent.agent.hooks import Hooks
from haagent.agent.jobs import Jobs
from haagent.agent.journal import BETWEEN_AGENTS, request_of
from haagent.agent.keeper import Keeper
from haagent.agent.latency import Latency
from haagent.agent.observe import Observer
from haagent.agent.perform import Hands, Performer, Ports
from haagent.agent.promises import Promises
from haagent.core import failsafe, lease, stray
from haagent.core.actions import Plan
from haagent.core.answers import Answer
from haagent.core.decide import decide
from haagent.core.facts import (
    ClusterFacts,
    DataFacts,
    DataKind,
    Document,
    FailsafeFacts,
    Intent,
    Me,
    Memory,
    Outcome,
    PostgresFacts,
    Settings,
    Timing,
    View,
    WatchdogFacts,
)
from haagent.core.states import State
from haagent.core.terms import Instant, Revision, Term

log = logging.getLogger("haagent.loop")
repeats = logging.getLogger("haagent.loop.repeats")
REPEAT_S = 1.0
"""A line that repeats the one before it comes at most so often."""

DCS_WRITERS = frozenset(
    {
        "Campaign",
        "Depose",
        "Resign",
        "BeginInitialize",
        "FinishInitialize",
        "AbandonInitialize",
        "PutConfig",
        "PutFailover",
        "PublishMember",
        "PublishStatus",
        "ClaimTimeline",
        "PublishHistory",
        "PutSync",
        "DropSync",
        "PutFailsafe",
    }
)


class Agent:
    """One node's agent over its ports; ``settings`` turns the stored dynamic configuration into the one in use."""

    def __init__(
        self,
        me: Me,
        ports: Ports,
        settings: Callable[[Document | None], Settings],
        *,
        callbacks: Mapping[str, str] | None = None,
        validate: Callable[[Document], object] | None = None,
        reload: Callable[[], None] | None = None,
        noted: Callable[[View, Plan], None] | None = None,
        done: Callable[[View, Plan, tuple[Outcome, ...]], None] | None = None,
    ) -> None:
        self.me, self._ports, self._read_settings, self._noted, self._done = me, ports, settings, noted, done
        self._woken = asyncio.Event()
        self._told_at = Instant(0.0)
        self._intents: list[Intent] = []
        self._answers: dict[int, asyncio.Future[Answer]] = {}
        self._next_intent = 1
        self._stopping = self._ended = self._reread = False
        self._observer = Observer(ports.dcs, ports.postgres, ports.clock)
        self._keeper = Keeper(me.name, ports, self.wake, self._lease_lost)
        self._jobs = Jobs(ports.clock, self.wake)
        self._hooks = Hooks(ports.postgres, callbacks or {}, me.scope)
        self._paused = bool(ports.store.load().get("paused"))
        # Until the DCS has been heard: what an operator keeps running in a pause is not for a new agent to stop.
        self._settings = replace(settings(None), pause=self._paused)
        self._promises = Promises(ports.store, ports.clock, self._settings)
        self._consents = Consents(self._keeper, ports.peers, ports.clock)
        hands = Hands(
            self._keeper,
            self._promises,
            self._jobs,
            self._hooks,
            self._answer,
            validate or settings,
            reload or self.reread,
        )
        self._performer = Performer(me, ports, hands)
        self._config_revision: Revision | None = None
        self._memory = Memory(
            state=State.FENCED,
            since=ports.clock.now(),
            led_before=self._left_behind("term"),
            gave_up=self._left_behind("gave_up"),
            failsafe_known=failsafe.kept(ports.store.load().get("failsafe")),
            standing=stray.kept(ports.store.load().get("standing")),
        )
        self._outcomes: tuple[Outcome, ...] = ()
        self._view: View | None = None

    # --- what others call ---

    def wake(self, reason: str) -> None:
        """End the loop's sleep at once."""
        log.debug("woken: %s", reason)
        self._observer.mark_stale()
        self._woken.set()

    def stop(self) -> None:
        """As on SIGTERM: stop PostgreSQL in good order, give leadership up, end."""
        self._stopping = True
        self.wake("asked to stop")

    def reread(self, me: Me | None = None, callbacks: Mapping[str, str] | None = None) -> None:
        """The file was read again: settings, and what else is given, are taken anew."""
        if me is not None:
            self.me = self._performer.me = me
        if callbacks is not None:
            self._hooks.commands = callbacks
        self._reread = True
        self.wake("configuration read again")

    def current(self) -> View:
        """The last published view, with clock, lease and guard as of this moment, and PostgreSQL's end at once."""
        view = self._view if self._view is not None else self._blank()
        postgres = replace(view.postgres, postmaster=None) if self._ended else view.postgres
        return replace(
            view,
            now=self._ports.clock.now(),
            wall=self._ports.clock.wall(),
            lease=self._keeper.facts(),
            guard=self._ports.guard.facts(),
            watchdog=self._ports.watchdog.facts(),
            failsafe=self._failsafe(),
            job=self._jobs.facts(),
            postgres=postgres,
        )

    def _failsafe(self) -> FailsafeFacts:
        return FailsafeFacts(self._promises.facts(), self._consents.facts())

    def renewals(self) -> tuple[int, int]:
        """How many renewals of the leader key were proven, and how many were not."""
        return self._keeper.renewals, self._keeper.failures

    def renewals_took(self) -> Latency:
        """How long the proven ones took, from when they were sent."""
        return self._keeper.latency

    async def submit(self, kind: str, body: Document, origin: str = "") -> Answer:
        """Hand an operator's request to the core and wait for its answer; another agent's gets it at once."""
        if kind == BETWEEN_AGENTS:
            return await self._promise(body)
        number = self._next_intent
        self._next_intent += 1
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._answers[number] = future
        intent = Intent(number, kind, body, self._ports.clock.now(), origin)
        self._intents.append(intent)
        log.info("request %d: %s from %s: %s", number, kind, origin or "unknown", request_of(intent)["asked"])
        self.wake(f"request {kind}")
        try:
            return await future
        finally:
            self._answers.pop(number, None)

    async def _promise(self, body: Document) -> Answer:
        """A primary without etcd waits for this: it must not depend on the loop, which may be waiting for etcd."""
        if self._view is None:
            return Answer(503, "this agent is starting and has not looked around yet")
        judged = await self._promises.answer(self.current(), body)
        if judged.promise is None:
            return Answer(judged.status, judged.text)
        if self._view.failsafe.promise is None:
            self.wake(f"{judged.promise.name} goes on in failsafe mode")
        return Answer(judged.status, judged.text, {"lsn": str(int(judged.lsn))})

    # --- the loop ---

    async def run(self) -> int:
        """Tick until stopped; the exit code. A task of the agent that fails ends it, and the permit then runs out."""
        self._ports.postgres.on_end(self._postgres_ended)
        self._ports.postgres.on_sender_end(self.wake)
        self._ports.postgres.on_disk_change(self.wake)
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self._keeper.run(), name="keeper"),
                group.create_task(self._consents.run(), name="consents"),
                group.create_task(self._ports.dcs.watch(self.wake), name="watch"),
                group.create_task(self._hooks.run(), name="hooks"),
            ]
            code = await self._tick_until_exit()
            await self._hooks.finish()
            for task in tasks:
                task.cancel()
        await self._jobs.cancel()
        self._performer.stopping.forget()
        return code

    async def _tick_until_exit(self) -> int:
        while True:
            wake_in = await self.tick()
            if self._performer.exit_code is not None:
                self._refuse_waiting("the agent has ended")
                return self._performer.exit_code
            await self._sleep(wake_in)

    async def _sleep(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._woken.wait()
        except TimeoutError:
            pass

    async def tick(self) -> float:
        """One round; how long to sleep after it, in seconds."""
        self._woken.clear()
        view = await self._observe()
        plan = decide(view)
        self._keeper.hold(plan.hold_until, view.timing)
        self._consents.hold(plan.mandate, view.timing)
        self._log(view, plan)
        self._memory = plan.memory
        self._view = replace(view, memory=plan.memory)
        if self._noted is not None:
            self._noted(view, plan)
        self._performer.settings, self._performer.snapshot = view.settings, view.snapshot
        self._outcomes = await self._performer.perform(plan.actions)
        if self._done is not None:
            self._done(view, plan, self._outcomes)
        if any(outcome.action in DCS_WRITERS for outcome in self._outcomes):
            self._observer.mark_stale()
        return plan.wake_in

    async def _observe(self) -> View:
        self._ended = False
        postgres, cluster = await self._observer.look(self._settings, self._keeper.facts(), self._memory.state)
        self._settings = self._settings_for(cluster)
        self._keeper.open_end(self._settings.pause)
        self._keeper.read_only(self._settings.standby_cluster is not None and not self._settings.pause)
        await self._promises.tidy()
        if self._settings.pause != self._paused:
            self._paused = self._settings.pause
            await self._ports.store.keep(paused=self._paused or None)
        settings = self._settings
        intents, self._intents = tuple(self._intents), []
        watchdog = self._ports.watchdog.facts()
        return View(
            now=self._ports.clock.now(),
            wall=self._ports.clock.wall(),
            me=self.me,
            settings=settings,
            timing=_timing(settings, watchdog),
            postgres=postgres,
            cluster=cluster,
            lease=self._keeper.facts(),
            guard=self._ports.guard.facts(),
            memory=self._memory,
            fence=self._ports.fence.facts(),
            watchdog=watchdog,
            peers=self._performer.polled,
            failsafe=self._failsafe(),
            job=self._jobs.facts(),
            outcomes=self._outcomes,
            intents=intents,
            stopping=self._stopping,
        )

    def _settings_for(self, cluster: ClusterFacts) -> Settings:
        """The settings in use: an invalid document leaves the last good ones in force."""
        stored = cluster.snapshot.config if cluster.snapshot else None
        revision = stored.revision if stored else None
        gone = stored is None and self._config_revision is not None
        if (revision == self._config_revision or gone) and not self._reread:
            return self._settings
        self._config_revision, self._reread = revision, False
        try:
            return self._read_settings(stored.document if stored else None)
        except ValueError as why:
            log.error("the dynamic configuration is not valid and is not taken; the last good one stays: %s", why)
            return self._settings

    def _log(self, view: View, plan: Plan) -> None:
        if plan.memory.state is not view.memory.state:
            log.info("%s -> %s: row %d: %s", view.memory.state.value, plan.memory.state.value, plan.row, plan.why)
        elif plan.row != view.memory.row or plan.memory.why != view.memory.why:
            log.info("%s: row %d: %s", plan.memory.state.value, plan.row, plan.why)
        elif view.now - self._told_at >= REPEAT_S:
            repeats.info("%s: row %d: %s", plan.memory.state.value, plan.row, plan.why)
        else:
            return
        self._told_at = view.now

    def _lease_lost(self) -> None:
        self._observer.hurry()
        self.wake("lease lost")

    def _postgres_ended(self, reason: str) -> None:
        self._ended = True
        self.wake(reason)

    def _answer(self, number: int, status: int, body: str | Document) -> None:
        future = self._answers.get(number)
        if future is not None and not future.done():
            future.set_result(Answer(status, body))

    def _refuse_waiting(self, why: str) -> None:
        for number in list(self._answers):
            self._answer(number, 503, why)

    def _left_behind(self, name: str) -> Term | None:
        term = self._ports.store.load().get(name)
        return Term(term) if isinstance(term, int) else None

    def _blank(self) -> View:
        settings = self._settings
        return View(
            now=Instant(0.0),
            wall=0.0,
            me=self.me,
            settings=settings,
            timing=lease.timing(settings.ttl, settings.loop_wait, settings.retry_timeout),
            postgres=PostgresFacts(DataFacts(DataKind.ABSENT)),
            cluster=ClusterFacts(silent_since=Instant(0.0), silent_why="the agent is starting"),
            lease=self._keeper.facts(),
            guard=self._ports.guard.facts(),
            memory=self._memory,
        )


def _timing(settings: Settings, watchdog: WatchdogFacts) -> Timing:
    """The deadlines in use; an open watchdog device makes them earlier."""
    usual = lease.timing(settings.ttl, settings.loop_wait, settings.retry_timeout)
    return usual if watchdog.timeout_s is None else lease.under_watchdog(usual, watchdog.timeout_s)
