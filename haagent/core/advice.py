"""What keeps a node from leading, and the command that changes it: words for operators, no ground for decisions."""

from __future__ import annotations

from haagent.core import conditions as c
from haagent.core import failsafe, stray, synchrony
from haagent.core.facts import DataKind, View
from haagent.core.states import State


def not_eligible(v: View) -> str | None:
    """Why this node may not lead now, with numbers; None when it may, or does."""
    return None if c.leads(v) else c.why_not_me(v)


def advice(v: View) -> str:
    """The command that changes whether this node leads; where no command does, what would."""
    here = f"{v.me.scope} {v.me.name}"
    if v.state is State.FAILED:
        return _for_failed(v, here)
    if v.snapshot is None:
        return "etcdctl endpoint health --cluster, and bring etcd back: without it nobody becomes leader"
    if c.leads(v):
        return f"haagent-ctl switchover {v.me.scope} --leader {v.me.name}, to have another node lead"
    return _for_barred(v, here) or f"haagent-ctl switchover {v.me.scope} --candidate {v.me.name}, to have it lead"


def _for_failed(v: View, here: str) -> str:
    if v.postgres.data.kind is DataKind.UNREADABLE:
        return "move the data directory away by hand: the agent then takes a new copy"
    return f"haagent-ctl reinit {here} --wait, for a new copy; the present directory is moved aside"


def _for_barred(v: View, here: str) -> str | None:
    """What lifts the first thing that ``conditions.why_not_me`` objects to, in its order; None when nothing bars."""
    asked = c.asked_to_lead(v)
    if not c.fence_allows(v):
        if v.fence.installed:
            return f"haagent-ctl restart {here}: PostgreSQL loads the commit fence when it is started"
        return (
            "install the commit fence for this PostgreSQL (make -C fence install), or write postgresql.commit_fence: "
            "auto into its file; then start its agent anew (within the ttl: no failover)"
        )
    if not c.watchdog_allows(v):
        return (
            f"mend the device, or write watchdog.mode: automatic into this node's file, then haagent-ctl reload {here}"
        )
    if v.settings.pause and not asked:
        return f"haagent-ctl resume {v.me.scope}"
    if v.now < v.memory.stand_back_until:
        return "nothing: it may lead again by itself after that time"
    if c.promise_objection(v) is not None:
        return "nothing: it may lead again by itself after that time, or is asked anew to wait"
    if failsafe.left_out(v) is not None:
        return f"nothing, while a leader can come back; else etcdctl del NAMESPACE/{v.me.scope}/failsafe"
    if (stray.objection(v) or synchrony.objection(v)) is not None:
        return f"haagent-ctl failover {v.me.scope} --candidate {v.me.name}, which gives up what it lacks"
    return _for_unfit(v, here)


def _for_unfit(v: View, here: str) -> str | None:
    if c.why_not_me(v) is None:
        return None
    tags, own = v.me.tags, c.own_contender(v)
    if not own.fit:
        return f"haagent-ctl why {v.me.name}, and the log of its agent, say what became of its PostgreSQL"
    if not tags.may_lead:
        name = "nofailover" if tags.nofailover else "failover_priority"
        return f"take tags.{name} out of its file, then haagent-ctl reload {here}"
    behind = int(c.optime(v)) - int(own.lsn)
    if 0 <= v.settings.maximum_lag_on_failover < behind:
        return (
            f"haagent-ctl edit-config {v.me.scope} -s maximum_lag_on_failover={behind}, which may lose that many "
            "bytes of WAL at a failover"
        )
    if v.snapshot is not None and v.snapshot.failover is not None and not v.snapshot.failover.empty:
        return f"haagent-ctl flush {v.me.scope} switchover, to withdraw the request"
    return f"haagent-ctl why {v.me.name} tells more"
