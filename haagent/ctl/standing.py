"""``haagent-ctl explain``: which row of the table holds each node now, whether it may lead, and what changes that."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from haagent.core.facts import Member
from haagent.core.terms import Lsn
from haagent.ctl import output
from haagent.ctl.rows import Row
from haagent.ctl.story import part
from haagent.ctl.target import Failed, Target
from haagent.ctl.words import duration, items

KEYS = ("Member", "State", "Seconds", "Row", "Reason", "PostgreSQL", "May lead", "To change it", "Protected by")
_WORDS = {
    "PostgreSQL": "PostgreSQL",
    "May lead": "may it lead",
    "To change it": "to change it",
    "Protected by": "protected by",
}


async def standings(target: Target, node: str | None, form: str) -> str:
    """Every node, or one; Failed when that one cannot be asked."""
    snapshot = await target.existing()
    members = [m for m in sorted(snapshot.members, key=lambda m: m.name) if node in (None, m.name)]
    if not members:
        raise Failed(f"{node} is no member of cluster {target.cluster}")
    answers = await asyncio.gather(*(target.status(member) for member in members))
    if node is not None and answers[0] is None:
        raise Failed(f"the agent of {node} does not answer at {members[0].api_url or 'no address'}; {_alone(node)}")
    rows = [_row(member, answer) for member, answer in zip(members, answers, strict=True)]
    if form == "json":
        return output.as_json(rows)
    if form == "yaml":
        return output.as_yaml(rows)
    return output.as_tsv(KEYS, rows) if form == "tsv" else "\n\n".join(map(_told, rows))


def _alone(node: str) -> str:
    return f"is it running? haagent-ctl why tells what the others saw of {node}"


def _row(member: Member, answer: Mapping[str, Any] | None) -> Row:
    if answer is None:
        return {"Member": member.name, "State": "unknown", "Reason": "its agent does not answer"}
    own = part(answer, "haagent")
    if not own:
        return {"Member": member.name, "State": str(answer.get("state")), "Reason": "a Patroni member tells no more"}
    row: Row = {
        "Member": member.name,
        "State": own.get("state"),
        "Seconds": own.get("since_s"),
        "Row": own.get("row"),
        "Reason": own.get("why"),
        "PostgreSQL": _postgres(answer),
        "May lead": _may_lead(own),
        "To change it": own.get("advice"),
        "Protected by": ", ".join(map(str, items(own, "protection"))) or "nothing",
    }
    return {key: value for key, value in row.items() if value is not None}


def _may_lead(own: Mapping[str, Any]) -> str:
    if "permit_s" in own:
        others = items(part(own, "failsafe"), "consent") if "vouched_s" in part(own, "failsafe") else []
        by = f" by the promises of {', '.join(map(str, others))} (failsafe mode)" if others else ""
        return f"it leads, in term {own.get('term')}; its permit runs for {own['permit_s']} s more{by}"
    if own.get("state") == "primary":
        return f"it leads, in term {own.get('term')}"
    return f"no: {own['not_eligible']}" if "not_eligible" in own else "yes"


def _postgres(answer: Mapping[str, Any]) -> str:
    xlog = part(answer, "xlog")
    words = [str(answer.get("state")), str(answer.get("replication_state") or answer.get("role"))]
    if "timeline" in answer:
        words.append(f"timeline {answer['timeline']}")
    for name, what in (("location", "written"), ("received_location", "received"), ("replayed_location", "replayed")):
        position = xlog.get(name)
        if isinstance(position, int):
            words.append(f"{what} up to {Lsn(position)}")
    return ", ".join(words)


def _told(row: Row) -> str:
    lasted = f" for {duration(row['Seconds'])}" if isinstance(row.get("Seconds"), int | float) else ""
    cited = f" [row {row['Row']}]" if "Row" in row else ""
    lines = [f"{row['Member']}: {row['State']}{lasted}", f"    because       {row['Reason']}{cited}"]
    lines += [f"    {words:<13} {row[key]}" for key, words in _WORDS.items() if key in row]
    return "\n".join(lines)
