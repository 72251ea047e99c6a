"""Child programs end with their deadline or their caller, and keep no secrets of the agent."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from haagent.ports import Refused, Unknown, Unreachable
from haagent.postgres.disk import on_disk
from haagent.postgres.process import identify
from haagent.postgres.programs import clean_environment, run, run_checked, tool_environment


async def test_output_comes_line_by_line_and_progress_too() -> None:
    lines: list[str] = []
    script = r"printf 'one\ntwo\rthree\r\n'; printf 'four' >&2; exit 3"
    ended = await run(("/bin/sh", "-c", script), env={}, timeout=10, on_line=lines.append)
    assert (ended.code, lines) == (3, ["one", "two", "three", "four"])
    assert ended.said == "one | two | three | four"


async def test_a_program_that_is_too_slow_is_killed_with_its_children(tmp_path: Path) -> None:
    script = f"sleep 60 & echo $! > {tmp_path}/pid; echo busy; wait"
    with pytest.raises(Unknown, match=r"did not end within 0.3 s and was killed; its last words: busy"):
        await run(("/bin/sh", "-c", script), env={"PATH": "/usr/bin:/bin"}, timeout=0.3)
    await asyncio.sleep(0.05)
    assert identify(int((tmp_path / "pid").read_text())) is None


async def test_a_cancelled_program_is_gone_before_its_caller_goes_on(tmp_path: Path) -> None:
    pids: list[int] = []

    async def note(pid: int) -> None:
        pids.append(pid)

    running = asyncio.create_task(run(("/bin/sleep", "60"), env={}, on_start=note))
    while not pids:
        await asyncio.sleep(0.01)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert identify(pids[0]) is None


async def test_a_child_in_the_background_does_not_hold_its_caller() -> None:
    started = time.monotonic()
    ended = await run(("/bin/sh", "-c", "sleep 30 & exit 0"), env={"PATH": "/usr/bin:/bin"})
    assert ended.code == 0
    assert time.monotonic() - started < 5


async def test_failures_say_what_ended_how() -> None:
    with pytest.raises(Refused, match=r"sh ended with exit code 2: no space"):
        await run_checked(("/bin/sh", "-c", "echo no space; exit 2"), env={})
    with pytest.raises(Refused, match=r"sh was ended by signal 9: nothing printed"):
        await run_checked(("/bin/sh", "-c", "kill -9 $$"), env={})
    with pytest.raises(Refused, match=r"/no/such cannot be started: No such file"):
        await run(("/no/such",), env={})


def test_children_see_nothing_of_the_agents_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    hidden = ("PATRONI_SUPERUSER_PASSWORD", "HAAGENT_RESTAPI_PASSWORD", "PGPASSWORD", "PGHOST", "PGSSLKEY")
    for name in (*hidden, "PGBACKREST_REPO1_PATH"):
        monkeypatch.setenv(name, "x")
    seen = clean_environment({"PGSERVICEFILE": "/x"})
    assert [name for name in hidden if name in seen] == []
    assert (seen["PGBACKREST_REPO1_PATH"], seen["PGSERVICEFILE"]) == ("x", "/x")
    assert tool_environment()["LC_ALL"] == "C"


async def test_a_dead_disk_costs_no_more_than_the_deadline() -> None:
    started = time.monotonic()
    with pytest.raises(Unreachable, match=r"did not answer within 0.1 s"):
        await on_disk(lambda: time.sleep(2.0), timeout=0.1)
    assert time.monotonic() - started < 1.5


async def test_what_the_system_refuses_is_refused() -> None:
    with pytest.raises(Refused, match="/no/such: No such file or directory"):
        await on_disk(Path("/no/such").stat)
    with pytest.raises(ZeroDivisionError):
        await on_disk(lambda: 1 // 0)
