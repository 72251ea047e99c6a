"""The decision journal on this node's disk: JSON lines, appended, rotated; the last ones also in memory.

Law: whoever adds a record only puts it into a bounded queue; one thread reads and writes files. While the disk hangs or
is full, records are dropped and counted, and the count is written as soon as the disk takes it. What is in memory is
not touched by that.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from haagent.core.facts import Document

log = logging.getLogger("haagent.journal")

NAME = "journal.jsonl"
KEPT_IN_MEMORY = 1000
KEPT_FILES = 4
"""Rotated files beside the present one."""
FILE_BYTES = 8 * 1024 * 1024
TAIL_BYTES = 4 * 1024 * 1024
"""How much of the files is read at the start."""
ANSWER_BYTES = 3 * 1024 * 1024
"""How long an answer may become; clients take four megabytes."""
OUTCOME_WITHIN = 50
"""An outcome is looked for among so many records before it."""


@dataclass(slots=True)
class _Entry:
    """A record in memory: its number and its text."""

    id: object
    text: str


def as_line(record: Document) -> str:
    """A record as one line of JSON, in ASCII, without its end of line; ValueError when JSON cannot hold it."""
    return json.dumps(dict(record), separators=(",", ":"), default=str, allow_nan=False)


def read(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    """The records of these lines; what is torn or no record is left out."""
    for line in lines:
        try:
            record = json.loads(line, parse_constant=lambda _: None)
        except (ValueError, RecursionError):
            continue
        if isinstance(record, dict):
            yield record


class Recent:
    """The last records, oldest first; an outcome becomes part of the decision that it is of."""

    def __init__(self, most: int = KEPT_IN_MEMORY) -> None:
        self._entries: deque[_Entry] = deque(maxlen=most)
        self._guard = threading.Lock()

    def add(self, record: Document) -> None:
        """Keep one more."""
        with self._guard:
            _keep(self._entries, record)

    def put_before(self, records: Iterable[Document]) -> None:
        """Keep older ones, as far as there is room for them."""
        earlier: deque[_Entry] = deque(maxlen=self._entries.maxlen)
        for record in records:
            _keep(earlier, record)
        with self._guard:
            room = (self._entries.maxlen or 0) - len(self._entries)
            self._entries.extendleft(list(reversed(earlier))[:room])

    def as_json(self, limit: int) -> bytes:
        """The last so many as a JSON array, fewer if that became too long."""
        with self._guard:
            texts = [entry.text for entry in self._entries]
        chosen: list[str] = []
        size = 0
        for text in reversed(texts[-limit:] if limit > 0 else []):
            size += len(text) + 1
            if size > ANSWER_BYTES:
                break
            chosen.append(text)
        return f"[{','.join(reversed(chosen))}]".encode()


def _keep(entries: deque[_Entry], record: Document) -> None:
    if record.get("kind") != "outcome":
        entries.append(_Entry(record.get("id"), as_line(record)))
        return
    for index in range(len(entries) - 1, max(-1, len(entries) - 1 - OUTCOME_WITHIN), -1):
        if entries[index].id == record.get("of"):
            whole: Mapping[str, Any] = json.loads(entries[index].text)
            told = {key: record[key] for key in ("took_s", "outcomes", "not_done") if key in record}
            entries[index].text = as_line({**whole, **told})
            return


class FileJournal:
    """Implements ``agent.journal.Sink`` with files in the state directory, from ``start`` to ``close``."""

    def __init__(self, state_dir: Path, queued: int = 1000, file_bytes: int = FILE_BYTES) -> None:
        self.path = state_dir / NAME
        self._file_bytes = file_bytes
        self._recent = Recent()
        self._queue: queue.Queue[Document | None] = queue.Queue(queued)
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._crowded_out = self._unwritten = self._told = 0
        self._failing = False
        self._torn = True
        """The file may end within a line: as an earlier agent, or a full disk, left it."""

    @property
    def lost(self) -> int:
        """Records that never reached the disk."""
        return self._crowded_out + self._unwritten

    def start(self) -> None:
        """Read what there is, and begin to write."""
        self._thread.start()

    def add(self, record: Document) -> None:
        """Keep and write a record; never blocks. It must not be changed afterwards."""
        self._recent.add(record)
        try:
            self._queue.put_nowait(record)
        except queue.Full:
            self._crowded_out += 1

    def recent(self, limit: int) -> bytes:
        """The last records, oldest first, as a JSON array."""
        return self._recent.as_json(limit)

    def close(self, timeout: float) -> None:
        """Write what is queued, for so long at most (seconds)."""
        if not self._thread.is_alive():
            return
        try:
            self._queue.put(None, timeout=timeout)
        except queue.Full:
            return
        self._thread.join(timeout)

    # --- in the thread ---

    def _run(self) -> None:
        self._recent.put_before(self._earlier())
        while True:
            batch = [self._queue.get()]
            while not self._queue.empty():
                batch.append(self._queue.get_nowait())
            records = [record for record in batch if record is not None]
            if records:
                self._write(records)
            if len(records) < len(batch):
                return

    def _earlier(self) -> Iterator[dict[str, Any]]:
        """The records of earlier runs, from the end of the last two files."""
        for path in (self._rotated(1), self.path):
            try:
                with path.open("rb") as file:
                    size = file.seek(0, os.SEEK_END)
                    file.seek(max(0, size - TAIL_BYTES))
                    text = file.read(TAIL_BYTES).decode("ascii", "replace")
            except FileNotFoundError:
                continue
            except OSError as why:
                log.warning("%s can't be read (%s): what earlier agents decided is not shown", path, why)
                continue
            yield from read(text.splitlines())

    def _write(self, records: list[Document]) -> None:
        lost = self.lost
        lines = [as_line(record) for record in records]
        if lost > self._told:
            at = {key: records[0].get(key) for key in ("at", "boot_s", "node")}
            lines.insert(0, as_line({**at, "kind": "lost", "count": lost - self._told}))
        try:
            self._rotate_if_full()
            self._append("".join(f"{line}\n" for line in lines).encode())
        except OSError as why:
            self._unwritten += len(records)
            if not self._failing:
                log.warning("%s can't be written (%s): decisions are kept in memory only", self.path, why)
            self._failing = True
            return
        self._failing = False
        if lost > self._told:
            log.warning("%s: %d decisions before this one could not be written", self.path, lost - self._told)
            self._told = lost

    def _append(self, data: bytes) -> None:
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            os.fchmod(descriptor, 0o600)
            # A line that was torn before must not spoil this one; readers skip empty lines.
            rest = memoryview(b"\n" + data if self._torn else data)
            self._torn = True
            while rest:
                rest = rest[os.write(descriptor, rest) :]
            os.fsync(descriptor)
            self._torn = False
        finally:
            os.close(descriptor)

    def _rotate_if_full(self) -> None:
        try:
            if self.path.stat().st_size < self._file_bytes:
                return
        except FileNotFoundError:
            return
        for number in range(KEPT_FILES, 1, -1):
            if self._rotated(number - 1).exists():
                self._rotated(number - 1).replace(self._rotated(number))
        self.path.replace(self._rotated(1))

    def _rotated(self, number: int) -> Path:
        return self.path.with_name(f"{NAME}.{number}")
