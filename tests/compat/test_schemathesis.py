"""schemathesis, which knows only the OpenAPI document that an agent serves, against the server and the core."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import replace

import pytest

from haagent.core.actions import Reply
from haagent.core.answers import Answer
from haagent.core.facts import Document, Intent
from haagent.core.intents import admit
from tests.builders import NOW
from tests.compat.clients import place
from tests.unit.rest.conftest import Node, listening
from tests.unit.rest.served import Served

CHECKS = "status_code_conformance,content_type_conformance,response_headers_conformance,response_schema_conformance"
REFUSALS = "negative_data_rejection,ignored_auth,unsupported_method"


class Deciding(Node):
    """Requests are refused as the core refuses them; what it takes up counts as done."""

    async def submit(self, kind: str, body: Document, origin: str) -> Answer:
        actions, _ = admit(replace(self.view, intents=(Intent(1, kind, body, NOW),)))
        replies = [action for action in actions if isinstance(action, Reply)]
        if replies:
            return Answer(replies[0].status, replies[0].body)
        return Answer(200, body if kind in ("patch_config", "put_config") else "done")


@pytest.fixture
def served() -> Iterator[Served]:
    one = Served(Deciding(settings=listening(username="admin", password="secret")))
    try:
        yield one
    finally:
        one.close()


def test_the_api_does_what_its_description_says(served: Served) -> None:
    """Codes, types and schemas as declared; what breaks the schema or comes without a login is refused."""
    url = f"http://127.0.0.1:{served.node.port}/haagent/openapi.json"
    argv = [str(place() / "schemathesis/bin/schemathesis"), "run", url, "--checks", f"{CHECKS},{REFUSALS}"]
    argv += ["--max-examples", "3", "--seed", "1", "--auth", "admin:secret", "--no-color"]
    argv += ["--exclude-method", "HEAD", "--exclude-method", "OPTIONS"]
    here = place() / "schemathesis"
    done = subprocess.run(argv, capture_output=True, text=True, timeout=240, check=False, cwd=here)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
