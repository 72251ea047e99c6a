"""``haagent-ctl whatif``: who takes over if the leader dies now, what is lost, and how long nobody writes."""

from __future__ import annotations

from typing import Any

from haagent.core.forecast import Candidate, Fault, Forecast
from haagent.ctl import output
from haagent.ctl.asked import asked
from haagent.ctl.rows import Row
from haagent.ctl.target import Failed, Target

KEYS = ("Fault", "Takes over", "Seconds", "Lost bytes", "Then")


async def foreseen(target: Target, form: str) -> str:
    """The forecast of one cluster; Failed when nobody leads."""
    found = (await asked(target)).forecast()
    if found is None:
        raise Failed(f"nobody leads cluster {target.cluster} now. haagent-ctl explain says why")
    if form == "json":
        return output.as_json(_document(found))
    if form == "yaml":
        return output.as_yaml(_document(found))
    if form == "tsv":
        return output.as_tsv(KEYS, [_row(one, found) for one in found.faults])
    return _told(found)


def _document(found: Forecast) -> dict[str, Any]:
    return {
        "Leader": found.leader,
        "LSN": str(found.lsn),
        "Candidates": [_candidate(one) for one in found.candidates],
        "Faults": [
            _row(one, found) | {"Parts": {part.what: round(part.seconds, 2) for part in one.parts}}
            for one in found.faults
        ],
    }


def _candidate(one: Candidate) -> Row:
    row: Row = {"Member": one.name, "Takes over": one.wins, "Objection": one.objection}
    row |= {"LSN": str(one.lsn) if one.lsn else None, "Behind bytes": one.behind, "Lost bytes": one.lost}
    return {key: value for key, value in row.items() if value is not None}


def _row(one: Fault, found: Forecast) -> Row:
    takes = next((candidate for candidate in found.candidates if candidate.name == one.taker), None)
    seconds = None if one.seconds is None else round(one.seconds, 2)
    row = {"Fault": one.id, "Takes over": one.taker, "Seconds": seconds, "Then": one.then}
    row |= {"Lost bytes": takes.lost if takes else None}
    return {key: value for key, value in row.items() if value is not None}


def _told(found: Forecast) -> str:
    lines = [f"{found.leader} leads, its WAL reaches {found.lsn}. If it were lost now:"]
    lines += [f"  {_standing(one)}" for one in sorted(found.candidates, key=lambda one: (not one.wins, one.name))]
    if not found.candidates:
        lines.append("  there is no other member: nobody could take over")
    for one in found.faults:
        lines += ["", f"{one.what}: {_outage(one, found.leader)}", f"    {one.then}"]
        lines += [f"    {part.seconds:6.1f} s  {part.what}" for part in one.parts]
    lines += [
        "",
        "Seconds are the worst case by the settings; etcd answering as now, 1 s for a promotion and 50 MB/s of",
    ]
    return "\n".join([*lines, "replay are assumed. Bytes are as of now: an asynchronous standby lags more under load."])


def _standing(one: Candidate) -> str:
    if one.objection is not None:
        return f"{one.name} could not: {one.objection}"
    verb = "takes over" if one.wins else "could"
    if one.acknowledged:
        return f"{one.name} {verb}: no acknowledged commit is lost ({one.behind} bytes behind)"
    return (
        f"{one.name} {verb}: up to {one.lost} bytes of WAL are lost" if one.lost else f"{one.name} {verb}: 0 bytes lost"
    )


def _outage(one: Fault, leader: str) -> str:
    if one.endless or one.seconds is None:
        return "nobody writes until it is mended"
    if one.taker == leader:
        return f"{leader} goes on"
    return f"{one.taker} takes over, {one.seconds:.1f} s without a primary at worst"
