"""Renders the OpenAPI document from the declared routes: ``python -m haagent.rest.openapi [FILE]``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import haagent
from haagent.rest.routes import ROUTES, Field, Kind, Parameter, Route

_STATUS = {"$ref": "#/components/schemas/Status"}
_TEXT = {"type": "string"}
_NUMBER = {"type": "integer"}
_JSON = "application/json"
_TEXTS = "text/plain"
_DOCUMENT_TYPES = {
    "history": "array",
    "config": "object",
    "cluster": "object",
    "failsafe": "object",
    "journal": "array",
    "doctor": "object",
    "openapi": "object",
}
_UNSAFE_JSON = frozenset({"patch_config", "put_config"})


def render() -> dict[str, Any]:
    """The OpenAPI 3.0 document of the whole API."""
    paths: dict[str, Any] = {}
    for route in ROUTES:
        for path in route.paths:
            for method in route.methods:
                paths.setdefault(path, {})[method.lower()] = _operation(route, method, path)
    return {
        "openapi": "3.0.3",
        "info": {
            "title": "haagent",
            "version": haagent.__version__,
            "description": "The REST API of one agent. Reading needs no credentials; what changes something does, "
            "if restapi.authentication is set.",
        },
        "paths": paths,
        "components": {
            "schemas": {"Status": _status_schema()},
            "securitySchemes": {"basic": {"type": "http", "scheme": "basic"}},
        },
    }


def _operation(route: Route, method: str, path: str) -> dict[str, Any]:
    alias = "" if path == route.paths[0] else f" (the same as {route.paths[0]})"
    operation: dict[str, Any] = {
        "summary": route.summary + alias,
        "operationId": f"{method.lower()}_{path.strip('/').replace('/', '_') or 'root'}",
        "tags": [route.kind.value],
        "responses": {str(code): _reply(route, method, code, text) for code, text in route.replies.items()},
    }
    if route.parameters:
        operation["parameters"] = [_parameter(one) for one in route.parameters]
    if route.fields or route.body:
        operation["requestBody"] = {
            "required": route.body,
            "content": {_JSON: {"schema": _body(route.fields)}},
        }
    if not route.safe:
        operation["security"] = [{"basic": []}, {}]
    return operation


def _parameter(one: Parameter) -> dict[str, Any]:
    """A pattern of names is an object whose fields are spread over the query."""
    if one.pattern:
        name, schema = f"{one.name}x", {"type": "object", "additionalProperties": True}
        return {"name": name, "in": "query", "description": one.summary, "explode": True, "schema": schema}
    return {
        "name": one.name,
        "in": "query",
        "description": one.summary,
        "schema": _TEXT,
        "example": one.example,
    }


def _body(fields: tuple[Field, ...]) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "object"}
    if fields:
        schema["properties"] = {one.name: _field(one) for one in fields}
    required = [one.name for one in fields if one.required]
    if required:
        schema["required"] = required
    return schema


def _field(one: Field) -> dict[str, Any]:
    kind: dict[str, Any] = {"type": one.kind}
    if one.kind == "scalar":
        kind = {"anyOf": [_TEXT, {"type": "number"}]}
    if one.kind == "boolean":
        kind = {"anyOf": [{"type": "boolean"}, {"type": "string", "enum": ["true", "on", "yes", "false", "off", "no"]}]}
    return {**kind, "description": one.summary, **({} if one.required else {"nullable": True})}


def _reply(route: Route, method: str, code: int, text: str) -> dict[str, Any]:
    reply: dict[str, Any] = {"description": text}
    if method not in ("HEAD", "OPTIONS"):
        kind, schema = _content(route, code)
        reply["content"] = {kind: {"schema": schema}}
    return reply


def _content(route: Route, code: int) -> tuple[str, dict[str, Any]]:
    if route.kind is Kind.CHECK or route.handler in ("status", "liveness"):
        return (_TEXTS, _TEXT) if code == 400 else (_JSON, _STATUS)
    if route.kind is Kind.DOCUMENT and code == 200 and route.handler in _DOCUMENT_TYPES:
        kind = _DOCUMENT_TYPES[route.handler]
        return _JSON, {"type": kind, "items": {}} if kind == "array" else {"type": kind}
    if code == 200 and route.handler in _UNSAFE_JSON:
        return _JSON, {"type": "object"}
    return _TEXTS, _TEXT


def _status_schema() -> dict[str, Any]:
    flags = ("pause", "cluster_unlocked", "failsafe_mode_is_active", "pending_restart", "watchdog_failed")
    properties: dict[str, Any] = {
        "state": _TEXT,
        "role": {"type": "string", "enum": ["primary", "replica", "standby_leader", "uninitialized", "demoted"]},
        "postmaster_start_time": _TEXT,
        "server_version": _NUMBER,
        "timeline": _NUMBER,
        "replication_state": _TEXT,
        "dcs_last_seen": {**_NUMBER, "description": "seconds since 1970; 0: never"},
        "database_system_identifier": _TEXT,
        "xlog": {"type": "object", "description": "location, or received_location, replayed_location, …"},
        "replication": {"type": "array", "items": {"type": "object"}},
        "pending_restart_reason": {"type": "object"},
        "scheduled_restart": {"type": "object"},
        "tags": {"type": "object"},
        "patroni": {"type": "object", "description": "version, scope, name"},
        "haagent": {"type": "object", "description": "state, row, why, not_eligible, advice, …"},
    }
    for flag in (*flags, "sync_standby", "quorum_standby"):
        properties[flag] = {"type": "boolean", "description": "absent when it is not so"}
    return {"type": "object", "required": ["state", "role", "patroni"], "properties": properties}


def main() -> None:
    """Write the document to the file named, or to docs/reference/openapi.json."""
    target = Path(sys.argv[1] if len(sys.argv) > 1 else "docs/reference/openapi.json")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(render(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
