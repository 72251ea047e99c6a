"""The journal's file: appended, rotated, read again, and never waited for."""

from __future__ import annotations

import json
import os
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from haagent.host import journal as module
from haagent.host.journal import KEPT_FILES, KEPT_IN_MEMORY, FileJournal, Recent, read


def a_record(number: int, **more: Any) -> dict[str, Any]:
    return {"id": f"r-{number}", "at": "2026-01-01T00:00:00+00:00", "node": "a", "kind": "change"} | more


def an_outcome(of: int, **more: Any) -> dict[str, Any]:
    return {
        "id": f"o-{of}",
        "kind": "outcome",
        "of": f"r-{of}",
        "took_s": 0.5,
        "outcomes": [{"action": "Promote"}],
    } | more


@contextmanager
def running(directory: Path, **options: Any) -> Iterator[FileJournal]:
    journal = FileJournal(directory, **options)
    journal.start()
    try:
        yield journal
    finally:
        journal.close(5.0)


def on_disk(path: Path) -> list[dict[str, Any]]:
    return list(read(path.read_text().splitlines()))


def recent(journal: FileJournal, limit: int = KEPT_IN_MEMORY) -> list[dict[str, Any]]:
    found = json.loads(journal.recent(limit))
    assert isinstance(found, list)
    return found


def eventually(holds: Callable[[], bool]) -> None:
    until = time.monotonic() + 5.0
    while not holds():
        assert time.monotonic() < until, "it did not come about within 5 s"
        time.sleep(0.005)


def test_records_are_appended_as_lines_that_only_the_owner_reads(tmp_path: Path) -> None:
    with running(tmp_path) as journal:
        journal.add(a_record(1, why="Grüße"))
        journal.add(a_record(2))
    assert [record["id"] for record in on_disk(journal.path)] == ["r-1", "r-2"]
    assert on_disk(journal.path)[0]["why"] == "Grüße"
    assert stat.S_IMODE(journal.path.stat().st_mode) == 0o600
    assert journal.lost == 0


def test_a_file_that_others_could_read_is_closed_to_them(tmp_path: Path) -> None:
    (tmp_path / module.NAME).touch(0o644)
    with running(tmp_path) as journal:
        journal.add(a_record(1))
    assert stat.S_IMODE(journal.path.stat().st_mode) == 0o600


def test_an_outcome_becomes_part_of_its_decision_in_memory_and_stays_a_line_on_disk(tmp_path: Path) -> None:
    with running(tmp_path) as journal:
        journal.add(a_record(1))
        journal.add(a_record(2))
        journal.add(an_outcome(1, not_done=["Checkpoint"]))
    assert [record["id"] for record in recent(journal)] == ["r-1", "r-2"]
    assert recent(journal)[0] == a_record(1, took_s=0.5, outcomes=[{"action": "Promote"}], not_done=["Checkpoint"])
    assert len(on_disk(journal.path)) == 3


def test_the_next_agent_knows_what_the_last_one_decided(tmp_path: Path) -> None:
    with running(tmp_path) as journal:
        journal.add(a_record(1))
        journal.add(an_outcome(1))
    with running(tmp_path) as second:
        second.add(a_record(2))
        eventually(lambda: len(recent(second)) == 2)
    found = recent(second)
    assert [record["id"] for record in found] == ["r-1", "r-2"]
    assert found[0]["took_s"] == 0.5


def test_a_torn_line_costs_itself_only(tmp_path: Path) -> None:
    path = tmp_path / module.NAME
    path.write_text(json.dumps(a_record(1)) + '\n[1]\nnull\n{"id": "r-2", "ki')
    with running(tmp_path) as journal:
        journal.add(a_record(3))
        eventually(lambda: len(recent(journal)) == 2)
    assert [record["id"] for record in on_disk(path)] == ["r-1", "r-3"]


def written(path: Path) -> str:
    """What the file holds; nothing while the thread that writes it puts another in its place."""
    try:
        return path.read_text()
    except FileNotFoundError:
        return ""


def test_full_files_are_rotated_and_the_oldest_goes(tmp_path: Path) -> None:
    with running(tmp_path, file_bytes=500) as journal:
        for number in range(60):
            journal.add(a_record(number))
            eventually(lambda n=number: f'"r-{n}"' in written(journal.path))  # type: ignore[misc]
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [module.NAME, *(f"{module.NAME}.{number}" for number in range(1, KEPT_FILES + 1))]
    assert all(path.stat().st_size < 700 for path in tmp_path.iterdir())
    with running(tmp_path) as second:
        eventually(lambda: len(recent(second)) > 4)
        numbers = [int(record["id"][2:]) for record in recent(second)]
    assert numbers == list(range(numbers[0], 60)), "the last two files are read in order"


def test_memory_is_bounded() -> None:
    kept = Recent(most=10)
    for number in range(25):
        kept.add(a_record(number))
    assert [record["id"] for record in json.loads(kept.as_json(100))] == [f"r-{n}" for n in range(15, 25)]
    assert [record["id"] for record in json.loads(kept.as_json(2))] == ["r-23", "r-24"]


def test_what_is_read_late_has_no_room_beyond_the_bound() -> None:
    kept = Recent(most=10)
    for number in range(20, 28):
        kept.add(a_record(number))
    kept.put_before(a_record(number) for number in range(20))
    assert [record["id"] for record in json.loads(kept.as_json(100))] == [f"r-{n}" for n in range(18, 28)]


def test_an_answer_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ANSWER_BYTES", 500)
    kept = Recent()
    for number in range(25):
        kept.add(a_record(number))
    answer = kept.as_json(100)
    assert len(answer) <= 502
    assert json.loads(answer)[-1]["id"] == "r-24"


def test_what_json_cannot_hold_is_refused_at_once(tmp_path: Path) -> None:
    with running(tmp_path) as journal:
        with pytest.raises(ValueError, match="not JSON compliant"):
            journal.add(a_record(1, permit_s=float("inf")))
        journal.add(a_record(2))
    assert [record["id"] for record in recent(journal)] == ["r-2"]


def test_a_full_disk_drops_and_counts_and_says_so_once_it_takes_lines_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    written = os.write
    full = True

    def write(descriptor: int, data: bytes | memoryview) -> int:
        if full:
            written(descriptor, bytes(data[:7]))
            raise OSError(28, "No space left on device")
        return written(descriptor, data)

    monkeypatch.setattr(os, "write", write)
    with running(tmp_path) as journal:
        for number in range(5):
            journal.add(a_record(number))
            eventually(lambda n=number: journal.lost == n + 1)  # type: ignore[misc]
        assert [record["id"] for record in recent(journal)] == [f"r-{n}" for n in range(5)], "memory keeps them"
        full = False
        journal.add(a_record(9))
    lost, last = on_disk(journal.path)
    assert (lost["kind"], lost["count"]) == ("lost", 5)
    assert last["id"] == "r-9"
    assert caplog.text.count("can't be written") == 1
    assert "5 decisions before this one could not be written" in caplog.text


def test_fault_50_a_hanging_disk_holds_nobody_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hangs = threading.Event()
    real = os.open

    def never(path: Any, *rest: Any, **named: Any) -> int:
        if str(path).endswith(module.NAME):
            hangs.wait(10.0)
        return real(path, *rest, **named)

    monkeypatch.setattr(os, "open", never)
    with running(tmp_path, queued=10) as journal:
        began = time.monotonic()
        for number in range(500):
            journal.add(a_record(number))
        assert time.monotonic() - began < 1.0
        assert journal.lost >= 480
        assert len(recent(journal)) == 500
        began = time.monotonic()
        journal.close(0.1)
        assert time.monotonic() - began < 1.0
        hangs.set()
        eventually(journal.path.exists)


def test_a_state_directory_that_went_is_counted(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    with running(gone) as journal:
        journal.add(a_record(1))
        eventually(lambda: journal.lost == 1)
        gone.mkdir()
        journal.add(a_record(2))
    assert [record["kind"] for record in on_disk(journal.path)] == ["lost", "change"]
