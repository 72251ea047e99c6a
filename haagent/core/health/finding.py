"""What one check found: a verdict, the evidence with numbers, and the command that mends it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any


class Verdict(Enum):
    """How a check ended."""

    OK = "ok"
    WARNING = "warning"
    """It works, but less well, or not for long, or not in every fault."""
    PROBLEM = "problem"
    """Service, data or failover is in danger now."""
    UNKNOWN = "unknown"
    """It could not be found out; the evidence says why."""


@dataclass(frozen=True, slots=True)
class Finding:
    """``id`` names the check for scripts; ``node`` is empty where the cluster as a whole is meant."""

    id: str
    verdict: Verdict
    evidence: str
    mend: str = ""
    node: str = ""

    def document(self) -> dict[str, Any]:
        """As JSON; what does not apply is absent."""
        found = {"id": self.id, "verdict": self.verdict.value, "evidence": self.evidence}
        return found | ({"mend": self.mend} if self.mend else {}) | ({"node": self.node} if self.node else {})


def ok(name: str, evidence: str) -> Finding:
    return Finding(name, Verdict.OK, evidence)


def warning(name: str, evidence: str, mend: str) -> Finding:
    return Finding(name, Verdict.WARNING, evidence, mend)


def problem(name: str, evidence: str, mend: str) -> Finding:
    return Finding(name, Verdict.PROBLEM, evidence, mend)


def unknown(name: str, evidence: str, mend: str = "") -> Finding:
    return Finding(name, Verdict.UNKNOWN, evidence, mend)


def told(findings: Sequence[Finding]) -> list[str]:
    """For people: what is wrong first, each with its mend; what is well in a few words."""
    order = (Verdict.PROBLEM, Verdict.WARNING, Verdict.UNKNOWN, Verdict.OK)
    lines = []
    for one in sorted(findings, key=lambda one: order.index(one.verdict)):
        where = f"{one.node}: " if one.node else ""
        lines.append(f"{one.verdict.value:<8} {one.id:<22} {where}{one.evidence}")
        if one.mend and one.verdict is not Verdict.OK:
            lines.append(f"{'':<31} mend: {one.mend}")
    return lines


def summary(findings: Sequence[Finding]) -> str:
    """How many there are of each verdict."""
    counts = Counter(one.verdict for one in findings)
    return f"{len(findings)} checks: " + ", ".join(f"{counts[verdict]} {verdict.value}" for verdict in Verdict)


def read(document: object, node: str = "") -> Finding | None:
    """A finding as some agent sent it; None when it is none."""
    if not isinstance(document, Mapping) or document.get("verdict") not in [one.value for one in Verdict]:
        return None
    name, evidence, mend = (str(document.get(key, "")) for key in ("id", "evidence", "mend"))
    return Finding(name, Verdict(document["verdict"]), evidence, mend, node)
