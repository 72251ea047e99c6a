"""What the present stop is for."""

from __future__ import annotations

from haagent.core.facts import Goal, View


def handing_over(v: View) -> bool:
    return v.memory.goal in (Goal.HANDOVER, Goal.LEASE, Goal.SWITCHOVER, Goal.SHUTDOWN)


def stopping_fast(v: View) -> bool:
    return v.memory.stop_mode == "fast"
