"""Operators' own ways to make a data directory: the first one of a cluster, and those of its replicas."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

BASEBACKUP = "basebackup"


@dataclass(frozen=True, slots=True)
class BootstrapMethod:
    """The program that makes the first data directory of a cluster, mostly from a backup."""

    name: str
    command: str
    no_params: bool = False
    """It gets no arguments besides those of the command itself."""
    arguments: Mapping[str, str] = field(default_factory=dict)
    keep_existing_recovery_conf: bool = False
    """How it left recovery configured is left alone."""
    recovery_conf: Mapping[str, str] = field(default_factory=dict)
    """Recovery parameters of the first start."""


@dataclass(frozen=True, slots=True)
class ReplicaMethod:
    """One way to make a replica; without a command it is pg_basebackup."""

    name: str = BASEBACKUP
    command: str = ""
    no_params: bool = False
    arguments: Mapping[str, str] = field(default_factory=dict)
    no_leader: bool = False
    """It needs nobody to copy from."""
    keep_data: bool = False
    """What a method before it left in the data directory is not removed."""
