"""etcd as the command line sees it: quorum, latency, alarms, versions, size."""

from __future__ import annotations

from dataclasses import dataclass

from haagent.core.health.finding import Finding, ok, problem, unknown, warning

QUOTA = 2 * 1024**3
"""etcd's own default, taken where an endpoint does not tell its own. Source: etcd's manual, "System limits"."""
OLDEST = (3, 4)
SLOW_MS = 100.0
FULL_PERCENT = 75
MIB = 1024**2


@dataclass(frozen=True, slots=True)
class EtcdEndpoint:
    """One endpoint's own status; ``why`` says why there is none."""

    url: str
    member_id: int = 0
    leader_id: int = 0
    version: str = ""
    db_bytes: int = 0
    took_ms: float = 0.0
    errors: tuple[str, ...] = ()
    why: str = ""
    quota_bytes: int | None = None
    """At which size it refuses writes; None: it did not tell."""


@dataclass(frozen=True, slots=True)
class EtcdFacts:
    """All endpoints asked at once."""

    endpoints: tuple[EtcdEndpoint, ...]
    members: int = 0
    """How many vote; 0: not known."""
    alarms: tuple[str, ...] | None = None
    """None: this user may not ask, or nobody answered."""
    read_ms: float = 0.0
    """How long a read took that a majority confirms."""

    @property
    def answering(self) -> tuple[EtcdEndpoint, ...]:
        return tuple(one for one in self.endpoints if not one.why)


def quorum(f: EtcdFacts) -> Finding:
    reached = len({one.member_id for one in f.answering})
    silent = "; ".join(f"{one.url}: {one.why}" for one in f.endpoints if one.why)
    mend = "etcdctl endpoint status --cluster, and bring the missing members back"
    if not reached:
        return problem("etcd-quorum", f"no endpoint answers: {silent}", mend)
    text = f"{reached} of {f.members or '?'} members answer" + (f"; {silent}" if silent else "")
    if f.members and reached <= f.members // 2:
        return problem("etcd-quorum", f"{text}: no majority is seen from here", mend)
    if silent or reached < f.members:
        return warning("etcd-quorum", text, mend)
    if f.members < 3:
        text = f"{text}: with fewer than three, the loss of one stops all writes of the cluster"
        return warning("etcd-quorum", text, "etcdctl member add, up to three or five")
    return ok("etcd-quorum", text)


def latency(f: EtcdFacts) -> Finding:
    slowest = max(f.answering, key=lambda one: one.took_ms, default=None)
    if slowest is None:
        return unknown("etcd-latency", "no endpoint answers")
    text = f"a read by majority took {f.read_ms:.0f} ms; the slowest is {slowest.url}, {slowest.took_ms:.0f} ms"
    if f.read_ms > SLOW_MS or slowest.took_ms > SLOW_MS:
        return warning("etcd-latency", text, "see etcd_disk_wal_fsync_duration_seconds; give etcd a disk of its own")
    return ok("etcd-latency", text)


def alarms(f: EtcdFacts) -> Finding:
    said = [*(f.alarms or ()), *(error for one in f.answering for error in one.errors)]
    if said:
        mend = "etcdctl compact and defrag, then etcdctl alarm disarm; CORRUPT: replace that member"
        return problem("etcd-alarms", f"{', '.join(dict.fromkeys(said))}: etcd refuses writes", mend)
    return unknown("etcd-alarms", "alarms could not be asked") if f.alarms is None else ok("etcd-alarms", "none")


def version(f: EtcdFacts) -> Finding:
    known = sorted({one.version for one in f.answering if one.version})
    if not known:
        return unknown("etcd-version", "no endpoint answers")
    old = [one for one in known if _number(one) < OLDEST]
    if old:
        return problem("etcd-version", f"{', '.join(old)} is older than 3.4", "upgrade etcd member by member")
    if len(known) > 1:
        return warning("etcd-version", f"members differ: {', '.join(known)}", "finish the upgrade of etcd")
    return ok("etcd-version", known[0])


def size(f: EtcdFacts) -> Finding:
    fullest = max(f.answering, key=lambda one: one.db_bytes / (one.quota_bytes or QUOTA), default=None)
    if fullest is None or not fullest.db_bytes:
        return unknown("etcd-size", "no endpoint answers")
    quota = fullest.quota_bytes or QUOTA
    percent = 100 * fullest.db_bytes / quota
    whose = "its quota" if fullest.quota_bytes else "etcd's default quota, since its /metrics was not to be read,"
    text = f"{fullest.url}: {fullest.db_bytes / MIB:.1f} MiB, {percent:.1f} % of {whose} of {quota // MIB} MiB"
    if percent > FULL_PERCENT:
        return warning("etcd-size", text, "etcdctl compact and defrag; --auto-compaction-retention=1h; a larger quota")
    return ok("etcd-size", text)


def leader(f: EtcdFacts) -> Finding:
    leaders = {one.leader_id for one in f.answering}
    if not leaders:
        return unknown("etcd-leader", "no endpoint answers")
    if leaders == {0} or len(leaders) > 1:
        text = f"endpoints name {len(leaders - {0})} leaders" if len(leaders) > 1 else "no leader is known"
        return warning("etcd-leader", text, "etcdctl endpoint status --cluster; is there an election under way?")
    return ok("etcd-leader", f"{leaders.pop():x}, by every endpoint")


def _number(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".")[:2] if part.isdigit())


CHECKS = (quorum, leader, latency, alarms, version, size)


def judged(facts: EtcdFacts) -> list[Finding]:
    """Every check in its order."""
    return [check(facts) for check in CHECKS]
