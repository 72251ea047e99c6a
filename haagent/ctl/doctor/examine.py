"""The whole examination: every agent's report, etcd, and the cluster; and how it is shown."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from haagent.core.health import cluster, etcd
from haagent.core.health.finding import Finding, Verdict, problem, summary, told
from haagent.ctl import output
from haagent.ctl.asked import Asked, asked
from haagent.ctl.doctor.agents import Report, reports
from haagent.ctl.rows import Row
from haagent.ctl.target import Target
from haagent.ports import PortError

KEYS = ("Check", "Verdict", "Member", "Evidence", "Mend")
SURVEY_TIMEOUT_S = 3.0


async def findings(target: Target) -> list[Finding]:
    """All that is found; Failed when etcd does not answer at all."""
    known = await asked(target)
    given, survey = await asyncio.gather(reports(target, known.snapshot.members), _survey(target, known.etcd_s))
    own = [finding for report in given for finding in report.findings]
    return [*cluster.judged(_health(target, known, given)), *survey, *own]


def _health(target: Target, known: Asked, given: list[Report]) -> cluster.ClusterHealth:
    return cluster.ClusterHealth(
        name=target.cluster,
        snapshot=known.snapshot,
        settings=known.settings,
        remarks=known.remarks,
        replies=known.replies,
        alike={one.name: one.alike for one in given if one.alike is not None},
        skews={one.name: one.skew for one in given if one.skew is not None},
        silent={one.name: one.why for one in given if one.why},
        forecast=known.forecast(),
    )


async def _survey(target: Target, read_s: float) -> list[Finding]:
    if target.survey is None:
        return []
    try:
        found = await target.survey(SURVEY_TIMEOUT_S)
    except PortError as error:
        return [problem("etcd-quorum", str(error), "etcdctl endpoint status --cluster")]
    return etcd.judged(replace(found, read_ms=1000 * read_s))


def shown(found: list[Finding], form: str) -> str:
    """As rows for scripts, or in words with what is wrong first."""
    if form == "table":
        return "\n".join([*told(found), summary(found)])
    rows = [_row(one) for one in found]
    if form == "json":
        return output.as_json(rows)
    return output.as_yaml(rows) if form == "yaml" else output.as_tsv(KEYS, rows)


def _row(one: Finding) -> Row:
    row = {
        "Check": one.id,
        "Verdict": one.verdict.value,
        "Member": one.node,
        "Evidence": one.evidence,
        "Mend": one.mend,
    }
    return {key: value for key, value in row.items() if value}


def unwell(found: list[Finding]) -> bool:
    """Whether anything is a problem."""
    return any(one.verdict is Verdict.PROBLEM for one in found)
