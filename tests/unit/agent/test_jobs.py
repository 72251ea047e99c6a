"""The one long job: whatever its end, it is seen."""

from __future__ import annotations

import asyncio
import logging

import pytest

from haagent.agent.jobs import Jobs, Report
from haagent.core.facts import Failure, JobFacts
from haagent.ports import Refused, Unknown, Unreachable
from tests.unit.agent.test_keeper import FakeClock


async def ended(work_fails_with: BaseException | None) -> tuple[JobFacts, list[str]]:
    """The facts of a job that ended so, and for what the loop was woken."""
    woken: list[str] = []
    jobs = Jobs(FakeClock(), woken.append)

    async def work(report: Report) -> int:
        await asyncio.sleep(0)
        if work_fails_with is not None:
            raise work_fails_with
        return 7

    jobs.start("clone", work)
    while (facts := jobs.facts()) is not None and not facts.done:
        await asyncio.sleep(0)
    assert facts is not None
    return facts, woken


async def test_a_job_that_succeeds_hands_its_result_on() -> None:
    facts, woken = await ended(None)
    assert (facts.error, facts.result, woken) == (None, 7, ["clone ended"])


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        (Refused("no"), Failure.REFUSED),
        (Unknown("who knows"), Failure.UNKNOWN),
        (Unreachable("nobody there"), Failure.UNREACHABLE),
    ],
)
async def test_a_job_that_fails_says_why_and_how(error: Exception, failure: Failure) -> None:
    facts, woken = await ended(error)
    assert (facts.error, facts.failure, woken) == (str(error), failure, ["clone ended"])


async def test_a_job_with_an_error_of_its_own_ends_too(caplog: pytest.LogCaptureFixture) -> None:
    """Else its node would wait for it for ever."""
    with caplog.at_level(logging.ERROR):
        facts, woken = await ended(KeyError("timeline"))
    assert facts.done
    assert "KeyError" in (facts.error or "")
    assert woken == ["clone ended"]
    assert "failed in the agent itself" in caplog.text


async def test_only_one_job_runs_at_a_time_and_a_cancelled_one_ends() -> None:
    jobs = Jobs(FakeClock(), lambda reason: None)

    async def for_ever(report: Report) -> None:
        await asyncio.Event().wait()

    jobs.start("clone", for_ever)
    await asyncio.sleep(0)
    with pytest.raises(Refused, match="clone"):
        jobs.start("rewind", for_ever)
    await jobs.cancel()
    facts = jobs.facts()
    assert facts is not None
    assert (facts.done, facts.error) == (True, "it was cancelled")
