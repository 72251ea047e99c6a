"""The ways from this node to the others and to etcd: ports, logins of the three roles, the leader's lease."""

from __future__ import annotations

from haagent.core import conditions as c
from haagent.core.health.facts import NodeFacts, Road
from haagent.core.health.finding import Finding, ok, problem, unknown, warning

SLOW_MS = 200.0


def rest_ports(f: NodeFacts) -> Finding:
    mend = "open its restapi port between all nodes (firewall), and see that its agent runs"
    return _open(f, "rest-ports", "REST API", mend)


def postgres_ports(f: NodeFacts) -> Finding:
    mend = "open its PostgreSQL port between all nodes (firewall), and see that listen_addresses covers it"
    return _open(f, "postgres-ports", "PostgreSQL", mend)


def _open(f: NodeFacts, name: str, service: str, mend: str) -> Finding:
    tried = [one for one in f.roads if one.service == service]
    if f.snapshot is None:
        return unknown(name, "whom to try is not known, see `etcd-from-here`")
    closed = [one for one in tried if one.why]
    if closed:
        return problem(name, "; ".join(f"{one.peer} at {one.address}: {one.why}" for one in closed), mend)
    slowest = max(tried, key=lambda one: one.took_ms, default=None)
    if slowest is None:
        return ok(name, "there is no other member")
    return _paced(name, tried, slowest)


def _paced(name: str, tried: list[Road], slowest: Road) -> Finding:
    text = f"{len(tried)} reached, the slowest is {slowest.peer} with {slowest.took_ms:.0f} ms"
    if slowest.took_ms > SLOW_MS:
        return warning(name, text, f"ping {slowest.address.rpartition(':')[0]}; see its load: uptime")
    return ok(name, text)


def superuser_logins(f: NodeFacts) -> Finding:
    return _logins(f, "superuser")


def replication_logins(f: NodeFacts) -> Finding:
    return _logins(f, "replication")


def rewind_logins(f: NodeFacts) -> Finding:
    return _logins(f, "rewind")


def _logins(f: NodeFacts, role: str) -> Finding:
    name = f"{role}-logins"
    tried = [one for one in f.logins if one.role == role]
    refused = [one for one in tried if one.why]
    if f.snapshot is None:
        return unknown(name, "whom to try is not known, see `etcd-from-here`")
    if refused:
        text = "; ".join(f"{one.user} at {one.peer}: {one.why}" for one in refused)
        mend = f"set postgresql.authentication.{role} alike on all nodes, and let it in from {f.me.host} in pg_hba"
        return problem(name, text, mend)
    strange = [one for one in tried if one.system_id and f.snapshot.initialize not in ("", None, one.system_id)]
    if strange:
        text = "; ".join(f"{one.peer} answers as system {one.system_id}" for one in strange)
        return problem(name, f"{text}, the cluster is {f.snapshot.initialize}", "mend connect_address of that node")
    return ok(name, f"let in at {', '.join(one.peer for one in tried) or 'no other member, as there is none'}")


def etcd_from_here(f: NodeFacts) -> Finding:
    v, name = f.view, "etcd-from-here"
    mend = "etcdctl endpoint health --cluster, from this machine"
    if f.snapshot is None:
        return problem(name, f.dcs or "etcd does not answer", mend)
    if v is None:
        return ok(name, f"it answers; revision {f.snapshot.revision}")
    if v.cluster.silent_since is not None:
        text = f"silent for {v.now - v.cluster.silent_since:.1f} s: {v.cluster.silent_why}"
        return problem(name, text, mend)
    seen_s = v.now - v.cluster.seen_at if v.cluster.seen_at is not None else 0.0
    if v.cluster.seen_at is None or seen_s > v.settings.loop_wait + v.settings.retry_timeout:
        return warning(name, f"last heard {seen_s:.1f} s ago", mend)
    return ok(name, f"last heard {seen_s:.1f} s ago")


def lease(f: NodeFacts) -> Finding:
    v = f.view
    if v is None or not c.holds_term(v):
        return ok("lease", "this node does not lead")
    if not c.leads(v):
        why = v.lease.lost or "its permit has ended"
        return problem("lease", f"term {v.lease.term}: {why}", f"haagent-ctl why {f.me.name}")
    left = (v.lease.permit_until or v.now) - v.now
    age = v.now - v.lease.renewed_at if v.lease.renewed_at is not None else 0.0
    text = f"term {v.lease.term}, renewed {age:.1f} s ago, permit for {left:.1f} s"
    if age > v.timing.renew_every + v.timing.renew_timeout:
        return warning("lease", f"{text}: renewals are late", "see `etcd-latency`, and this machine's load: uptime")
    return ok("lease", text)


CHECKS = (rest_ports, postgres_ports, superuser_logins, replication_logins, rewind_logins, etcd_from_here, lease)
