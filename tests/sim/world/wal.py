"""Histories: write-ahead logs as lists of records, timelines that fork, and data directories that hold a copy."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field

from haagent.core.facts import DataKind, ServerConfig
from haagent.core.terms import Lsn, SystemId

START = Lsn(0x3000000)
"""Where the first record of a new cluster ends."""


@dataclass(frozen=True, slots=True)
class Record:
    """One WAL record; ``uid`` is unlike that of any other, so two histories can be told apart by content."""

    uid: int
    end: Lsn
    timeline: int
    what: str = "commit"
    by_hand: bool = False
    """Written where nothing is promised: by a server that other hands made writable, or in a pause."""


@dataclass(frozen=True, slots=True)
class Switch:
    """A line of a .history file: that timeline ended there."""

    timeline: int
    lsn: Lsn


@dataclass(slots=True)
class Data:
    """A data directory: what survives its server and its host."""

    kind: DataKind = DataKind.ABSENT
    marker: str | None = None
    system_id: SystemId | None = None
    timeline: int = 0
    switches: tuple[Switch, ...] = ()
    records: list[Record] = field(default_factory=list)
    newest_timeline: int = 0
    """The highest timeline of which a .history file or WAL is here."""
    needs: Lsn = START
    """The files are of that time: it is not consistent without the WAL up to there."""
    clean: bool = False
    standby_signal: bool = False
    in_production: bool = False
    configured: ServerConfig | None = None
    tainted: bool = False
    """Somebody made a primary of a standby without a new timeline: what is written on this one is promised nothing."""

    kept_from: Lsn = Lsn(0)
    """Older WAL was recycled: nobody can stream from before that."""

    @property
    def end(self) -> Lsn:
        """How far the WAL reaches."""
        return self.records[-1].end if self.records else START

    def before_end(self, records: int) -> Lsn:
        """The end as it was so many records ago, but not on another timeline, and not before what is kept."""
        begun = max(self.kept_from, self.switches[-1].lsn if self.switches else START)
        recent = [record.end for record in self.records[-records - 1 :] if record.end > begun]
        return recent[0] if recent else self.end

    @property
    def checkpoint(self) -> Lsn:
        """By the control file: after a shutdown where the record of the last checkpoint begins, the last of all."""
        shut_down = len(self.records) > 1 and self.records[-1].what == "shutdown checkpoint"
        return self.records[-2].end if shut_down else self.end

    def holds(self, uid: int) -> bool:
        return any(record.uid == uid for record in reversed(self.records))

    def index_after(self, lsn: Lsn) -> int:
        """The index of the first record that ends beyond ``lsn``."""
        return bisect_right(self.records, lsn, key=lambda record: record.end)

    def at(self, lsn: Lsn) -> Record | None:
        """The record that ends exactly there."""
        index = bisect_left(self.records, lsn, key=lambda record: record.end)
        found = index < len(self.records) and self.records[index].end == lsn
        return self.records[index] if found else None

    def ended(self, timeline: int) -> Lsn | None:
        """Where one of this history's timelines ends; the present one where the WAL ends; None when it is not ours."""
        if timeline == self.timeline:
            return self.end
        return next((switch.lsn for switch in self.switches if switch.timeline == timeline), None)

    def parts_by_hand(self, other: Data) -> bool:
        """Whether the first record in which two histories differ was written where nothing is promised."""
        pairs = zip(self.records, other.records, strict=False)
        return any(mine.by_hand or theirs.by_hand for mine, theirs in pairs if mine != theirs)

    def take_over(self, other: Data, upto: Lsn) -> None:
        """Hold what the other held up to there."""
        self.system_id, self.tainted = other.system_id, other.tainted
        self.records = other.records[: other.index_after(upto)]
        self.timeline, self.switches = other.timeline, other.switches
        self.newest_timeline = max(self.newest_timeline, other.newest_timeline)
        self.needs = other.needs


def fork_of(own: Data, other: Data) -> Lsn | None:
    """Where this history leaves the other, by .history files as pg_rewind finds it; None when it is a part of it.

    What it needs to be consistent is a part of this history, be it here or not.
    """
    reach = max(own.end, own.needs)
    others = [*other.switches, Switch(other.timeline, other.end)]
    ours = [*own.switches, Switch(own.timeline, reach)]
    common = Lsn(0)
    for mine, theirs in zip(ours, others, strict=False):
        if mine.timeline != theirs.timeline:
            break
        common = min(mine.lsn, theirs.lsn)
        if mine.lsn != theirs.lsn:
            break
    return None if common >= reach else min(common, own.end)
