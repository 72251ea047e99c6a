"""What the agent and its operators are about."""

from __future__ import annotations

from haagent.core.durations import parse_seconds
from haagent.core.facts import IMMOVABLE, Pending, View


def stopping(v: View) -> bool:
    return v.stopping


def paused(v: View) -> bool:
    return v.settings.pause


def waiting(v: View) -> bool:
    """A retry is due later."""
    return v.now < v.memory.retry_at


def standing_back(v: View) -> bool:
    return v.now < v.memory.stand_back_until


def _pending(v: View, kind: str) -> Pending | None:
    return next((p for p in v.memory.pending if p.intent.kind == kind and not p.phase), None)


def restart_asked(v: View) -> bool:
    return _pending(v, "restart") is not None


def immovable(v: View) -> bool:
    """The data directory could not be moved aside, nor will it be at the next try."""
    return any(o.action == "MoveAside" and o.result == IMMOVABLE for o in v.outcomes)


def reinit_asked(v: View) -> bool:
    return _pending(v, "reinitialize") is not None


def restart_overdue(v: View, one: Pending) -> bool:
    """A restart has taken longer than the operator allowed for it."""
    allowed = one.intent.body.get("timeout") if one.intent.kind == "restart" else None
    return allowed is not None and v.now - one.intent.received_at >= parse_seconds(allowed)


def just_begun(v: View) -> bool:
    """The agent has not settled on what it found at its start."""
    return not v.memory.begun
