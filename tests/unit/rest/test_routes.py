"""The declared routes, and the document that is rendered from them."""

from __future__ import annotations

import json
from pathlib import Path

import aiohttp

from haagent.core.answers import CHECKS, DOCUMENTS
from haagent.rest.openapi import render
from haagent.rest.routes import ROUTES, TABLE, Kind
from tests.unit.rest.conftest import Node, Serve

ROOT = Path(__file__).parents[3]


def test_no_path_is_declared_twice() -> None:
    declared = [(method, path) for route in ROUTES for method in route.methods for path in route.paths]
    assert len(declared) == len(set(declared)) == len(TABLE)


def test_every_check_is_reached_by_a_route_and_every_route_has_its_answer() -> None:
    named = {kind: {route.handler for route in ROUTES if route.kind is kind} for kind in Kind}
    assert named[Kind.CHECK] == set(CHECKS)
    assert named[Kind.DOCUMENT] == {*DOCUMENTS, "status", "liveness", "metrics", "journal", "doctor", "openapi"}


def test_what_changes_something_is_never_a_get() -> None:
    for route in ROUTES:
        assert (route.kind is Kind.REQUEST) == (not route.safe)


def test_the_rendered_document_is_up_to_date() -> None:
    """``python -m haagent.rest.openapi`` renders it anew."""
    stored = json.loads((ROOT / "docs/reference/openapi.json").read_text(encoding="utf-8"))
    assert stored == render()


def test_every_operation_has_a_name_of_its_own() -> None:
    operations = [operation for path in render()["paths"].values() for operation in path.values()]
    names = [operation["operationId"] for operation in operations]
    assert len(names) == len(set(names)) == len(TABLE)


async def test_the_doctor_answers_where_there_is_one(serve: Serve) -> None:
    node = await serve(Node())
    async with aiohttp.ClientSession() as session, session.get(f"{node.url}/haagent/doctor") as reply:
        assert (reply.status, await reply.json()) == (200, {"findings": []})
