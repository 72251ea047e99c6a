"""The server as clients see it, over real sockets."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import pytest

from haagent.core.answers import Answer
from haagent.core.facts import LeaseFacts
from haagent.core.terms import later
from haagent.rest.client import basic
from haagent.rest.routes import ROUTES, TABLE, Kind
from tests.builders import NOW, a_cluster, a_lease, a_member, a_primary_view, a_view
from tests.unit.rest.conftest import GUARDED, Node, Serve, ask, code, listening

# --- health checks ------------------------------------------------------------------------------------------------

PRIMARY_PATHS = ["/", "/primary", "/read-write", "/master"]


@pytest.mark.parametrize("path", PRIMARY_PATHS)
async def test_the_primary_answers_200_under_all_its_names(serve: Serve, path: str) -> None:
    node = await serve(Node())
    status, text, headers = await ask(node, "GET", path)
    assert status == 200
    assert json.loads(text)["role"] == "primary"
    assert headers["Content-Type"] == "application/json"


async def test_the_code_follows_the_clock_at_the_moment_of_the_request(serve: Serve) -> None:
    node = await serve(Node())
    node.view = a_primary_view(lease=a_lease(permit_s=5), now=later(NOW, 4.999))
    assert await code(node, "/primary") == 200
    node.view = replace(node.view, now=later(NOW, 5.0))
    status, text, _ = await ask(node, "GET", "/primary")
    assert status == 503
    assert "permit_s" not in json.loads(text)["haagent"]


async def test_the_status_is_rendered_anew_when_leadership_ends_within_the_same_moment(serve: Serve) -> None:
    node = await serve(Node())
    assert "permit_s" in json.loads((await ask(node, "GET", "/patroni"))[1])["haagent"]
    node.view = replace(node.view, lease=LeaseFacts())
    assert "permit_s" not in json.loads((await ask(node, "GET", "/patroni"))[1])["haagent"]


async def test_head_and_options_answer_with_the_same_code_and_no_body(serve: Serve) -> None:
    primary, standby = await serve(Node()), await serve(Node(a_view()))
    for route in ROUTES:
        if not route.safe:
            continue
        for path in route.paths:
            for node in (primary, standby):
                expected = await code(node, path)
                for method in ("HEAD", "OPTIONS"):
                    status, text, _ = await ask(node, method, path)
                    assert (status, text) == (expected, ""), (method, path)


async def test_a_standby_answers_to_replica_with_parameters(serve: Serve) -> None:
    node = await serve(Node(a_view()))
    assert await code(node, "/primary") == 503
    assert await code(node, "/replica") == 200
    assert await code(node, "/replica?lag=16MB&replication_state=streaming") == 200
    assert await code(node, "/replica?tag_zone=a") == 503
    status, text, _ = await ask(node, "GET", "/replica?lag=soon")
    assert status == 400
    assert "soon" in text


async def test_patroni_is_always_200(serve: Serve) -> None:
    node = await serve(Node(replace(a_view(), cluster=a_cluster(leader=None))))
    status, text, _ = await ask(node, "GET", "/patroni")
    assert (status, json.loads(text)["cluster_unlocked"]) == (200, True)


async def test_liveness_tells_when_the_loop_hangs(serve: Serve) -> None:
    node = await serve(Node())
    assert await code(node, "/liveness") == 200
    node.ticked_at = later(NOW, -10)
    assert await code(node, "/liveness") == 503


async def test_documents_are_json(serve: Serve) -> None:
    node = await serve(Node(a_view()))
    for path in ("/cluster", "/history", "/config"):
        status, text, headers = await ask(node, "GET", path)
        assert (status, headers["Content-Type"]) == (200, "application/json")
        json.loads(text)
    assert await code(node, "/failsafe") == 502


async def test_every_declared_route_is_answered(serve: Serve) -> None:
    node = await serve(Node(answer=Answer(202, "taken")))
    for (method, path), route in TABLE.items():
        body = b"{}" if route.kind is Kind.REQUEST else None
        status, _, _ = await ask(node, method, path, body)
        assert status in (*route.replies, 202), (method, path)


async def test_unknown_paths_and_methods_are_told_apart(serve: Serve) -> None:
    node = await serve(Node())
    assert await code(node, "/nothing") == 404
    status, _, headers = await ask(node, "PUT", "/switchover", b"{}")
    assert (status, headers["Allow"]) == (405, "DELETE, POST")
    assert await code(node, "/primary", "POST") == 405


# --- requests of operators ----------------------------------------------------------------------------------------


async def test_a_request_is_handed_over_with_its_body_and_origin(serve: Serve) -> None:
    node = await serve(Node(answer=Answer(200, 'Successfully switched over to "b"')))
    status, text, headers = await ask(node, "POST", "/switchover", b'{"leader": "a"}')
    assert (status, text) == (200, 'Successfully switched over to "b"')
    assert headers["Content-Type"].startswith("text/plain")
    assert node.submitted == [("switchover", {"leader": "a"}, "127.0.0.1")]


@pytest.mark.parametrize(
    ("method", "path", "body", "kind"),
    [
        ("PATCH", "/config", b'{"ttl": 20}', "patch_config"),
        ("PUT", "/config", b'{"ttl": 20}', "put_config"),
        ("POST", "/reload", None, "reload"),
        ("POST", "/reload", b"what?", "reload"),
        ("POST", "/restart", None, "restart"),
        ("POST", "/restart", b"{}", "restart"),
        ("POST", "/restart", b'{"schedule": "2030-01-01T00:00:00Z"}', "schedule_restart"),
        ("DELETE", "/restart", None, "delete_restart"),
        ("POST", "/reinitialize", b'{"force": true}', "reinitialize"),
        ("DELETE", "/switchover", None, "delete_switchover"),
        ("POST", "/failover", b'{"candidate": "b"}', "failover"),
        ("POST", "/failsafe", b'{"name": "a"}', "failsafe"),
    ],
)
async def test_each_request_has_its_kind(serve: Serve, method: str, path: str, body: bytes | None, kind: str) -> None:
    node = await serve(Node())
    assert (await ask(node, method, path, body))[0] == 200
    assert [submitted[0] for submitted in node.submitted] == [kind]


async def test_an_answer_may_be_a_document_and_carry_headers(serve: Serve) -> None:
    node = await serve(Node(answer=Answer(200, {"ttl": 20}, {"lsn": "83886080"})))
    status, text, headers = await ask(node, "PATCH", "/config", b'{"ttl": 20}')
    assert (status, json.loads(text), headers["lsn"]) == (200, {"ttl": 20}, "83886080")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"   ",
        b"[]",
        b'"x"',
        b"1",
        b"null",
        b"{",
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b'{"a": 1e999}',
        b"\xff\xfe",
        b'{"a": "\\ud800"}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"a": ' + b"9" * 10_000 + b"}",
    ],
)
async def test_what_is_no_json_object_is_refused_before_it_reaches_the_core(serve: Serve, body: bytes) -> None:
    node = await serve(Node())
    status, text, _ = await ask(node, "PATCH", "/config", body)
    assert status == 400
    assert "body" in text
    assert node.submitted == []


@pytest.mark.parametrize(
    ("path", "body", "taken"),
    [
        ("/reinitialize", {"force": True}, {"force": True}),
        ("/reinitialize", {"force": "false", "from_leader": "on"}, {"force": False, "from_leader": True}),
        ("/reinitialize", {"force": "perhaps"}, "force is a JSON string; a boolean is expected"),
        ("/reinitialize", {"force": 1}, "force is a JSON number; a boolean is expected"),
        ("/restart", {"timeout": 30, "role": None}, {"timeout": 30, "role": None}),
        ("/restart", {"timeout": True}, "timeout is a JSON boolean; a string or number is expected"),
        ("/switchover", {"leader": ["a"]}, "leader is a JSON array; a string is expected"),
        ("/failover", {"candidate": {}}, "candidate is a JSON object; a string is expected"),
    ],
)
async def test_fields_are_of_their_declared_types(
    serve: Serve, path: str, body: dict[str, object], taken: object
) -> None:
    """Booleans may come as words, null counts as absent."""
    node = await serve(Node())
    status, text, _ = await ask(node, "POST", path, json.dumps(body).encode())
    assert (status, node.submitted[0][1] if node.submitted else text) == (
        200 if isinstance(taken, dict) else 400,
        taken,
    )


async def test_the_description_of_the_api_is_served(serve: Serve) -> None:
    status, text, _ = await ask(await serve(Node()), "GET", "/haagent/openapi.json")
    assert status == 200
    assert set(json.loads(text)["paths"]) == {path for _, path in TABLE}


async def test_a_body_that_is_too_large_is_refused(serve: Serve) -> None:
    node = await serve(Node(settings=listening(max_body=1000)))
    status, text, _ = await ask(node, "PATCH", "/config", b'{"a": "' + b"x" * 2000 + b'"}')
    assert (status, "1000 bytes" in text) == (413, True)
    assert node.submitted == []


async def test_a_body_that_does_not_come_is_not_waited_for(serve: Serve) -> None:
    node = await serve(Node(settings=listening(body_timeout_s=0.1)))
    reader, writer = await asyncio.open_connection("127.0.0.1", node.port)
    writer.write(b"PATCH /config HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
    assert (await asyncio.wait_for(reader.readline(), 5)).startswith(b"HTTP/1.1 408")
    writer.close()


async def test_an_answer_that_does_not_come_is_not_waited_for(serve: Serve) -> None:
    class Mute(Node):
        async def submit(self, kind: str, body: object, origin: str) -> Answer:
            await asyncio.Event().wait()
            raise AssertionError("unreachable")

    node = await serve(Mute(settings=listening(answer_timeout_s=0.05)))
    status, text, _ = await ask(node, "POST", "/restart")
    assert (status, "may still be carried out" in text) == (503, True)


async def test_a_failure_inside_tells_the_client_nothing_of_the_inside(serve: Serve) -> None:
    class Broken(Node):
        async def submit(self, kind: str, body: object, origin: str) -> Answer:
            raise RuntimeError("secret detail")

    node = await serve(Broken())
    status, text, _ = await ask(node, "POST", "/restart")
    assert (status, "secret" in text, "Traceback" in text) == (500, False, False)


# --- who may ------------------------------------------------------------------------------------------------------


async def test_unsafe_methods_want_credentials_safe_ones_do_not(serve: Serve) -> None:
    """Fault 94."""
    node = await serve(Node(settings=GUARDED))
    status, _, headers = await ask(node, "POST", "/restart")
    assert (status, headers["WWW-Authenticate"].startswith("Basic ")) == (401, True)
    assert await code(node, "/primary") == 200
    right = {"Authorization": basic("admin", "pässword")}
    assert (await ask(node, "POST", "/restart", headers=right))[0] == 200
    assert node.submitted == [("restart", {}, "admin@127.0.0.1")]


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Basic",
        "Basic !!!",
        "Bearer YWRtaW46eA==",
        "Basic YWRtaW46eA==",
        "Basic YWRtaW4=",
        "Basic OnDDpHNzd29yZA==",
        "Basic gICA",
    ],
)
async def test_wrong_credentials_do_not_pass(serve: Serve, header: str) -> None:
    node = await serve(Node(settings=GUARDED))
    assert (await ask(node, "POST", "/restart", headers={"Authorization": header}))[0] == 401
    assert node.submitted == []


async def test_nobody_can_fill_the_log_with_refusals(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    """Fault 94: the first is journaled at once, more within a second are counted."""
    node = await serve(Node(settings=GUARDED))
    for _ in range(5):
        await ask(node, "POST", "/restart")
    refusals = [record.getMessage() for record in caplog.records if "refused with 401" in record.getMessage()]
    assert len(refusals) == 1
    assert "POST /restart from 127.0.0.1" in refusals[0]


@pytest.mark.parametrize(
    ("allowlist", "passes"),
    [
        ((), True),
        (("127.0.0.1",), True),
        (("127.0.0.0/8",), True),
        (("10.0.0.0/8", "localhost"), True),
        (("10.0.0.0/8",), False),
        (("::1",), False),
    ],
)
async def test_only_who_is_on_the_allowlist_may_change_something(
    serve: Serve, allowlist: tuple[str, ...], passes: bool
) -> None:
    """Fault 94."""
    node = await serve(Node(settings=listening(allowlist=allowlist)))
    assert (await ask(node, "POST", "/restart"))[0] == (200 if passes else 403)
    assert await code(node, "/primary") == 200
    assert len(node.submitted) == int(passes)


async def test_members_may_be_on_the_allowlist(serve: Serve) -> None:
    node = await serve(Node(settings=listening(allowlist_include_members=True)))
    assert (await ask(node, "POST", "/restart"))[0] == 403
    here = a_member("a", api_url="http://127.0.0.1:8008/patroni")
    node.view = replace(node.view, cluster=a_cluster(here))
    assert (await ask(node, "POST", "/restart"))[0] == 200


# --- the journal ---------------------------------------------------------------------------------------------------


async def test_the_journal_gives_the_last_decisions_without_credentials(serve: Serve) -> None:
    node = await serve(Node(settings=listening(username="admin", password="secret")))
    status, text, headers = await ask(node, "GET", "/haagent/journal?limit=2")
    assert (status, json.loads(text)) == (200, [{"asked for": 2}])
    assert headers["Content-Type"] == "application/json"
    assert json.loads((await ask(node, "GET", "/haagent/journal"))[1]) == [{"asked for": 100}]


@pytest.mark.parametrize("limit", ["0", "1001", "-1", "x", "", "1e3", "٣", "99999999999999999999"])
async def test_a_limit_that_is_no_number_is_refused(serve: Serve, limit: str) -> None:
    status, text, _ = await ask(await serve(Node()), "GET", f"/haagent/journal?limit={limit}")
    assert status == 400
    assert "is no number from 1 to 1000" in text
