"""``haagent-ctl why``: the last changes of role in plain words, from the journals of all agents that answer."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from haagent.core.facts import Member
from haagent.ctl import output, story
from haagent.ctl.rows import Row
from haagent.ctl.story import DOWN, FAILED, PRIMARY, STANDBY, WAITED, Event, Record, part
from haagent.ctl.target import Failed, Target
from haagent.ctl.words import duration, items, knew
from haagent.rest.client import RequestError

RECORDS = 1000
KEYS = ("Time", "Node", "Event", "Term", "Row", "Reason", "Took", "Without primary", "Asked by", "Known")
STEPS_SHOWN = 12
INDENT = 4


async def role_changes(target: Target, node: str | None, last: int, form: str) -> tuple[str, list[str]]:
    """What to print, and what to say about nodes that told nothing; Failed when none did."""
    journals, silent = await _journals(target)
    if node is not None and node not in journals:
        known = ", ".join(sorted(journals)) or "none"
        reason = next((text for text in silent if text.startswith(f"{node}: ")), f"{node} is no member")
        raise Failed(f"{reason}; those that answered: {known}")
    if not journals:
        raise Failed("no agent told its journal: " + "; ".join(silent))
    told = story.events(journals)
    told = story.of_the_cluster(told) if node is None else [one for one in told if one.node == node]
    return rendered(told[-last:], target.cluster, node, form), silent


async def _journals(target: Target) -> tuple[dict[str, Sequence[Record]], list[str]]:
    snapshot = await target.existing()
    members = sorted(snapshot.members, key=lambda m: m.name)
    answers = await asyncio.gather(*(_journal(target, member) for member in members))
    told: dict[str, Sequence[Record]]
    told = {m.name: found for m, found in zip(members, answers, strict=True) if not isinstance(found, str)}
    return told, [f"{m.name}: {text}" for m, text in zip(members, answers, strict=True) if isinstance(text, str)]


async def _journal(target: Target, member: Member) -> list[Record] | str:
    """A member's records, or why there are none."""
    try:
        answer = await target.ask("GET", member, f"/haagent/journal?limit={RECORDS}")
    except RequestError as error:
        return f"no answer: {error}"
    if not answer.ok or not isinstance(answer.document, list):
        return f"its agent keeps no journal (HTTP {answer.status}); a Patroni member does not"
    return [record for record in answer.document if isinstance(record, Mapping)]


# --- rows for scripts, words for people ---


def rendered(told: Sequence[Event], cluster: str, node: str | None, form: str) -> str:
    if form == "json":
        return output.as_json([_row(one) | {"Steps": [dict(step) for step in one.steps]} for one in told])
    if form == "yaml":
        return output.as_yaml([_row(one) for one in told])
    if form == "tsv":
        return output.as_tsv(KEYS, [row | {"Known": "; ".join(row["Known"])} for row in map(_row, told)])
    whose = f"node {node} of cluster {cluster}" if node else f"cluster {cluster}"
    if not told:
        return f"The journals tell of no change of role in {whose}."
    head = f"The last {len(told)} changes of role in {whose}, oldest first; each time by its node's own clock."
    return "\n\n".join([head, *map(_told, told)])


def _row(event: Event) -> Row:
    """One line for scripts; a key that does not apply is absent."""
    step = event.steps[-1]
    gap = event.gap_s if event.gap_s is not None else event.unheard_s
    row: Row = {
        "Time": event.at.isoformat(),
        "Node": event.node,
        "Event": headline(event),
        "Term": step.get("term"),
        "Row": step.get("row"),
        "Reason": str(_reason(event).get("why", "")),
        "Took": round(event.took_s, 3),
        "Without primary": None if gap is None else round(gap, 3),
        "Asked by": None if event.asked is None else asked_by(event.asked),
        "Known": knew(part(event.decisive, "known")),
    }
    return {key: value for key, value in row.items() if value is not None}


def headline(event: Event) -> str:
    """What happened, in a few words without the node's name."""
    if event.role == WAITED:
        return "stood by while nobody led"
    if event.anew and event.role == event.before:
        return f"went on as {event.role} under a new agent"
    if event.anew and event.before == PRIMARY:
        return "was found to be no primary any more by its new agent"
    if event.before == event.role == PRIMARY:
        return "is primary again"
    if event.before == PRIMARY:
        return "stopped being primary"
    if event.before is None and event.anew:
        return f"began as {event.steps[-1].get('to')}"
    if event.role == DOWN:
        return "gave its promotion up" if event.tried else "took its PostgreSQL down"
    return {PRIMARY: "became primary", STANDBY: "became a standby", FAILED: "needs an operator"}[event.role]


def _told(event: Event) -> str:
    moment = event.at.astimezone().isoformat(" ", "milliseconds")
    lines = [f"{moment}  {event.node} {headline(event)}"]
    steps = event.steps[-STEPS_SHOWN:]
    if len(steps) == 1:
        lines.append(_line("why", _why(event, steps[0])))
    for step in steps if len(steps) > 1 else ():
        since = (story.at(step) - story.at(event.steps[0])).total_seconds()
        lines.append(_line("why" if step is steps[0] else "", f"{since:+.2f} s  {_why(event, step)}"))
    lines += [_line("known" if first else "", text) for first, text in _numbered(knew(part(event.decisive, "known")))]
    lasted = event.steps[0].get("lasted_s")
    if event.before in (PRIMARY, STANDBY) and isinstance(lasted, int | float) and event.role != WAITED:
        lines.append(_line("before", f"{event.before} for {duration(lasted)}"))
    failures = [text for step in event.steps for text in failed(step)]
    lines += [_line("failed" if first else "", text) for first, text in _numbered(failures[-STEPS_SHOWN:])]
    if event.gap_s is not None:
        lines.append(_line("gap", f"{event.gap_s:.1f} s without a primary, by the clocks of the nodes concerned"))
    elif event.unheard_s is not None:
        lines.append(_line("gap", f"{event.unheard_s:.1f} s after the last sign of the former primary"))
    if event.asked is not None:
        lines.append(_line("asked by", asked_by(event.asked)))
    return "\n".join(lines)


def _numbered(texts: Sequence[str]) -> list[tuple[bool, str]]:
    return [(number == 0, text) for number, text in enumerate(texts)]


def _line(name: str, text: str) -> str:
    return f"{' ' * INDENT}{name:<9} {text}"


def _why(event: Event, step: Record) -> str:
    if step.get("kind") == "began":
        silently = "; the one before had ended without a word" if event.before == PRIMARY else ""
        return f"its agent (version {step.get('agent', '?')}) began{silently}"
    again = f", {step['repeated']} times more before" if step.get("repeated") else ""
    return f"{step.get('why', '')} [row {step.get('row', '?')}{again}]"


def _reason(event: Event) -> Record:
    """The step that says why: for a promotion what began it, else what ended the role."""
    told = [step for step in event.steps if step.get("kind") != "began"]
    return event.decisive if event.role == PRIMARY else (told or event.steps)[0]


def asked_by(request: Record) -> str:
    """Who asked what, and where."""
    asked = {name: value for name, value in part(request, "asked").items() if value is not None}
    what = f"{request.get('kind')} ({', '.join(f'{name} {value}' for name, value in asked.items())})"
    if "id" not in request:
        return f"{what}, by a request that no journal tells of"
    return f"{request.get('origin', 'unknown')}, {what}, request {request['id']} to {request.get('node')}"


def failed(step: Record) -> list[str]:
    """What of a step could not be done, and what was therefore not tried."""
    texts = [
        f"{one.get('action')} {one['failure']}: {one.get('detail', '')}"
        for one in items(step, "outcomes")
        if isinstance(one, Mapping) and "failure" in one and one.get("action") != "PublishMember"
    ]
    left_out = items(step, "not_done")
    if texts and left_out:
        texts[-1] += f"; not tried after that: {', '.join(map(str, left_out))}"
    return texts
