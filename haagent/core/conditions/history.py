"""How this node's history lies to the leader's."""

from __future__ import annotations

from haagent.core import failsafe, remote
from haagent.core.conditions.leadership import led_by_other
from haagent.core.conditions.postgres import recovering, was_standby
from haagent.core.conditions.protection import leads
from haagent.core.facts import Goal, Upstream, View
from haagent.core.terms import Lsn

LONG_START_S = 5.0
"""After this a standby that does not answer yet has its history compared with the leader's."""


STRANDED_S, STRANDED_LONGEST_S = 10.0, 300.0
"""How long a standby may take to go over to the leader's timeline before it is started anew: at first, and at last."""


REMOTE_TRIES = 3
"""How often a remote primary is asked in vain before PostgreSQL is started without having been compared with it."""


REMOTE_SILENT_S = 2.0
"""How long a standby leader waits for its stream before it compares its history with the remote primary's."""


def verdict_known(v: View) -> bool:
    """This data was compared with the present leader's; in a standby cluster with the remote primary's."""
    known, elsewhere = v.memory.divergence, remote.source(v)
    if known is None or v.snapshot is None:
        return False
    if elsewhere is not None:
        return known.leader == elsewhere.name
    if v.leader is None or known.leader != v.leader.name:
        return False
    member = v.snapshot.member(known.leader)
    return member is None or member.timeline is None or known.leader_timeline >= member.timeline


def diverged(v: View) -> bool:
    known = v.memory.divergence
    return verdict_known(v) and known is not None and known.diverged


def long_begun(v: View) -> bool:
    """This standby has been starting for long: it replays much, or waits for WAL that nobody has any more."""
    return v.now - v.memory.since > LONG_START_S


def history_suspect(v: View) -> bool:
    """This standby does not stream from the leader, although both run: their histories may have parted."""
    server, leader = v.postgres.server, leader_member_facts(v)
    if server is None or leader is None or not server.in_recovery or verdict_known(v):
        return False
    if streaming(v) and server.receiver is not None and server.receiver.timeline == server.timeline:
        return False
    behind = server.timeline != leader[0]
    ahead = server.lsn > leader[1] and server.timeline == leader[0]
    return (behind or ahead) and not streaming(v)


def leader_member_facts(v: View) -> tuple[int, Lsn] | None:
    """The leader's timeline and position as its member key tells, once it runs as what it leads as."""
    member = v.snapshot.member(v.leader.name) if v.snapshot and v.leader else None
    if member is None or member.timeline is None or member.lsn is None or not member.leading:
        return None
    return (int(member.timeline), member.lsn)


def remote_suspect(v: View) -> bool:
    """The leader of a standby cluster does not get a stream, and was not compared with the remote primary yet."""
    if remote.source(v) is None or verdict_known(v) or streaming(v):
        return False
    return v.now - v.memory.since >= REMOTE_SILENT_S


def stranded(v: View) -> bool:
    """This standby's history is part of the leader's, and yet it does not go over to the leader's timeline.

    PostgreSQL looks for a later timeline among the descendants of the one it is bound for. If nobody leads that one any
    more, it says "not a child" or "not in this server's history" for ever, and only a new start sets it right.
    """
    server, leader = v.postgres.server, leader_member_facts(v)
    if server is None or leader is None or not server.in_recovery or streaming(v):
        return False
    if diverged(v) or not verdict_known(v):
        return False
    patience = min(STRANDED_LONGEST_S, STRANDED_S * 2.0**v.memory.rejoins)
    return server.timeline < leader[0] and server.replayed_all and v.now - v.memory.since >= patience


def misled(v: View) -> bool:
    """PostgreSQL is on its way to a timeline of which it has no WAL: promoted now, it would take that for its parent.

    A standby that follows would then be sent bytes that are no WAL, up to where that timeline began, and confirm them.
    A new start, before which such timelines are put away, sets it right; not where the archive brings them again.
    """
    server = v.postgres.server
    if server is None or not server.in_recovery or server.archive_recovery or "restore_command" in v.settings.recovery:
        return False
    return v.postgres.data.bound > server.timeline


def upstream(v: View) -> Upstream | None:
    """From whom this node should stream: the running member it names, else the leader; None when nobody is.

    While nobody is seen to lead it is the primary to which this node promised to wait. Whoever leads a standby cluster
    streams from the remote primary; so does, while nobody leads, what was rewound to it: the WAL without which it lets
    nobody in may be nowhere else, and it could not lead before.
    """
    snapshot, leader = v.snapshot, v.leader
    promise = failsafe.promised(v)
    if leader is None and promise is not None:
        return as_upstream(promise.name, promise.conn_url)
    if snapshot is None or leader is None:
        return remote.source(v) if snapshot is not None and recovering(v) and long_begun(v) else None
    if leader.name == v.me.name:
        return remote.source(v) if leads(v) else None
    wanted = v.me.tags.replicatefrom
    named = snapshot.member(wanted) if wanted and wanted != v.me.name else None
    source = named if named is not None and named.running else snapshot.member(leader.name)
    return None if source is None else as_upstream(source.name, source.conn_url)


def historian(v: View) -> Upstream | None:
    """Whose history this node's is measured against: the remote primary's in a standby cluster, else the upstream's."""
    return remote.source(v) or upstream(v)


def must_compare(v: View) -> bool:
    """A node of a standby cluster that may have been a primary is compared with the remote one, whoever leads or not.

    If that one can't be asked it is started all the same, read-only.
    """
    if remote.source(v) is None or diverged(v):
        return remote.source(v) is not None
    undecided = not was_standby(v) or v.memory.goal is Goal.FOLLOW
    return undecided and not verdict_known(v) and v.memory.attempts < REMOTE_TRIES


def remote_unasked(v: View) -> bool:
    """The remote primary was asked in vain often enough, and what is here is not known to have parted from it."""
    return remote.is_known(v) and v.memory.attempts >= REMOTE_TRIES and not verdict_known(v)


def as_upstream(name: str, conn_url: str) -> Upstream | None:
    """Host and port of a ``postgres://host:port/database`` URL."""
    authority = conn_url.partition("://")[2].partition("/")[0].rpartition("@")[2]
    host, colon, port = authority.rpartition(":")
    if not colon or not port.isdigit():
        host, port = authority, "5432"
    return Upstream(name, host.strip("[]"), int(port)) if host else None


def streaming(v: View) -> bool:
    """The WAL receiver streams from where it should."""
    server, source = v.postgres.server, upstream(v)
    receiver = server.receiver if server else None
    if receiver is None or source is None or receiver.status != "streaming":
        return False
    return receiver.sender_host in source.hosts and receiver.sender_port == source.port


def leader_ready(v: View) -> bool:
    """The leader runs as what it leads as, so that histories can be compared with its own, or with the remote one."""
    return leader_member_facts(v) is not None or remote.source(v) is not None


def starts_in_vain(v: View) -> bool:
    """It failed to start more than once, and the leader can be asked whether its history is why."""
    return v.memory.start_failures >= 2 and _leader_in_service(v)


def replaceable(v: View) -> bool:
    """There is another copy: that of a leader, or the remote primary's."""
    return _leader_in_service(v) or remote.is_known(v)


def _leader_in_service(v: View) -> bool:
    return led_by_other(v) and leader_ready(v)


def may_rewind(v: View) -> bool:
    return v.settings.use_pg_rewind


def may_discard_diverged(v: View) -> bool:
    return v.settings.remove_data_directory_on_diverged_timelines


def may_discard_after_rewind(v: View) -> bool:
    return v.settings.remove_data_directory_on_rewind_failure or v.settings.remove_data_directory_on_diverged_timelines
