"""All faults by their names."""

from __future__ import annotations

from tests.chaos.faults import etcd, hosts, network, operators, processes
from tests.chaos.faults.base import Fault

KINDS: dict[str, Fault] = {
    fault.name: fault for part in (processes, hosts, network, etcd, operators) for fault in part.FAULTS
}
