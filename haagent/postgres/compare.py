"""How the local history lies to another server's: same path, behind, or diverged, and what would be given up."""

from __future__ import annotations

from dataclasses import dataclass, replace

from haagent.core.facts import Divergence, ServerFacts, Upstream
from haagent.core.terms import Lsn, Timeline
from haagent.core.timelines import Fork, History, fork_of, history_of
from haagent.ports import Refused
from haagent.postgres import sameness
from haagent.postgres.control import ControlData
from haagent.postgres.disk import on_disk
from haagent.postgres.settings import PostgresSettings
from haagent.postgres.upstream import Identity, asking, known_lines
from haagent.postgres.wal import Past, newest_timeline, past, read_history


@dataclass(frozen=True, slots=True)
class Local:
    """This node's end of history; ``server`` is set while it runs."""

    control: ControlData
    timeline: Timeline
    lsn: Lsn
    server: ServerFacts | None = None


async def local_end(settings: PostgresSettings, control: ControlData, server: ServerFacts | None) -> Local:
    """Where the local WAL ends, by the running server, else by the control file and what lies in pg_wal."""
    if server is not None:
        return Local(control, server.timeline, server.lsn, server)
    newest = await on_disk(lambda: newest_timeline(settings, control.redo, control.segment_bytes))
    return Local(control, max(control.timeline, newest), max(control.checkpoint, control.min_recovery))


async def compare(settings: PostgresSettings, source: Upstream, local: Local) -> Divergence:
    """Ask the other server for its history and look into the local WAL past the point where the two part.

    Refused when the other one is another cluster, or still in recovery behind this node, so that nothing can be told.
    """
    async with asking(settings, source) as asked:
        identity = await asked.identify()
        theirs = await asked.history(identity.timeline)
    if identity.system_id != local.control.system_id:
        raise Refused(
            f"{source.name} at {source.host}:{source.port} belongs to another cluster: its system identifier is "
            f"{identity.system_id}, the one of {settings.data_dir} is {local.control.system_id}"
        )
    useless = await _out_of_reach(settings, source, local, identity, theirs)
    if useless is not None:
        return useless
    own = await _own_history(settings, local.timeline, theirs)
    fork = fork_of(own, theirs)
    if fork.lsn is None:
        found = await _same_timeline(settings, source, local, identity, own)
    else:
        beyond = await _past_fork(settings, local.control.segment_bytes, own, fork)
        found = _verdict(source, local, identity, fork, beyond, own.timeline != fork.timeline)
    if found.diverged or local.server is None or not local.server.in_recovery or not local.server.replayed_all:
        return found
    gone = await sameness.gone_from(settings, source, local.lsn, local.control.segment_bytes)
    return replace(found, wal_gone=gone, reason=gone or found.reason)


async def _own_history(settings: PostgresSettings, timeline: Timeline, theirs: History) -> History:
    """The local history file, or what the other server knows of the same timeline."""
    try:
        lines = await on_disk(lambda: read_history(settings, timeline))
        if lines is None:
            lines = () if timeline == 1 else known_lines(theirs, timeline)
        if lines is None:
            raise Refused(
                f"{timeline:08X}.history is missing in {settings.data_dir}/pg_wal: where timeline {timeline} began "
                f"cannot be told; put it back from the archive, or clone this node anew"
            )
        return history_of(timeline, lines)
    except ValueError as error:
        raise Refused(
            f"the history of timeline {timeline} in {settings.data_dir}/pg_wal is damaged: {error}"
        ) from error


async def _past_fork(settings: PostgresSettings, segment_bytes: int, own: History, fork: Fork) -> Past:
    """What this node wrote past the fork, over all the timelines it went through since."""
    assert fork.lsn is not None
    start, reached, commits = fork.lsn, None, 0
    uncounted = False
    for timeline, left_at in own.path():
        if timeline < fork.timeline:
            continue
        found = await past(settings, segment_bytes, timeline, start, left_at)
        reached = found.end or reached
        uncounted |= found.end is not None and found.commits is None
        commits += found.commits or 0
        start = left_at or start
    return Past(reached, None if uncounted else commits)


def _verdict(source: Upstream, local: Local, identity: Identity, fork: Fork, found: Past, left: bool) -> Divergence:
    """Diverged when a whole record lies past the fork, or this node went on to a timeline that the other lacks."""
    assert fork.lsn is not None
    reached = local.control.checkpoint >= fork.lsn or local.control.min_recovery > fork.lsn
    checkpointed = local.server is None and local.timeline == fork.timeline == local.control.timeline and reached
    replayed = local.server is not None and not left and (local.server.replayed_lsn or Lsn(0)) > fork.lsn
    if not (left or checkpointed or replayed or found.end is not None):
        reason = f"nothing was written past {fork.lsn}, where timeline {fork.timeline} was left"
        return Divergence(source.name, identity.timeline, local.timeline, local.lsn, reason=reason)
    end = max(local.lsn, found.end or Lsn(0), fork.lsn)
    reason = (
        f"timeline {fork.timeline} was left at {fork.lsn} by {source.name}, which is on timeline {identity.timeline}; "
        f"this node went on to {end} on timeline {local.timeline}"
    )
    return Divergence(
        leader=source.name,
        leader_timeline=identity.timeline,
        own_timeline=local.timeline,
        own_lsn=end,
        fork_lsn=fork.lsn,
        wal_gone=_never_consistent(source, local, fork.lsn, found.end or fork.lsn),
        lost_bytes=end - fork.lsn,
        lost_commits=found.commits if found.end is not None else None,
        reason=reason,
    )


async def _out_of_reach(
    settings: PostgresSettings, source: Upstream, local: Local, identity: Identity, theirs: History
) -> Divergence | None:
    """The verdict on a copy that must go further on some timeline than the other server did, without WAL for it.

    PostgreSQL refuses to start it, whatever it has of later timelines. Source: "requested timeline does not contain
    minimum recovery point", src/backend/access/transam/xlogrecovery.c.
    """
    needed, timeline = local.control.min_recovery, local.control.min_recovery_timeline
    left_at = next((left for number, left in theirs.path() if number == timeline), None)
    if local.server is not None or left_at is None or needed <= left_at:
        return None
    found = await past(settings, local.control.segment_bytes, timeline, left_at)
    end = found.end or left_at
    gone = _never_consistent(source, local, left_at, end)
    if not gone:
        return None
    return Divergence(
        leader=source.name,
        leader_timeline=identity.timeline,
        own_timeline=timeline,
        own_lsn=end,
        fork_lsn=left_at,
        wal_gone=gone,
        lost_bytes=end - left_at,
        lost_commits=found.commits if found.end is not None else 0,
        reason=gone,
    )


def _never_consistent(source: Upstream, local: Local, left_at: Lsn, end: Lsn) -> str:
    """That a copy needs more of an abandoned history than it has, and is of use to nobody; empty when it does not.

    pg_rewind and pg_basebackup ask for the WAL up to the source's last word, which may have died with it.
    """
    needed = local.control.min_recovery
    if local.server is not None or needed <= end:
        return ""
    return (
        f"this copy needs the WAL up to {needed} to be consistent and has it up to {end}; {source.name} left that "
        f"history at {left_at}"
    )


async def _same_timeline(
    settings: PostgresSettings, source: Upstream, local: Local, identity: Identity, own: History
) -> Divergence:
    """On one timeline this node may be behind; whole records past the other's end are a divergence of their own.

    So is WAL of other content: two primaries wrote on this timeline, or each made one of this number.
    """
    same = Divergence(source.name, identity.timeline, local.timeline, local.lsn, reason="both are on one timeline")
    if local.server is not None and local.server.in_recovery:
        return same
    found = await past(settings, local.control.segment_bytes, local.timeline, identity.lsn)
    if found.end is None:
        return await _by_content(settings, source, local, own, same)
    if identity.in_recovery:
        raise Refused(
            f"{source.name} is still in recovery at {identity.lsn} of timeline {identity.timeline}, behind this node's "
            f"{found.end}: the histories can be compared when it has been promoted"
        )
    return Divergence(
        leader=source.name,
        leader_timeline=identity.timeline,
        own_timeline=local.timeline,
        own_lsn=found.end,
        fork_lsn=identity.lsn,
        lost_bytes=found.end - identity.lsn,
        lost_commits=found.commits,
        reason=f"both are on timeline {local.timeline}, but this WAL reaches past {source.name}'s {identity.lsn}",
    )


async def _by_content(
    settings: PostgresSettings, source: Upstream, local: Local, own: History, same: Divergence
) -> Divergence:
    """Whether what both have of this timeline is the same WAL, looked at where twins part and at this node's end."""
    began = own.lines[-1].lsn if own.lines else Lsn(0)
    wanted = sameness.pieces(local.timeline, began, local.lsn, local.control.segment_bytes)
    other = await sameness.first_difference(settings, source, wanted)
    if other is None:
        return same
    fork = max(began, other.start)
    return replace(
        same,
        fork_lsn=fork,
        lost_bytes=max(0, local.lsn - fork),
        reason=f"both are on timeline {local.timeline}, but what they wrote differs from {fork} on or soon after",
    )
