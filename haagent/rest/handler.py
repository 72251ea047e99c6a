"""Turns one HTTP request into its response: finds the route, asks ``core/answers.py`` or submits to the core.

It holds no condition of its own about the cluster. Whatever a client sends, it gets an answer, never a traceback.
"""

from __future__ import annotations

import asyncio
import functools
import json
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl

from aiohttp import web

import haagent
from haagent.core import answers
from haagent.core.answers import Answer, QueryError
from haagent.core.conditions import leads
from haagent.core.facts import Document, View
from haagent.core.status import status
from haagent.core.terms import Instant
from haagent.rest import metrics, openapi
from haagent.rest.access import Access, Denial, credentials
from haagent.rest.routes import TABLE, Field, Kind, Route, allowed
from haagent.rest.settings import RestSettings

log = logging.getLogger(__name__)

Current = Callable[[], View]
Submit = Callable[[str, Document, str], Awaitable[Answer]]
Doctor = Callable[[], Awaitable[bytes]]
"""Examines this node within seconds, and gives the report as JSON."""

JSON_TYPE = "application/json"
TEXT_TYPE = "text/plain; charset=utf-8"
STATUS_KEPT_S = 0.1
"""How long the status JSON serves several requests; the HTTP code is computed for each."""

DECISIONS, DECISIONS_MOST = 100, 1000
"""How many records of the journal are given if nothing is said, and at most."""

NOTE_EVERY_S = 1.0
"""How often at most a refused request is logged."""

Reply = tuple[int, bytes, str, Mapping[str, str]]
"""HTTP status, body, content type, further headers."""
_NONE: Mapping[str, str] = {}


class BodyError(ValueError):
    """The body of a request is not a JSON object; the text says what it is."""


class Handler:
    """Answers requests from the published view; ``ticked_at`` tells when the loop last published one."""

    def __init__(
        self,
        settings: RestSettings,
        current: Current,
        submit: Submit,
        ticked_at: Callable[[], Instant],
        counters: Callable[[], metrics.Counters] | None = None,
        journal: Callable[[int], bytes] | None = None,
        doctor: Doctor | None = None,
    ) -> None:
        self._doctor = doctor
        self._current = current
        self._submit = submit
        self._ticked_at = ticked_at
        self._metrics = metrics.Metrics(current, counters)
        self._journal = journal
        self._status_of: tuple[object, ...] = ()
        self._status_body = b""
        self._noted_at, self._unnoted = float("-inf"), 0
        self.configure(settings)

    def configure(self, settings: RestSettings) -> None:
        """Use other credentials, headers and limits from the next request on."""
        self._settings = settings
        self._access = Access(settings)
        headers = dict(settings.http_extra_headers) | (dict(settings.https_extra_headers) if settings.tls else {})
        tokens = settings.server_tokens.lower()
        if tokens == "productonly":
            headers["Server"] = "haagent"
        elif tokens == "minimal":
            headers["Server"] = f"haagent/{haagent.__version__}"
        self._headers = headers

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """The response to one request."""
        try:
            code, body, kind, extra = await self._reply(request)
        except (ConnectionError, web.RequestPayloadError):
            code, body, kind, extra = 400, b"the request ended before its body was complete", TEXT_TYPE, _NONE
        except Exception:
            log.exception("request %s %.100s failed in the agent itself", request.method, request.raw_path)
            code, body, kind, extra = 500, b"the agent could not answer; its log says why", TEXT_TYPE, _NONE
        headers = {"Content-Type": kind, **self._headers, **extra}
        return web.Response(status=code, body=b"" if request.method == "OPTIONS" else body, headers=headers)

    async def _reply(self, request: web.BaseRequest) -> Reply:
        method, target = request.method, request.raw_path
        route = TABLE.get((method, target))
        query: answers.Query = _NONE
        if route is None:
            path, query = _split(request)
            route = TABLE.get((method, path))
            if route is None:
                return _not_found(path, method)
        if route.kind is Kind.CHECK:
            return self._check(route, query)
        if route.handler == "doctor":
            return (
                _text(404, "this agent has no doctor") if self._doctor is None else await self._examined(self._doctor)
            )
        if route.kind is Kind.DOCUMENT:
            return self._document(route, query)
        return await self._request(route, request)

    # --- reading -----------------------------------------------------------------------------------------------

    def _check(self, route: Route, query: answers.Query) -> Reply:
        view = self._current()
        try:
            holds = answers.CHECKS[route.handler](view, query)
        except QueryError as error:
            return _text(400, str(error))
        return 200 if holds else 503, self._status(view), JSON_TYPE, _NONE

    def _status(self, view: View) -> bytes:
        """The status JSON, rendered anew when a fact changed, leadership ended or a moment passed."""
        facts = (view.postgres, view.cluster, view.memory, view.lease, view.guard, view.job, view.settings)
        key = (*facts, view.stopping, leads(view), int(view.now / STATUS_KEPT_S))
        if key != self._status_of:
            self._status_body = json.dumps(status(view)).encode()
            self._status_of = key
        return self._status_body

    def _document(self, route: Route, query: answers.Query) -> Reply:
        match route.handler:
            case "status":
                return 200, self._status(self._current()), JSON_TYPE, _NONE
            case "liveness":
                view = self._current()
                alive = answers.liveness(view, self._ticked_at())
                return 200 if alive else 503, self._status(view), JSON_TYPE, _NONE
            case "metrics":
                return 200, self._metrics.render(), metrics.CONTENT_TYPE, _NONE
            case "journal":
                return self._decisions(query)
            case "openapi":
                return 200, _described(), JSON_TYPE, _NONE
            case name:
                return _render(answers.DOCUMENTS[name](self._current()))

    def _decisions(self, query: answers.Query) -> Reply:
        if self._journal is None:
            return _text(404, "this agent keeps no journal")
        text = query.get("limit", str(DECISIONS))
        if not (text.isascii() and text.isdigit() and len(text) <= 4 and 1 <= int(text) <= DECISIONS_MOST):
            return _text(400, f"limit={text[:40]!r} is no number from 1 to {DECISIONS_MOST}")
        return 200, self._journal(int(text)), JSON_TYPE, _NONE

    async def _examined(self, doctor: Doctor) -> Reply:
        return 200, await doctor(), JSON_TYPE, _NONE

    # --- requests of operators -----------------------------------------------------------------------------------

    async def _request(self, route: Route, request: web.BaseRequest) -> Reply:
        remote = _remote(request)
        denial = await self._access.judge(
            remote, _certified(request), request.headers.get("Authorization"), self._member_urls()
        )
        if denial is not None:
            self._note(f"{route.method} {route.paths[0]} from {remote} refused with {denial.status}: {denial.why}")
            return _denied(denial)
        try:
            body = await self._body(route, request)
        except BodyError as error:
            return _text(400, str(error))
        except TimeoutError:
            return _text(408, f"the body did not arrive within {self._settings.body_timeout_s:g} s")
        except web.HTTPRequestEntityTooLarge:
            return _text(413, f"the body is larger than {self._settings.max_body} bytes")
        user = credentials(request.headers.get("Authorization"))[0]
        origin = f"{user}@{remote}" if user and self._settings.username is not None else str(remote)
        kind = "schedule_restart" if route.handler == "restart" and body.get("schedule") else route.handler
        try:
            async with asyncio.timeout(self._settings.answer_timeout_s):
                return _render(await self._submit(kind, body, origin))
        except TimeoutError:
            waited = self._settings.answer_timeout_s
            return _text(503, f"no answer within {waited:g} s; it may still be carried out: look at GET /cluster")

    def _note(self, refusal: str) -> None:
        """Log a refusal, but let nobody fill the log with them."""
        now = asyncio.get_running_loop().time()
        if now - self._noted_at < NOTE_EVERY_S:
            self._unnoted += 1
            return
        log.warning("%s%s", refusal, f" (and {self._unnoted} more before)" if self._unnoted else "")
        self._noted_at, self._unnoted = now, 0

    def _member_urls(self) -> tuple[str, ...]:
        snapshot = self._current().cluster.snapshot
        return tuple(member.api_url for member in snapshot.members) if snapshot else ()

    async def _body(self, route: Route, request: web.BaseRequest) -> dict[str, Any]:
        if not (route.body or route.fields):
            return {}
        async with asyncio.timeout(self._settings.body_timeout_s):
            raw = await request.read()
        if not raw.strip() and not route.body:
            return {}
        return typed(route.fields, parse_object(raw))


@functools.cache
def _described() -> bytes:
    return json.dumps(openapi.render(), ensure_ascii=False).encode()


def parse_object(raw: bytes) -> dict[str, Any]:
    """The JSON object that a body holds; BodyError when it holds something else, or what JSON does not know."""
    if not raw.strip():
        raise BodyError("the body is empty; a JSON object is expected")
    try:
        found = json.loads(raw.decode(), parse_constant=_no_constant)
        # A lone surrogate and 1e999 pass the parser, but JSON in UTF-8 cannot hold them.
        json.dumps(found, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise BodyError(f"the body is not JSON in UTF-8: {reason[:200]}") from error
    if not isinstance(found, dict):
        raise BodyError(f"the body is a JSON {_JSON_TYPES.get(type(found), 'value')}; an object is expected")
    return found


def typed(fields: Sequence[Field], body: dict[str, Any]) -> dict[str, Any]:
    """The body with booleans that came as words made booleans; BodyError when a field is of another type than declared.

    What is null counts as absent.
    """
    result = dict(body)
    for one in fields:
        value = body.get(one.name)
        if value is None:
            continue
        if one.kind == "boolean" and isinstance(value, str):
            result[one.name] = value = _WORDS.get(value.lower(), value)
        if not isinstance(value, _TYPES[one.kind]) or (one.kind == "scalar" and isinstance(value, bool)):
            kind = "string or number" if one.kind == "scalar" else one.kind
            raise BodyError(f"{one.name} is a JSON {_JSON_TYPES.get(type(value), 'object')}; a {kind} is expected")
    return result


_TYPES: Mapping[str, type | tuple[type, ...]] = {
    "string": str,
    "boolean": bool,
    "object": dict,
    "scalar": (str, int, float),
}
_WORDS: Mapping[str, bool] = {"true": True, "on": True, "yes": True, "false": False, "off": False, "no": False}
_JSON_TYPES: Mapping[type, str] = {list: "array", str: "string", int: "number", float: "number", bool: "boolean"}


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON number")


def _split(request: web.BaseRequest) -> tuple[str, dict[str, str]]:
    """Path and parameters of a request's target, also of one in absolute form."""
    url = request.rel_url
    pairs = parse_qsl(url.raw_query_string, keep_blank_values=True, max_num_fields=None, errors="replace")
    return url.path, dict(pairs[:100])


def _remote(request: web.BaseRequest) -> str | None:
    peer = request.transport.get_extra_info("peername") if request.transport is not None else None
    return str(peer[0]) if isinstance(peer, tuple) and peer else None


def _certified(request: web.BaseRequest) -> bool:
    return request.transport is not None and bool(request.transport.get_extra_info("peercert"))


def _denied(denial: Denial) -> Reply:
    extra = {"WWW-Authenticate": 'Basic realm="haagent", charset="UTF-8"'} if denial.status == 401 else _NONE
    return denial.status, denial.why.encode(), TEXT_TYPE, extra


def _text(code: int, text: str) -> Reply:
    return code, text.encode("utf-8", "backslashreplace"), TEXT_TYPE, _NONE


def _render(answer: Answer) -> Reply:
    if isinstance(answer.body, str):
        return answer.status, answer.body.encode("utf-8", "backslashreplace"), TEXT_TYPE, answer.headers
    return answer.status, json.dumps(answer.body).encode(), JSON_TYPE, answer.headers


def _not_found(path: str, method: str) -> Reply:
    methods = allowed(path)
    if not methods:
        return _text(404, f"there is no {path[:100]}; GET /haagent/openapi.json lists what there is")
    code, body, kind, _ = _text(405, f"{path} knows {', '.join(methods)}, not {method[:20]}")
    return code, body, kind, {"Allow": ", ".join(methods)}
