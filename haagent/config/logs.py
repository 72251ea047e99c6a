"""Logging as configured, in such a way that no disk or terminal can hold up the event loop.

Law: whoever logs only puts a record into a bounded queue; one thread writes. When the queue is full the record is
dropped and counted, and the count is logged as soon as the writer gets through.
"""

from __future__ import annotations

import contextlib
import copy
import logging
import os
import queue
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from logging.handlers import QueueHandler, QueueListener, RotatingFileHandler
from typing import Any

from pythonjsonlogger.json import JsonFormatter

from haagent.config.fields import Log
from haagent.config.problems import ConfigError, Problem

FILE_NAME = "haagent.log"
REPEATS = logging.getLogger("haagent.loop.repeats")
"""Lines of the loop that only repeat the one before."""
REPEATS.setLevel(logging.WARNING)

_TRACES = logging.Formatter()


def formatter(log: Log) -> logging.Formatter:
    """The formatter of the configured lines; ValueError when the format is none, or names fields that do not exist."""
    names = {} if isinstance(log.format, str) else dict(log.format)
    text = log.format if isinstance(log.format, str) else " ".join(f"%({name})s" for name in names)
    made: logging.Formatter
    if log.type == "json":
        renamed = {name: shown for name, shown in names.items() if name != shown}
        made = JsonFormatter(text, log.dateformat or None, rename_fields=renamed, static_fields=dict(log.static_fields))
    else:
        made = logging.Formatter(text, log.dateformat or None)
    try:
        made.format(logging.makeLogRecord({"msg": "", "levelname": "INFO"}))
    except (KeyError, TypeError) as error:
        raise ValueError(f"no such field of a log record: {error}") from None
    return made


class _File(RotatingFileHandler):
    """A rotating file with the permissions asked for."""

    def __init__(self, path: str, log: Log) -> None:
        self._mode = log.mode
        super().__init__(path, maxBytes=log.file_size, backupCount=log.file_num, encoding="utf-8")

    def _open(self) -> Any:
        stream = super()._open()
        if self._mode is not None:
            os.fchmod(stream.fileno(), self._mode)
        return stream


def _writer(log: Log) -> logging.Handler:
    """What writes the lines; ConfigError when the files cannot be written."""
    try:
        handler = _File(os.path.join(log.dir, FILE_NAME), log) if log.dir else logging.StreamHandler(sys.stderr)
    except OSError as error:
        problem = Problem("log", ("log", "dir"), f"log files cannot be written there: {error.strerror}", log.dir)
        raise ConfigError([problem]) from None
    handler.setFormatter(formatter(log))
    return handler


class _Putter(QueueHandler):
    """Puts records into the queue, complete and detached from their arguments; counts those that find no room."""

    def __init__(self, records: queue.Queue[Any]) -> None:
        super().__init__(records)
        self.dropped = 0
        self.tracebacks = True

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        record = copy.copy(record)
        record.msg, record.args = record.getMessage(), None
        if record.exc_info and self.tracebacks:
            record.exc_text = _TRACES.formatException(record.exc_info)
        elif record.exc_info and record.exc_info[1] is not None:
            record.msg += f" ({type(record.exc_info[1]).__name__}: {record.exc_info[1]})"
        record.exc_info = None
        return record

    def emit(self, record: logging.LogRecord) -> None:
        try:
            prepared = self.prepare(record)
        except (TypeError, ValueError) as error:
            prepared = copy.copy(record)
            prepared.msg, prepared.args, prepared.exc_info = f"{record.msg!r} (not formatted: {error})", None, None
        try:
            self.queue.put_nowait(prepared)
        except queue.Full:
            self.dropped += 1


class _Taker(QueueListener):
    """Writes the queue's records in its own thread, and there alone changes or closes what it writes to."""

    def __init__(self, records: queue.Queue[Any], putter: _Putter, writer: logging.Handler) -> None:
        super().__init__(records, writer)
        self._records, self._putter, self._told = records, putter, 0
        self.replacement: logging.Handler | None = None

    def handle(self, record: logging.LogRecord) -> None:
        replacement, self.replacement = self.replacement, None
        if replacement is not None:
            (old,), self.handlers = self.handlers, (replacement,)
            _close(old)
        missed, self._told = self._putter.dropped - self._told, self._putter.dropped
        if missed:
            text = f"{missed} log lines were dropped because they could not be written fast enough"
            super().handle(logging.makeLogRecord({"msg": text, "levelname": "WARNING", "levelno": logging.WARNING}))
        super().handle(record)

    def end(self, timeout: float) -> None:
        """Let the thread write what is queued, for so long at most (seconds)."""
        thread = self._thread
        if thread is None:
            return
        try:
            self._records.put(None, timeout=timeout)
        except queue.Full:
            return
        thread.join(timeout)
        if not thread.is_alive():
            for handler in self.handlers:
                _close(handler)


def _close(handler: logging.Handler) -> None:
    """What is left in the buffer of a file whose disk is full is lost: nobody can be told of it."""
    with contextlib.suppress(OSError):
        handler.close()


class Logs:
    """The process's logging, from construction until ``stop``."""

    def __init__(self, log: Log) -> None:
        self._records: queue.Queue[Any] = queue.Queue(log.max_queue_size)
        self._putter = _Putter(self._records)
        self._taker = _Taker(self._records, self._putter, _writer(log))
        self._levels: Mapping[str, str] = {}
        self._taker.start()
        logging.captureWarnings(True)
        root = logging.getLogger()
        for handler in list(root.handlers):
            root.removeHandler(handler)
        root.addHandler(self._putter)
        self._set(log)

    @property
    def dropped(self) -> int:
        """Records lost so far for want of room in the queue."""
        return self._putter.dropped

    def apply(self, log: Log) -> None:
        """Go on as newly configured, from the next line; ConfigError when that cannot be, and nothing changes."""
        self._taker.replacement = _writer(log)
        self._records.maxsize = log.max_queue_size
        self._set(log)

    def stop(self, timeout: float = 2.0) -> None:
        """Write what is queued, for so long at most (seconds), and log no more."""
        logging.getLogger().removeHandler(self._putter)
        self._taker.end(timeout)

    def _set(self, log: Log) -> None:
        root = logging.getLogger()
        root.setLevel(log.level)
        self._putter.tracebacks = root.level <= logging.getLevelNamesMapping()[log.traceback_level]
        REPEATS.setLevel(logging.WARNING if log.deduplicate_heartbeat_logs else logging.NOTSET)
        for name in self._levels.keys() - log.loggers.keys():
            logging.getLogger(name).setLevel(logging.NOTSET)
        for name, level in log.loggers.items():
            logging.getLogger(name).setLevel(level)
        self._levels = dict(log.loggers)


@contextmanager
def set_up_logging(log: Log) -> Iterator[Logs]:
    """Log as configured for as long as the block runs."""
    logs = Logs(log)
    try:
        yield logs
    finally:
        logs.stop()
