"""Every route of the REST API, declared once; the server, the client and the OpenAPI document are made from it.

The paths, codes and aliases are Patroni's (its documentation, "REST API"); what is haagent's own says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum


class Kind(Enum):
    """How a route is answered."""

    CHECK = "check"
    """A health check of ``core/answers.py``: 200 or 503, with the status JSON."""
    DOCUMENT = "document"
    """A document about the node or the cluster, from the published view."""
    REQUEST = "request"
    """An operator's request, decided by the core."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of the query string; ``pattern`` says that any name beginning with ``name`` is meant."""

    name: str
    summary: str
    example: str
    pattern: bool = False


@dataclass(frozen=True, slots=True)
class Field:
    """A field of the JSON body of a request; ``kind`` is a JSON type, or ``scalar``: a string or a number."""

    name: str
    kind: str
    summary: str
    required: bool = False


@dataclass(frozen=True, slots=True)
class Route:
    """One route: ``paths`` lists the main path and its aliases, ``handler`` names who answers.

    For a check that is a function in ``core.answers.CHECKS``, for a document a method of the server, for a request
    the ``kind`` under which it is submitted to the core.
    """

    method: str
    paths: tuple[str, ...]
    kind: Kind
    handler: str
    summary: str
    replies: Mapping[int, str]
    parameters: tuple[Parameter, ...] = ()
    fields: tuple[Field, ...] = ()
    body: bool = False
    """Whether a JSON object must be sent; without one an absent body counts as ``{}``."""

    @property
    def safe(self) -> bool:
        """Whether it only reads, so that it needs no credentials."""
        return self.method == "GET"

    @property
    def methods(self) -> tuple[str, ...]:
        """The HTTP methods: whatever can be read with GET can be asked with HEAD and OPTIONS too."""
        return ("GET", "HEAD", "OPTIONS") if self.safe else (self.method,)


_LAG = Parameter("lag", "how many bytes of WAL a standby may be behind the leader, such as 16MB", "16MB")
_STATE = Parameter("replication_state", "the replication state that a standby must have", "streaming")
_TAG = Parameter("tag_", "tag_x=value: a tag x that this node must have, with that value", "tag_zone=a", pattern=True)
_MODE = Parameter("mode", "apply: WAL counts when replayed; write: when received", "apply")
_LIMIT = Parameter("limit", "how many records at most, 100 by default and 1000 at most", "20")
_READS = (_LAG, _STATE, _TAG)


def _check(handler: str, *paths: str, yes: str, parameters: tuple[Parameter, ...] = ()) -> Route:
    replies = {200: yes, 503: "it is not so"}
    if parameters:
        replies[400] = "a parameter cannot be read"
    return Route("GET", paths, Kind.CHECK, handler, f"Whether {yes}", replies, parameters)


def _document(handler: str, path: str, summary: str, replies: Mapping[int, str]) -> Route:
    return Route("GET", (path,), Kind.DOCUMENT, handler, summary, replies)


_CHECKS = (
    _check("primary", "/primary", "/", "/read-write", "/master", yes="this node leads and accepts writes"),
    _check("leader", "/leader", yes="this node leads and PostgreSQL answers"),
    _check("standby_leader", "/standby-leader", "/standby_leader", yes="this node leads a standby cluster"),
    _check("replica", "/replica", yes="this standby may get reads", parameters=_READS),
    _check("read_only", "/read-only", yes="this node may get reads", parameters=_READS),
    _check("read_only_sync", "/read-only-sync", yes="this is the primary or a sync standby", parameters=_READS),
    _check("read_only_quorum", "/read-only-quorum", yes="this is the primary or of the quorum", parameters=_READS),
    _check("sync", "/sync", "/synchronous", yes="commits wait for this standby", parameters=_READS),
    _check("quorum", "/quorum", yes="this standby counts towards the quorum", parameters=_READS),
    _check("asynchronous", "/async", "/asynchronous", yes="no commit waits for this standby", parameters=_READS),
    _check("health", "/health", yes="PostgreSQL runs and answers"),
    _check("readiness", "/readiness", yes="this node leads, or replicates closely", parameters=(_LAG, _MODE)),
)

_DOCUMENTS = (
    Route(
        "GET",
        ("/liveness",),
        Kind.DOCUMENT,
        "liveness",
        "Whether the agent's loop turns",
        {200: "its last round is younger than ttl on a primary, two ttl elsewhere", 503: "it hangs"},
    ),
    _document("status", "/patroni", "The status of this node", {200: "the status JSON, whatever the state"}),
    _document("metrics", "/metrics", "Metrics for Prometheus", {200: "text format 0.0.4"}),
    _document("cluster", "/cluster", "All members and their lag", {200: "the cluster", 503: "etcd never answered"}),
    _document("history", "/history", "All promotions", {200: "one line a promotion, oldest first"}),
    _document("config", "/config", "The dynamic configuration", {200: "as stored", 502: "there is none"}),
    Route(
        "GET",
        ("/haagent/journal",),
        Kind.DOCUMENT,
        "journal",
        "What this node decided last, with reasons and outcomes (haagent's own)",
        {200: "one record a decision, oldest first", 400: "limit is no number from 1 to 1000", 404: "none is kept"},
        (_LIMIT,),
    ),
    _document(
        "doctor",
        "/haagent/doctor",
        "What this node finds of itself and of the ways to the others, examined at most every 5 s (haagent's own)",
        {200: "one finding a check: id, verdict, evidence, mend", 404: "this agent has no doctor"},
    ),
    _document("openapi", "/haagent/openapi.json", "This description of the API (haagent's own)", {200: "OpenAPI 3.0"}),
    _document("failsafe", "/failsafe", "The members of failsafe mode", {200: "name: api_url", 502: "it is off"}),
)

_DENIED = {
    400: "the body is not a JSON object, or a value in it is not valid",
    401: "credentials are missing or wrong",
    403: "the address is not on the allowlist, or a client certificate is missing",
    413: "the body is too large",
    503: "it could not be done, or nobody can say yet whether it was",
}


def _request(
    method: str,
    path: str,
    handler: str,
    summary: str,
    replies: Mapping[int, str],
    fields: tuple[Field, ...] = (),
    body: bool = False,
) -> Route:
    all_replies = dict(sorted({**_DENIED, **replies}.items()))
    return Route(method, (path,), Kind.REQUEST, handler, summary, all_replies, fields=fields, body=body)


_RESTART_FIELDS = (
    Field("schedule", "string", "when, ISO 8601 with a time zone; at once if absent"),
    Field("role", "string", "only if the node then has this role: primary or replica"),
    Field("restart_pending", "boolean", "only if a parameter waits for a restart"),
    Field("postgres_version", "scalar", "only if the server is older than this"),
    Field("timeout", "scalar", "how long PostgreSQL may take to accept connections, such as 30s"),
)

_REQUESTS = (
    _request(
        "PATCH",
        "/config",
        "patch_config",
        "Change parts of the dynamic configuration; null removes a key",
        {200: "the whole new configuration", 409: "somebody else wrote at the same time"},
        body=True,
    ),
    _request(
        "PUT",
        "/config",
        "put_config",
        "Replace the dynamic configuration",
        {200: "the whole new configuration", 409: "somebody else wrote at the same time"},
        body=True,
    ),
    _request("POST", "/reload", "reload", "Read the configuration file again", {202: "reload scheduled"}),
    _request(
        "POST",
        "/restart",
        "restart",
        "Restart PostgreSQL, at once or at a given time",
        {200: "restarted successfully", 202: "Restart scheduled", 409: "one is scheduled", 422: "the time is past"},
        _RESTART_FIELDS,
    ),
    _request(
        "DELETE",
        "/restart",
        "delete_restart",
        "Forget the scheduled restart",
        {200: "scheduled restart deleted", 404: "no restarts are scheduled"},
    ),
    _request(
        "POST",
        "/reinitialize",
        "reinitialize",
        "Take a new base backup of the leader; the old data directory is moved aside",
        {200: "begun; GET /patroni shows the progress"},
        (
            Field("force", "boolean", "even if a restart is under way"),
            Field("from_leader", "boolean", "take it from the leader, not from a clonefrom member"),
        ),
    ),
    _request(
        "POST",
        "/switchover",
        "switchover",
        "Hand leadership over in good order",
        {200: "Successfully switched over", 202: "Switchover scheduled", 412: "it is not possible, and why"},
        (
            Field("leader", "string", "the present leader", required=True),
            Field("candidate", "string", "who shall lead; the best standby if absent"),
            Field("scheduled_at", "string", "when, ISO 8601 with a time zone; at once if absent"),
        ),
        body=True,
    ),
    _request(
        "DELETE",
        "/switchover",
        "delete_switchover",
        "Forget the scheduled switchover",
        {200: "scheduled switchover deleted", 404: "no switchover is scheduled"},
    ),
    _request(
        "POST",
        "/failover",
        "failover",
        "Make a member lead when the present leader cannot help",
        {200: "Successfully failed over", 412: "it is not possible, and why"},
        (
            Field("candidate", "string", "who shall lead", required=True),
            Field("leader", "string", "given: a switchover is meant"),
        ),
        body=True,
    ),
    _request(
        "POST",
        "/failsafe",
        "failsafe",
        "Between agents: the primary asks whether it may go on while etcd is silent",
        {
            200: "Accepted, with the header lsn: this node does not take the leader key for a ttl",
            500: "Running as a leader",
            502: "failsafe mode is off",
            503: "another leads, or this node campaigns or starts at this moment",
        },
        (
            Field("name", "string", "the primary that asks", required=True),
            Field("conn_url", "string", "its PostgreSQL", required=True),
            Field("api_url", "string", "its REST API", required=True),
            Field("slots", "object", "its slots and their positions"),
            Field("haagent", "object", "of an agent of haagent: to, scope, term and ttl"),
        ),
        body=True,
    ),
)

ROUTES: tuple[Route, ...] = _CHECKS + _DOCUMENTS + _REQUESTS

TABLE: Mapping[tuple[str, str], Route] = {
    (method, path): route for route in ROUTES for method in route.methods for path in route.paths
}
"""Every method and path, to its route."""


def allowed(path: str) -> tuple[str, ...]:
    """The methods that a path knows; none: there is no such path."""
    return tuple(sorted({method for method, known in TABLE if known == path}))
