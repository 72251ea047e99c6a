"""Long jobs, and the outcomes of actions."""

from __future__ import annotations

from haagent.core.conditions.words import Condition
from haagent.core.facts import Failure, View


def busy(v: View) -> bool:
    return v.job is not None and not v.job.done


def _ended(v: View, kind: str) -> bool:
    """That job ended, and no row has acted on its end yet."""
    return v.job is not None and v.job.kind == kind and v.job.done and v.job.started_at != v.memory.job_seen


def job_done(kind: str) -> Condition:
    def done(v: View) -> bool:
        return _ended(v, kind) and v.job is not None and v.job.error is None

    done.__name__ = f"{kind} done"
    return done


def job_failed(kind: str) -> Condition:
    def failed(v: View) -> bool:
        return _ended(v, kind) and v.job is not None and v.job.error is not None

    failed.__name__ = f"{kind} failed"
    return failed


def source_away(v: View) -> bool:
    """The last job failed because somebody could not be reached, or did not answer in time."""
    return v.job is not None and v.job.failure in (Failure.UNREACHABLE, Failure.UNKNOWN)


def refused(action: str) -> Condition:
    def was_refused(v: View) -> bool:
        return any(o.action == action and not o.ok for o in v.outcomes)

    was_refused.__name__ = f"{action} failed"
    return was_refused


def campaign_failed(v: View) -> bool:
    """The last try for the leader key came to nothing, at whatever step."""
    return any(o.action in ("EnsureGuard", "Depose", "Campaign") and not o.ok for o in v.outcomes)


def tried_enough(v: View) -> bool:
    """With the try that has just failed it makes three."""
    return v.memory.attempts >= 2


def promote_stuck(v: View) -> bool:
    """PostgreSQL was not told yet, or has not obeyed for a second."""
    at = v.memory.promoted_at
    return at is None or v.now - at >= 1.0 or refused("PutSync")(v) or refused("ClaimTimeline")(v)
