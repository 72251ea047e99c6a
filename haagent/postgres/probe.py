"""Facts about PostgreSQL, gathered within a deadline and as cheaply as possible since it happens all day.

What never changes under one postmaster is asked once; what changes with a reload is asked when the server's
configuration was loaded anew; the control file is read when it has changed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace

import psycopg

from haagent.core.facts import DataFacts, DataKind, PostgresFacts, Process, ServerConfig, ServerFacts
from haagent.core.terms import Instant, SystemId, Timeline
from haagent.host.threads import in_thread
from haagent.ports import PortError, Refused
from haagent.postgres.control import ControlData, read_control
from haagent.postgres.disk import on_disk
from haagent.postgres.look import ControlKey, Look, look
from haagent.postgres.newcomer import BUSY_S, ENOUGH_S, EVERY_S, BusyError, turned_away
from haagent.postgres.observe import NEWEST_WAL, PENDING, ROLE, STANDBY_SENSITIVE, STATUS, server_facts
from haagent.postgres.place import Place
from haagent.postgres.postmaster import Postmaster
from haagent.postgres.process import serving_in
from haagent.postgres.settings import PostgresSettings
from haagent.postgres.sql import Address, Client, address_of, told
from haagent.postgres.volumes import VolumeWatch

CONTROL_EVERY_S = 10.0
"""How often at most the control file of a running server is read again."""
CROWDED = ("too many clients", "remaining connection slots")
"""English texts of SQLSTATE 53300: the server is well and lets nobody else in."""
GONE = (DataKind.ABSENT, DataKind.EMPTY, DataKind.UNMOUNTED)
NOT_YET = ("starting up", "not yet accepting connections", "in recovery mode")
"""English texts of SQLSTATE 57P03, which libpq does not hand out for a failed connection."""


class Probe:
    """Remembers between probes only what saves work, or what the last answer was."""

    def __init__(
        self, settings: PostgresSettings, postmaster: Postmaster, client: Client, now: Callable[[], Instant]
    ) -> None:
        self._settings = settings
        self._postmaster = postmaster
        self._client = client
        self._now = now
        self._look = Look(DataKind.UNKNOWN, real=os.path.realpath(settings.data_dir))
        self._control: ControlData | None = None
        self._control_key: ControlKey | None = None
        self._control_at = Instant(0.0)
        self._control_error = ""
        self._unheard = False
        """The control file was not read, for a reason that says nothing about it."""
        self._of: Process | None = None
        self._server: ServerFacts | None = None
        self._silent_since: Instant | None = None
        self._newcomer_at = Instant(0.0)
        self._let_in_at = now()
        """When a newcomer was last answered, or found that the postmaster hangs."""
        self._turned_away_why = ""
        self._timeline = Timeline(0)
        self._system_id = SystemId("")
        self._pending: Mapping[str, tuple[str, str]] = {}
        self._pending_of: object = None
        self._overran = False
        """The last round of questions did not end in time, though the server may be well."""
        self.place = Place()
        self.volumes = VolumeWatch(now)

    @property
    def control(self) -> ControlData | None:
        """The control file as last read."""
        return self._control

    @property
    def address(self) -> Address | None:
        """Where the living postmaster answers; the settings' guess is not one."""
        process = self._postmaster.process
        return None if process is None else self._address(process)

    async def probe(
        self, settings: PostgresSettings, configured: ServerConfig | None, timeout: float, *, at_work: bool = False
    ) -> PostgresFacts:
        """One look and, if a postmaster lives, one round of SQL; ``timeout`` in seconds for all of it.

        ``at_work``: this agent is building the data directory; the short-lived servers of that are not shown.
        """
        self._settings = settings
        until = self._now() + timeout
        disk_why = await self._look_again(settings, timeout, at_work)
        process = self._postmaster.process
        if process != self._of:
            self._forget(process)
        data = await self._data(settings, until)
        if disk_why:
            data = replace(data, kind=data.kind if process else DataKind.UNKNOWN, detail=disk_why)
        segment_bytes = self._control.segment_bytes if self._control else None
        disk = self.volumes.facts(settings, segment_bytes, at_work=at_work)
        facts = PostgresFacts(data=data, postmaster=process, configured=configured, disk=disk)
        if process is None:
            return replace(facts, orphans=0 if at_work else await self._orphans(disk_why))
        if disk_why:
            return self._silent(facts, disk_why)
        return await self._ask(settings, facts, process, max(0.05, until - self._now()))

    async def _orphans(self, disk_why: str) -> int:
        """Processes that outlived the postmaster, counted anew when the last look still saw it alive."""
        if not disk_why and self._look.postmaster is None:
            return self._look.orphans
        return len(await in_thread(lambda: serving_in(self._look.real)))

    async def _look_again(self, settings: PostgresSettings, timeout: float, at_work: bool) -> str:
        """Look at the disk and the processes; why it did not work, empty if it did."""
        try:
            self._look = await on_disk(lambda: self._look_there(settings), timeout)
        except PortError as error:
            return str(error)
        if at_work:
            self._look = replace(self._look, postmaster=None, orphans=0)
        if self._look.postmaster is not None and not self._starting_child():
            self._postmaster.adopt(self._look.postmaster)
        return ""

    def _look_there(self, settings: PostgresSettings) -> Look:
        """One look, and whether the file system on which data lay is there at all. Blocking."""
        seen = look(settings)
        if seen.kind in (DataKind.ABSENT, DataKind.EMPTY) and (why := self.place.missing(settings)):
            return replace(seen, kind=DataKind.UNMOUNTED, detail=why)
        if seen.kind is DataKind.VALID:
            self.place.note(settings)
            self.volumes.measure(settings)
        return seen

    def _starting_child(self) -> bool:
        """Whether a child of ours lives that has not yet taken over postmaster.pid."""
        return self._postmaster.is_child and self._look.postmaster != self._postmaster.process

    def _forget(self, process: Process | None) -> None:
        self._of = process
        self._server = None
        self._silent_since = None
        self._turned_away_why = ""
        self._let_in_at = self._now()
        self._timeline = Timeline(0)
        self._pending_of = None
        self._overran = False

    async def _data(self, settings: PostgresSettings, until: float) -> DataFacts:
        seen = self._look
        if seen.control_key is not None and self._control_is_old(seen.control_key):
            try:
                self._control = await read_control(settings, max(0.2, until - self._now()))
                self._control_key, self._control_error = seen.control_key, ""
            except PortError as error:
                self._control, self._control_key, self._control_error = None, None, str(error)
                self._unheard = not isinstance(error, Refused)
            self._control_at = self._now()
        control = self._control if seen.control_key is not None else None
        kind, detail = seen.kind, seen.detail
        if kind is DataKind.VALID and control is None:
            kind, detail = DataKind.UNKNOWN if self._unheard else DataKind.UNREADABLE, self._control_error
        return DataFacts(
            kind=kind,
            system_id=control.system_id if control else None,
            timeline=control.timeline if control else None,
            cluster_state=control.state if control else "",
            checkpoint_lsn=control.checkpoint if control else None,
            standby_signal=seen.standby_signal,
            heard=seen.heard,
            bound=seen.bound,
            marker=seen.marker.doing if seen.marker and kind is DataKind.UNFINISHED else None,
            mount_point=seen.mount_point,
            detail=detail or ("" if self._postmaster.process else self._postmaster.last_words),
        )

    def _control_is_old(self, key: ControlKey) -> bool:
        if key == self._control_key:
            return False
        resting = self._postmaster.process is None or self._control is None
        return resting or self._now() - self._control_at >= CONTROL_EVERY_S

    def _address(self, process: Process) -> Address:
        return address_of(self._settings, process, self._look.pid_file if self._look.postmaster == process else None)

    async def _ask(
        self, settings: PostgresSettings, facts: PostgresFacts, process: Process, timeout: float
    ) -> PostgresFacts:
        status = self._look.pid_file.status if self._look.pid_file and self._look.postmaster == process else ""
        if self._look.stopped:
            return self._silent(facts, f"postmaster {process.pid} is stopped (SIGSTOP); kill -CONT {process.pid}")
        if facts.data.kind in GONE:
            return self._silent(facts, f"{settings.data_dir} is gone from under it", keep=False)
        if self._look.marker or self._look.postmaster != process or status in ("", "starting"):
            return self._starting(facts)
        lives: ServerFacts | None = None
        try:
            if self._overran:
                lives = await self._role_alone(settings, process, timeout / 2)
            server = await self._server_facts(settings, facts.data, process, timeout / 2 if self._overran else timeout)
        except (psycopg.Error, TimeoutError) as error:
            why = told(error)
            self._overran = isinstance(error, TimeoutError | psycopg.errors.QueryCanceled)
            if any(text in why for text in NOT_YET):
                return self._starting(facts)
            if any(text in why for text in CROWDED):
                lives = self._as_before()
            if lives is not None:
                self._silent_since = None
                return replace(facts, server=lives, unreachable_why=f"its state could not be asked: {why}")
            return self._silent(facts, why, keep=status != "stopping")
        self._server, self._overran = server, False
        why = await self._turned_away(process, timeout)
        if why:
            return self._silent(facts, why)
        self._silent_since = None
        return replace(facts, server=server)

    async def _turned_away(self, process: Process, timeout: float) -> str:
        """Why new clients find no way in; asked now and then, and while it is so at each probe."""
        if self._turned_away_why or self._now() - self._newcomer_at >= EVERY_S:
            self._newcomer_at = self._now()
            try:
                self._turned_away_why = await turned_away(self._address(process), min(timeout, ENOUGH_S))
            except BusyError as error:
                busy_s = self._now() - self._let_in_at
                self._turned_away_why = "" if busy_s < BUSY_S else f"{error}, for {busy_s:.0f} s now"
                self._newcomer_at = Instant(0.0)
            else:
                self._let_in_at = self._now()
        return self._turned_away_why

    async def _role_alone(self, settings: PostgresSettings, process: Process, timeout: float) -> ServerFacts | None:
        """What was known, while the server still answers with the same role: a question that takes no lock."""
        (row,) = await self._client.fetch(settings, self._address(process), ROLE, timeout=timeout)
        known = self._server
        if known is None or known.in_recovery is not row["recovering"]:
            return None
        return replace(known, seen_at=self._now(), stale=True)

    def _as_before(self) -> ServerFacts | None:
        """A primary that lets nobody else in is one still: only a new postmaster could make it a standby."""
        known = self._server
        return None if known is None or known.in_recovery else replace(known, seen_at=self._now(), stale=True)

    def _starting(self, facts: PostgresFacts) -> PostgresFacts:
        """Nobody is let in yet, or, after a crash of a backend, not any more: what it said before counts no longer."""
        self._server = None
        self._silent_since = None
        return replace(facts, starting=True)

    def _silent(self, facts: PostgresFacts, why: str, *, keep: bool = True) -> PostgresFacts:
        """The postmaster is there but does not answer: since when, why, and what it said last."""
        if self._silent_since is None:
            self._silent_since = self._now()
        if not keep:
            self._server = None
        return replace(facts, server=self._server, unreachable_since=self._silent_since, unreachable_why=why)

    async def _server_facts(
        self, settings: PostgresSettings, data: DataFacts, process: Process, timeout: float
    ) -> ServerFacts:
        address = self._address(process)
        until = self._now() + timeout
        seen_at = self._now()
        (row,) = await self._client.fetch(settings, address, STATUS, timeout=timeout)
        rest = max(0.05, until - self._now())
        if row["recovering"] and not row["receiver"] and not self._timeline:
            (found,) = await self._client.fetch(settings, address, NEWEST_WAL, timeout=rest)
            self._timeline = Timeline(int(found["timeline"] or "0", 16))
        if (address, row["loaded_at"]) != self._pending_of:
            rows = await self._client.fetch(settings, address, PENDING, timeout=rest)
            # PostgreSQL also means lines that are gone from its files and said what is in force anyway.
            self._pending = {one["name"]: (one["old"], one["new"]) for one in rows if one["old"] != one["new"]}
            self._pending_of = (address, row["loaded_at"])
        self._system_id = data.system_id or self._system_id
        server = server_facts(
            row,
            seen_at=seen_at,
            version=self._client.server_version,
            system_id=self._system_id,
            remembered=self._timeline,
            pending=self._pending,
        )
        self._timeline = max(self._timeline, server.timeline)
        if row["paused"]:
            has = await self._client.fetch(settings, address, STANDBY_SENSITIVE, timeout=rest)
            server = replace(server, short_of=self._short_of({one["name"]: one["has"] for one in has}))
        return server

    def _short_of(self, have: Mapping[str, int]) -> dict[str, tuple[int, int]]:
        """Of which parameters the control file tells that the primary has more."""
        needs = {} if self._control is None else {name: self._control.least(name) for name in have}
        return {name: (has, needs[name]) for name, has in have.items() if needs.get(name, 0) > has}
