"""The control file, read with pg_controldata; the server is neither needed nor touched."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from haagent.core.terms import Lsn, SystemId, Timeline
from haagent.ports import Refused
from haagent.postgres.programs import run, tool_environment, verdict
from haagent.postgres.settings import PostgresSettings

CLEAN = frozenset({"shut down", "shut down in recovery"})

STANDBY_SENSITIVE = {
    "max_connections": "max_connections setting",
    "max_worker_processes": "max_worker_processes setting",
    "max_wal_senders": "max_wal_senders setting",
    "max_prepared_transactions": "max_prepared_xacts setting",
    "max_locks_per_transaction": "max_locks_per_xact setting",
}
"""A hot standby refuses to run with less than the primary has. Source: manual, "Hot Standby"."""


@dataclass(frozen=True, slots=True)
class ControlData:
    """What pg_controldata prints, by its labels, and the few that matter here by name."""

    fields: Mapping[str, str]

    @property
    def system_id(self) -> SystemId:
        return SystemId(self.fields["Database system identifier"])

    @property
    def state(self) -> str:
        return self.fields["Database cluster state"]

    @property
    def clean(self) -> bool:
        """Whether the server was shut down in order."""
        return self.state in CLEAN

    @property
    def checkpoint(self) -> Lsn:
        """Where the latest checkpoint's record starts."""
        return Lsn.parse(self.fields["Latest checkpoint location"])

    @property
    def redo(self) -> Lsn:
        return Lsn.parse(self.fields["Latest checkpoint's REDO location"])

    @property
    def timeline(self) -> Timeline:
        """The newest timeline that the control file knows of: of its checkpoint, or of a standby's replay."""
        checkpoint = int(self.fields["Latest checkpoint's TimeLineID"])
        return Timeline(max(checkpoint, self.min_recovery_timeline))

    @property
    def min_recovery_timeline(self) -> Timeline:
        """On which timeline ``min_recovery`` lies; 0 when there is none."""
        return Timeline(int(self.fields.get("Min recovery ending loc's timeline", "0")))

    @property
    def min_recovery(self) -> Lsn:
        return Lsn.parse(self.fields.get("Minimum recovery ending location", "0/0"))

    @property
    def segment_bytes(self) -> int:
        return int(self.fields["Bytes per WAL segment"])

    @property
    def can_rewind(self) -> bool:
        """Whether changed blocks can be told: hint bits in WAL, or checksums."""
        hints = self.fields.get("wal_log_hints setting") == "on"
        return hints or self.fields.get("Data page checksum version", "0") != "0"

    def least(self, parameter: str) -> int:
        """The least value of a standby-sensitive parameter that a standby may start with."""
        return int(self.fields.get(STANDBY_SENSITIVE[parameter], "0"))


def parse_control(lines: tuple[str, ...]) -> ControlData:
    """Read pg_controldata's ``label: value`` lines; ValueError when the needed ones are not there."""
    fields: dict[str, str] = {}
    for line in lines:
        label, colon, value = line.partition(":")
        if colon:
            fields[label.strip()] = value.strip()
    data = ControlData(fields)
    try:
        _ = (data.system_id, data.state, data.checkpoint, data.redo, data.timeline, data.segment_bytes)
    except KeyError as error:
        raise ValueError(f"pg_controldata does not tell {error.args[0]!r}") from None
    return data


async def read_control(settings: PostgresSettings, timeout: float = 10.0) -> ControlData:
    """Run pg_controldata; Refused when the control file cannot be read, Unknown when the disk does not answer."""
    argv = (settings.program("pg_controldata"), "-D", str(settings.data_dir))
    ended = await run(argv, env=tool_environment(), timeout=timeout, keep=100)
    if ended.code != 0:
        raise Refused(f"pg_controldata {verdict(ended.code)}: {ended.said}")
    if any("Calculated CRC checksum does not match" in line for line in ended.tail):
        raise Refused(f"the control file of {settings.data_dir} is damaged: its checksum does not match its content")
    try:
        return parse_control(ended.tail)
    except ValueError as error:
        raise Refused(f"the control file of {settings.data_dir} cannot be understood: {error}") from error
