"""What agent and guard say to each other: one JSON object a packet, each request answered with the guard's state."""

from __future__ import annotations

import json
import os
import socket
import struct

from haagent.guard.watch import Report, Watch

MAX_BYTES = 4096
FAR_FUTURE = 1e12
TAKEN = 3
"""Exit code of the process that starts a guard: another one has the name."""


def peer(connection: socket.socket) -> tuple[int, int]:
    """Process id and user id of the other side, as the kernel vouches for them (unix(7), SO_PEERCRED)."""
    pid, uid, _ = struct.unpack("iII", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return pid, uid


def request(number: int, do: str, term: int = 0, until: float = 0.0, reason: str = "") -> bytes:
    return json.dumps([number, do, term, until, reason]).encode()


def read_request(packet: bytes) -> tuple[int, str, int, float, str]:
    """(number, telling, term, until, reason); what is no request reads as ``hello``, which changes nothing."""
    try:
        number, do, term, until, reason = json.loads(packet)
        if 0 <= until < FAR_FUTURE:  # NaN is not
            return int(number), str(do), int(term), float(until), str(reason)
    except (TypeError, ValueError, ArithmeticError, RecursionError):
        pass
    return 0, "hello", 0, 0.0, ""


def answer(number: int, refused: str, watch: Watch) -> bytes:
    """The guard's state; ``number`` is the request's, 0 when nobody asked."""
    state = {"number": number, "refused": refused, "pid": os.getpid(), "term": watch.term}
    return json.dumps(state | {"until": watch.until, "fired": watch.fired}).encode()


def report(term: int, processes: int, took_ms: float, reason: str, at: str) -> Report:
    """The content of a marker."""
    return {"term": term, "processes": processes, "took_ms": took_ms, "reason": reason, "at": at}
