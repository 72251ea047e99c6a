"""A small HTTP client for JSON services, from inside a host."""

from __future__ import annotations

import http.client
import json
from dataclasses import dataclass
from typing import Any

from tests.real.hosts import Host


@dataclass(frozen=True)
class Reply:
    """What came back; ``status`` 0 when nothing did."""

    status: int
    text: str

    @property
    def json(self) -> Any:
        """The body, decoded; OSError when nothing came."""
        if not self.status:
            raise OSError(self.text)
        return json.loads(self.text)


def request(
    origin: Host, address: str, port: int, method: str, path: str, body: object = None, timeout_s: float = 2
) -> Reply:
    """Ask from one host for something on another; a failure on the way is a reply with status 0."""
    connection = http.client.HTTPConnection(address, port, timeout=timeout_s)
    payload = None if body is None else json.dumps(body)
    try:
        with origin.inside():
            connection.request(method, path, payload, {"Content-Type": "application/json"} if payload else {})
        answer = connection.getresponse()
        return Reply(answer.status, answer.read().decode())
    except (OSError, http.client.HTTPException) as error:
        return Reply(0, f"{type(error).__name__}: {error}")
    finally:
        connection.close()
