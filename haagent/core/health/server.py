"""The node's PostgreSQL: whether it follows, can be rewound, archives, keeps what is needed, and is protected."""

from __future__ import annotations

from haagent.core import conditions as c
from haagent.core import slots
from haagent.core.facts import View
from haagent.core.health.facts import NodeFacts, SqlFacts
from haagent.core.health.finding import Finding, ok, problem, unknown, warning
from haagent.core.states import State

SPARE_SENDERS = 2
"""WAL senders that a base backup takes."""
MUCH_RETAINED = 4 * 1024**3
CROWDED_PERCENT = 90
GIB = 1024**3


def state(f: NodeFacts) -> Finding:
    v = f.view
    if v is None:
        return ok("state", "not in service yet")
    text = f"{v.state.value} for {v.now - v.memory.since:.0f} s: {v.memory.why or v.memory.trouble}"
    if v.state is State.FAILED:
        return problem("state", text, f"haagent-ctl explain {f.me.name}")
    settled = v.state in (State.STANDBY, State.STANDBY_LEADER, State.PRIMARY)
    return ok("state", text) if settled else warning("state", text, f"haagent-ctl explain {f.me.name}")


def system_identifier(f: NodeFacts) -> Finding:
    name, own = "system-identifier", f.view.postgres.data.system_id if f.view else None
    known = f.snapshot.initialize if f.snapshot else None
    if not own or not known:
        return ok(name, "there is nothing to compare yet") if f.snapshot else unknown(name, "see `etcd-from-here`")
    if str(own) != known:
        text = f"the data here is of system {own}, the cluster of {known}"
        return problem(name, text, "set scope or postgresql.data_dir right; never remove either copy before")
    return ok(name, f"{own}, as in etcd")


def guard(f: NodeFacts) -> Finding:
    v = f.view
    if v is None or not v.postgres.running:
        return ok("guard", "there is no PostgreSQL to guard")
    if not v.guard.alive:
        text = "no guard process answers: nothing outside the agent ends PostgreSQL when the permit does"
        return problem("guard", text, "see `A leader without a guard` in docs/operations.md")
    if c.leads(v) and not v.guard.armed and not v.settings.pause:
        return problem("guard", "the guard is not armed although this node leads", f"haagent-ctl why {f.me.name}")
    return ok("guard", f"it answers, {'armed' if v.guard.armed else 'not armed'}")


def commit_fence(f: NodeFacts) -> Finding:
    name, mode = "commit-fence", f.fence_mode
    restart = f"haagent-ctl restart {f.me.scope} {f.me.name}"
    install = f"make -C fence install, then restart PostgreSQL: {restart}"
    if mode == "off":
        text = "postgresql.commit_fence is off: agent and guard frozen together leave commits past the permit possible"
        return warning(name, text, "write postgresql.commit_fence: auto into the file")
    if not f.fence_installed:
        text = f"{f.fence_why or 'it is not installed'}"
        if mode == "required":
            return problem(name, f"{text}; it is required, so this node may not lead", install)
        return warning(name, f"{text}: agent and guard frozen together leave commits past the permit possible", install)
    server = f.view.postgres.server if f.view else None
    if server is not None and not server.fenced:
        text = f"it is installed, but {c.UNFENCED}"
        if mode == "required":
            return problem(name, f"{text}; it is required, so this node may not become leader", restart)
        return warning(name, text, restart)
    return ok(name, "it refuses commits past the permit" if server else "it is installed")


def rewind(f: NodeFacts) -> Finding:
    name, sql = "rewind", f.sql
    if sql is None:
        return _not_asked(name, f)
    if sql.settings.get("wal_log_hints") == "on" or sql.settings.get("data_checksums") == "on":
        used = "is used" if f.settings.use_pg_rewind else "could be used (postgresql.use_pg_rewind is off)"
        return ok(name, f"pg_rewind {used}: wal_log_hints or data checksums are on")
    mend = f"haagent-ctl edit-config {f.me.scope} -p wal_log_hints=on, then haagent-ctl restart"
    text = "neither wal_log_hints nor data checksums are on: a former primary that has diverged must be cloned anew"
    return warning(name, text, mend)


def wal_senders(f: NodeFacts) -> Finding:
    needed = len(f.peers) + SPARE_SENDERS
    return _enough(f, "wal-senders", "max_wal_senders", needed, f"{len(f.peers)} standbys and a base backup")


def replication_slots(f: NodeFacts) -> Finding:
    if not f.settings.use_slots:
        return ok("replication-slots", "postgresql.use_slots is off")
    kept = len(slots.permanent(f.settings))
    needed = len(f.peers) + kept + 1
    why = f"{len(f.peers)} members, {kept} permanent ones and a base backup"
    return _enough(f, "replication-slots", "max_replication_slots", needed, why)


def logical_slots(f: NodeFacts) -> Finding:
    """Whether the permanent logical slots would survive a failover to, or from, this node."""
    name, listed = "logical-slots", [slot.name for slot in slots.logical(f.settings)]
    server = f.view.postgres.server if f.view and f.view.postgres.running else None
    if not listed:
        return ok(name, "no permanent logical slots are listed")
    if server is None:
        return unknown(name, "PostgreSQL does not answer")
    if server.in_recovery:
        lacks = slots.lacking(server, f.settings) if f.me.tags.may_lead else {}
        mend = "see PostgreSQL's log: slot synchronization logs in as the replication user to database postgres"
        text = f"if it led now, subscribers would have to begin anew: {slots.in_words(lacks)}"
        return problem(name, text, mend) if lacks else ok(name, f"{', '.join(listed)} would survive a failover to it")
    there = {slot.name: slot for slot in server.slots}
    absent = [one for one in listed if one not in there]
    if absent:
        mend = "see the agent's log; needed: wal_level = logical, the database, the plugin"
        return problem(name, f"{', '.join(absent)} could not be made", mend)
    alone = [one for one in listed if not there[one].failover] if server.version >= slots.SYNCHRONIZES else []
    if alone:
        mend = f"ALTER SUBSCRIPTION … SET (failover = true), or let the user of {alone[0]} pause for a few seconds"
        return problem(name, f"standbys do not copy {', '.join(alone)}, which was in use all the time", mend)
    return ok(name, f"{', '.join(listed)} are there")


def _enough(f: NodeFacts, name: str, parameter: str, needed: int, why: str) -> Finding:
    if f.sql is None:
        return _not_asked(name, f)
    have = _number(f.sql, parameter)
    if have < needed:
        mend = f"haagent-ctl edit-config {f.me.scope} -p {parameter}={needed + 4}, then haagent-ctl restart"
        return problem(name, f"{parameter} is {have}, but {needed} are needed for {why}", mend)
    return ok(name, f"{parameter} is {have}, {needed} are needed for {why}")


def archiver(f: NodeFacts) -> Finding:
    name = "archiver"
    if f.sql is None:
        return _not_asked(name, f)
    mode, known = f.sql.settings.get("archive_mode", "off"), f.sql.archiver
    if mode == "off":
        return ok(name, "archive_mode is off")
    failing = known.failed_age_s is not None and (
        known.archived_age_s is None or known.failed_age_s < known.archived_age_s
    )
    if failing:
        since = "nothing was ever" if known.archived_age_s is None else f"{known.archived_age_s:.0f} s ago one was"
        text = f"{known.failed_wal} failed {known.failed_age_s:.0f} s ago ({known.failed} failures); {since} archived"
        return problem(name, f"{text}: WAL fills the disk", "see PostgreSQL's log for what archive_command said")
    last = "never yet" if known.archived_age_s is None else f"{known.archived_age_s:.0f} s ago"
    return ok(name, f"archive_mode is {mode}, last archived {last}")


def durability(f: NodeFacts) -> Finding:
    name = "durability"
    if f.sql is None:
        return _not_asked(name, f)
    off = [one for one in ("fsync", "full_page_writes") if f.sql.settings.get(one) == "off"]
    if off:
        text = f"{' and '.join(off)} off: a crash of this machine destroys the data"
        return problem(name, text, f"haagent-ctl edit-config {f.me.scope} -p {off[0]}=on")
    if f.sql.settings.get("synchronous_commit") == "off":
        text = "synchronous_commit is off: acknowledged commits are lost with a crash, and in every failover"
        return warning(name, text, f"haagent-ctl edit-config {f.me.scope} -p synchronous_commit=on")
    return ok(name, f"fsync on, synchronous_commit {f.sql.settings.get('synchronous_commit')}")


def connections(f: NodeFacts) -> Finding:
    name = "connections"
    if f.sql is None:
        return _not_asked(name, f)
    most = _number(f.sql, "max_connections")
    text = f"{f.sql.connections} of {most} are in use"
    if most and 100 * f.sql.connections >= CROWDED_PERCENT * most:
        mend = f"haagent-ctl edit-config {f.me.scope} -p max_connections={2 * most}, or a pooler"
        return warning(name, text, mend)
    return ok(name, text)


def retained(f: NodeFacts) -> Finding:
    name = "slots-retained"
    if f.sql is None:
        return _not_asked(name, f)
    v = f.view
    lost = [s.name for s in v.postgres.server.slots if s.wal_status == "lost"] if v and v.postgres.server else []
    if lost:
        text = f"the WAL that {', '.join(lost)} should keep is gone"
        return problem(name, text, "haagent-ctl reinit the standby; drop a logical slot and make its subscriber anew")
    most = max(f.sql.retained, key=lambda one: f.sql.retained[one] if f.sql else 0, default=None)
    if most is not None and f.sql.retained[most] > MUCH_RETAINED:
        text = f"slot {most} is not in use and holds back {f.sql.retained[most] / GIB:.1f} GiB of WAL"
        return warning(name, text, f"bring its user back, or SELECT pg_drop_replication_slot('{most}')")
    return ok(name, f"{len(f.sql.retained)} slots not in use, none holds back much")


def pending_restart(f: NodeFacts) -> Finding:
    server = f.view.postgres.server if f.view else None
    if server is None or not server.pending_restart:
        return ok("pending-restart", "no parameter waits for a restart")
    text = ", ".join(f"{one} {old} → {new}" for one, (old, new) in server.pending_restart.items())
    return warning("pending-restart", text, f"haagent-ctl restart {f.me.scope} {f.me.name} --pending")


def replication(f: NodeFacts) -> Finding:
    v, name = f.view, "replication"
    server = v.postgres.server if v else None
    if v is None or server is None or not v.postgres.running:
        return ok(name, "PostgreSQL does not run here") if v is None else unknown(name, "PostgreSQL does not answer")
    if not server.in_recovery:
        there = ", ".join(s.application_name for s in server.senders if s.state == "streaming")
        return ok(name, f"it is the primary; streaming: {there or 'nobody'}")
    if server.short_of:
        text = ", ".join(f"{one} is {have}, the primary has {needs}" for one, (have, needs) in server.short_of.items())
        return problem(name, f"replay is paused: {text}", f"haagent-ctl restart {f.me.scope} {f.me.name}")
    if server.replay_paused:
        return problem(name, f"replay is paused at {server.replayed_lsn}", "SELECT pg_wal_replay_resume()")
    return _following(f, v)


def _following(f: NodeFacts, v: View) -> Finding:
    server = v.postgres.server
    assert server is not None
    if c.streaming(v) or (server.archive_recovery and v.me.tags.nostream):
        return ok("replication", f"received up to {server.received_lsn}, replayed up to {server.replayed_lsn}")
    if v.leader is None:
        return warning("replication", "there is no leader to stream from", "haagent-ctl explain")
    why = v.memory.stalled.why if v.memory.stalled else ""
    text = f"it does not stream from {v.leader.name}, {why or 'or not since long'}; it is at {server.lsn}"
    return problem("replication", text, f"haagent-ctl explain {f.me.name}, and its PostgreSQL's log")


def _not_asked(name: str, f: NodeFacts) -> Finding:
    return unknown(name, f.sql_why or "PostgreSQL was not asked")


def _number(sql: SqlFacts, parameter: str) -> int:
    text = sql.settings.get(parameter, "0")
    return int(text) if text.isdigit() else 0


CHECKS = (
    state,
    system_identifier,
    guard,
    commit_fence,
    rewind,
    wal_senders,
    replication_slots,
    logical_slots,
    archiver,
    durability,
    connections,
    retained,
    pending_restart,
    replication,
)
