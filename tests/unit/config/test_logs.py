"""Logging as configured, and that it never holds anybody up."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from haagent.config.fields import Log
from haagent.config.logs import FILE_NAME, Logs, formatter, set_up_logging
from haagent.config.problems import ConfigError

LOGGER = logging.getLogger("haagent.test")


@pytest.fixture(autouse=True)
def _root_logger() -> Iterator[None]:
    """The root logger as it was before."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)


def written(tmp_path: Path, say: Any, **log: Any) -> list[str]:
    """The lines that a log file holds after ``say`` was called."""
    with set_up_logging(Log(dir=str(tmp_path), **log)):
        say()
    return (tmp_path / FILE_NAME).read_text(encoding="utf-8").splitlines()


def test_plain_lines(tmp_path: Path) -> None:
    lines = written(
        tmp_path, lambda: LOGGER.info("%s of %d", "one", 2), dateformat="%Y", format="%(asctime)s %(message)s"
    )
    assert lines == [f"{time.strftime('%Y')} one of 2"]


def test_levels_of_all_and_of_single_loggers(tmp_path: Path) -> None:
    def say() -> None:
        LOGGER.info("no")
        LOGGER.warning("yes")
        logging.getLogger("haagent.test.noisy").warning("no")

    lines = written(tmp_path, say, level="WARNING", format="%(message)s", loggers={"haagent.test.noisy": "ERROR"})
    assert lines == ["yes"]


@pytest.mark.parametrize("left_out", [True, False])
def test_the_loop_s_repeated_lines_are_left_out_or_not(tmp_path: Path, left_out: bool) -> None:
    def say() -> None:
        logging.getLogger("haagent.loop.repeats").info("as before")

    assert written(tmp_path, say, deduplicate_heartbeat_logs=left_out, format="%(message)s") == (
        [] if left_out else ["as before"]
    )


def test_json_lines_with_renamed_and_static_fields(tmp_path: Path) -> None:
    fields = (("message", "message"), ("levelname", "level"), ("asctime", "@timestamp"))
    lines = written(
        tmp_path,
        lambda: LOGGER.info("hello", extra={"row": 301}),
        type="json",
        format=fields,
        static_fields={"app": "haagent"},
    )
    line = json.loads(lines[0])
    assert (line["message"], line["level"], line["row"], line["app"]) == ("hello", "INFO", 301, "haagent")
    assert "@timestamp" in line


def fail() -> None:
    try:
        raise KeyError("lost")
    except KeyError:
        LOGGER.exception("failed")


@pytest.mark.parametrize("kind", ["plain", "json"])
def test_tracebacks_are_shown_at_the_usual_level(tmp_path: Path, kind: str) -> None:
    text = "\n".join(written(tmp_path, fail, type=kind))
    assert "Traceback (most recent call last)" in text
    assert "KeyError: 'lost'" in text


def test_tracebacks_are_one_line_above_their_level(tmp_path: Path) -> None:
    lines = written(tmp_path, fail, traceback_level="DEBUG", format="%(message)s")
    assert lines == ["failed (KeyError: 'lost')"]


def test_a_line_that_cannot_be_formatted_is_written_as_it_is(tmp_path: Path) -> None:
    lines = written(tmp_path, lambda: LOGGER.info("%d", "x"), format="%(message)s")
    assert lines[0].startswith("'%d' (not formatted: ")


def test_python_warnings_are_logged(tmp_path: Path) -> None:
    def say() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            logging.captureWarnings(True)
            warnings.warn("careful", stacklevel=1)

    assert "careful" in "\n".join(written(tmp_path, say))


def test_files_rotate_and_have_the_permissions_asked_for(tmp_path: Path) -> None:
    def say() -> None:
        for number in range(20):
            LOGGER.info("line %d of many", number)

    written(tmp_path, say, file_size=100, file_num=2, mode=0o640)
    assert sorted(p.name for p in tmp_path.iterdir()) == [FILE_NAME, f"{FILE_NAME}.1", f"{FILE_NAME}.2"]
    assert {p.stat().st_mode & 0o777 for p in tmp_path.iterdir()} == {0o640}


def test_a_directory_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"log\.dir: found .*; log files cannot be written there: No such file"):
        Logs(Log(dir=str(tmp_path / "none")))


def test_a_reload_changes_where_and_how_it_is_written(tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    logs = Logs(Log(dir=str(tmp_path), format="%(message)s", loggers={"haagent.test.x": "ERROR"}))
    LOGGER.info("old")
    logs.apply(Log(dir=str(tmp_path / "new"), format="new %(message)s", level="ERROR"))
    LOGGER.info("unseen")
    LOGGER.error("seen")
    logs.stop()
    assert (tmp_path / "new" / FILE_NAME).read_text().splitlines()[-1] == "new seen"
    assert logging.getLogger("haagent.test.x").level == logging.NOTSET
    with pytest.raises(ConfigError):
        logs.apply(Log(dir=str(tmp_path / "none")))


def test_a_blocked_writer_holds_nobody_up_and_the_lost_lines_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fault 11: standard error is a pipe that nobody reads."""
    reader, writer = os.pipe()
    with os.fdopen(writer, "w", buffering=1) as blocked:
        monkeypatch.setattr("sys.stderr", blocked)
        logs = Logs(Log(max_queue_size=10, format="%(message)s"))
        LOGGER.info("x" * 200_000)
        started = time.monotonic()
        for number in range(1000):
            LOGGER.info("line %d", number)
        assert time.monotonic() - started < 1.0
        assert logs.dropped >= 980
        logs.stop(timeout=0.1)
        assert time.monotonic() - started < 2.0
        taken = bytearray()
        emptier = threading.Thread(target=lambda: drain(reader, taken))
        emptier.start()
        logs.stop(timeout=5)
    emptier.join(5)
    assert b"log lines were dropped because" in taken
    os.close(reader)


def drain(reader: int, taken: bytearray) -> None:
    while chunk := os.read(reader, 65536):
        taken.extend(chunk)


@pytest.mark.parametrize("text", ["%(nosuch)s", "%(message", "%(levelno)q"])
def test_formats_that_cannot_work_are_found_beforehand(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        formatter(Log(format=text))


def test_the_usual_format_works_for_json_too(tmp_path: Path) -> None:
    line = json.loads(written(tmp_path, lambda: LOGGER.info("hello"), type="json")[0])
    assert (line["levelname"], line["message"]) == ("INFO", "hello")


def test_another_place_is_written_to_though_the_last_is_full(tmp_path: Path) -> None:
    """Fault 50: what stands in the full file's buffer cannot be written when that is closed."""
    full, free = tmp_path / "full", tmp_path / "free"
    full.mkdir()
    free.mkdir()
    (full / FILE_NAME).symlink_to("/dev/full")
    with set_up_logging(Log(dir=str(full))) as logs:
        LOGGER.warning("no room for this")
        time.sleep(0.1)
        logs.apply(Log(dir=str(free)))
        LOGGER.warning("room")
        LOGGER.warning("room again")
    assert "room again" in (free / FILE_NAME).read_text()
