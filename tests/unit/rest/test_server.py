"""The server as clients see it, over real sockets."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest

from haagent.core.answers import Answer
from haagent.core.facts import Document, LeaseFacts
from haagent.core.terms import later
from haagent.rest.client import basic
from haagent.rest.routes import ROUTES, TABLE, Kind
from haagent.rest.server import ListenError, RestServer
from haagent.rest.settings import ClientSettings, RestSettings, SettingsError, client_context
from tests.builders import NOW, a_cluster, a_lease, a_member, a_primary_view, a_view
from tests.unit.rest.conftest import Certificates, Node, Serve, listening, make_certificates


async def ask(
    node: Node, method: str, path: str, body: bytes | None = None, **options: object
) -> tuple[int, str, dict[str, str]]:
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, node.url + path, data=body, **options) as reply,  # type: ignore[arg-type]
    ):
        return reply.status, await reply.text(), {str(name): value for name, value in reply.headers.items()}


async def code(node: Node, path: str, method: str = "GET") -> int:
    return (await ask(node, method, path))[0]


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

GUARDED = listening(username="admin", password="pässword")


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


# --- TLS ----------------------------------------------------------------------------------------------------------


def tls(certificates: Certificates, **settings: object) -> RestSettings:
    return listening(certfile=certificates.cert, keyfile=certificates.key, **settings)


def trusting(certificates: Certificates, *, certified: bool = False) -> ssl.SSLContext:
    settings = ClientSettings(cacert=certificates.ca)
    if certified:
        settings = replace(settings, certfile=certificates.cert, keyfile=certificates.key)
    return client_context(settings)


async def test_it_serves_over_tls_with_extra_headers(serve: Serve, certificates: Certificates) -> None:
    settings = tls(
        certificates,
        http_extra_headers={"X-Frame-Options": "SAMEORIGIN"},
        https_extra_headers={"Strict-Transport-Security": "max-age=1"},
        server_tokens="ProductOnly",
    )
    node = await serve(Node(settings=settings))
    status, _, headers = await ask(node, "GET", "/primary", ssl=trusting(certificates))
    assert status == 200
    assert (headers["X-Frame-Options"], headers["Strict-Transport-Security"]) == ("SAMEORIGIN", "max-age=1")
    assert headers["Server"] == "haagent"


async def test_a_key_may_be_encrypted(serve: Serve, certificates: Certificates) -> None:
    settings = replace(tls(certificates), keyfile=certificates.encrypted_key, keyfile_password=certificates.password)
    node = await serve(Node(settings=settings))
    assert (await ask(node, "GET", "/primary", ssl=trusting(certificates)))[0] == 200


async def test_optional_client_certificates_are_wanted_for_unsafe_methods(
    serve: Serve, certificates: Certificates
) -> None:
    node = await serve(Node(settings=tls(certificates, cafile=certificates.ca, verify_client="optional")))
    assert (await ask(node, "GET", "/primary", ssl=trusting(certificates)))[0] == 200
    assert (await ask(node, "POST", "/restart", ssl=trusting(certificates)))[0] == 403
    assert (await ask(node, "POST", "/restart", ssl=trusting(certificates, certified=True)))[0] == 200


async def test_required_client_certificates_are_wanted_for_everything(serve: Serve, certificates: Certificates) -> None:
    node = await serve(Node(settings=tls(certificates, cafile=certificates.ca, verify_client="required")))
    with pytest.raises(aiohttp.ClientError):
        await ask(node, "GET", "/primary", ssl=trusting(certificates))
    assert (await ask(node, "GET", "/primary", ssl=trusting(certificates, certified=True)))[0] == 200


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"certfile": "/nowhere/cert.pem"}, "/nowhere/cert.pem"),
        ({"keyfile": "/nowhere/key.pem"}, "/nowhere/key.pem"),
        ({"ciphers": "NO-SUCH"}, "restapi.ciphers"),
        ({"verify_client": "required"}, "restapi.cafile"),
        ({"verify_client": "required", "cafile": "/nowhere/ca.pem"}, "/nowhere/ca.pem"),
        ({"listen": ("8008",)}, "restapi.listen"),
        ({"listen": ("127.0.0.1:99999",)}, "restapi.listen"),
    ],
)
async def test_settings_that_cannot_be_used_name_themselves(
    certificates: Certificates, changes: dict[str, str], named: str
) -> None:
    node = Node(settings=replace(tls(certificates), **changes))  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match=named):
        await node.start()


async def test_an_encrypted_key_without_its_password_does_not_ask_on_the_terminal(certificates: Certificates) -> None:
    node = Node(settings=replace(tls(certificates), keyfile=certificates.encrypted_key))
    with pytest.raises(SettingsError, match=r"encrypted\.pem"):
        await asyncio.wait_for(node.start(), 5)


# --- listening, and changing while it runs ------------------------------------------------------------------------


async def test_an_address_in_use_is_named_with_the_way_to_find_its_owner(serve: Serve) -> None:
    node = await serve(Node())
    with pytest.raises(ListenError, match=rf"{node.port}.*ss -ltnp"):
        await Node(settings=listening(listen=(f"127.0.0.1:{node.port}",))).start()


async def test_it_listens_on_several_addresses_and_on_all(serve: Serve) -> None:
    node = await serve(Node(settings=listening(listen=("127.0.0.1:0", "127.0.0.2:0"))))
    assert node.server is not None
    assert [host for host, _ in node.server.addresses] == ["127.0.0.1", "127.0.0.2"]
    everywhere = await serve(Node(settings=listening(listen=("*:0",))))
    assert await code(everywhere, "/primary") == 200


async def changed(node: Node, settings: RestSettings) -> None:
    assert node.server is not None
    await node.server.reconfigure(settings)
    node.settings = settings


async def test_credentials_headers_and_limits_change_without_a_new_connection(serve: Serve) -> None:
    node = await serve(Node())
    async with aiohttp.ClientSession() as session:
        async with session.post(node.url + "/restart") as reply:
            assert reply.status == 200
        await changed(node, replace(GUARDED, http_extra_headers={"X-New": "1"}))
        async with session.post(node.url + "/restart") as reply:
            assert (reply.status, reply.headers["X-New"]) == (401, "1")


async def test_tls_can_be_switched_on_at_the_same_port(serve: Serve, certificates: Certificates) -> None:
    node = await serve(Node())
    port = node.port
    await changed(node, tls(certificates))
    assert node.port == port
    assert (await ask(node, "GET", "/primary", ssl=trusting(certificates)))[0] == 200


async def test_a_replaced_certificate_is_served_without_a_connection_refused(serve: Serve, tmp_path: Path) -> None:
    """Fault 93: the files keep their names; who trusts the new authority alone gets in."""
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    new.mkdir()
    before, _ = make_certificates(old), make_certificates(new)
    node = await serve(Node(settings=tls(before)))
    for name in ("ca.pem", "cert.pem", "key.pem"):
        (new / name).replace(old / name)
    with pytest.raises(aiohttp.ClientError):
        await ask(node, "GET", "/primary", ssl=trusting(before))
    await changed(node, node.settings)
    assert (await ask(node, "GET", "/primary", ssl=trusting(before)))[0] == 200


async def test_the_address_can_change(serve: Serve) -> None:
    node = await serve(Node())
    old = node.port
    await changed(node, listening(listen=("127.0.0.2:0",)))
    assert node.server is not None
    assert node.server.addresses[0][0] == "127.0.0.2"
    with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", old), 1):
        pass


async def test_settings_that_cannot_be_used_leave_the_old_in_force(serve: Serve, certificates: Certificates) -> None:
    """Fault 82."""
    other = await serve(Node())
    node = await serve(Node(settings=listening()))
    fixed = f"127.0.0.1:{node.port}"
    await changed(node, listening(listen=(fixed,)))
    assert node.server is not None
    with pytest.raises(SettingsError):
        await node.server.reconfigure(replace(tls(certificates), certfile="/nowhere"))
    with pytest.raises(ListenError):
        await node.server.reconfigure(listening(listen=(f"127.0.0.1:{other.port}",)))
    assert node.server.addresses == (("127.0.0.1", int(fixed.rpartition(":")[2])),)
    assert await code(node, "/primary") == 200


async def test_a_stopped_server_refuses_connections(serve: Serve) -> None:
    node = await serve(Node())
    port = node.port
    assert isinstance(node.server, RestServer)
    await node.server.stop()
    with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port), 1):
        pass


# --- clients that mean no good ------------------------------------------------------------------------------------


async def test_a_connection_that_says_nothing_is_closed(serve: Serve) -> None:
    node = await serve(Node(settings=listening(idle_timeout_s=0.2)))
    for beginning in (b"", b"GET /primary HT"):
        reader, writer = await asyncio.open_connection("127.0.0.1", node.port)
        writer.write(beginning)
        assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()


async def test_beyond_the_limit_the_connection_that_was_silent_longest_is_closed(serve: Serve) -> None:
    node = await serve(Node(settings=listening(max_connections=3)))
    held = [await asyncio.open_connection("127.0.0.1", node.port) for _ in range(3)]
    for asker in (0, 1):
        await _ask(*held[asker])
    held.append(await asyncio.open_connection("127.0.0.1", node.port))
    assert await asyncio.wait_for(held[2][0].read(), 5) == b""
    for reader, writer in (held[0], held[1], held[3]):
        await _ask(reader, writer)
    for _, writer in held:
        writer.close()


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HEAD /primary HTTP/1.1\r\nHost: x\r\n\r\n")
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
    assert head.startswith(b"HTTP/1.1 200")


async def test_an_answer_under_way_is_not_ended_for_a_newcomer(serve: Serve) -> None:
    node = Node(settings=listening(max_connections=1))
    asked, told = asyncio.Event(), asyncio.Event()

    async def slow(kind: str, body: Document, origin: str) -> Answer:
        asked.set()
        await told.wait()
        return Answer(202, "reload scheduled")

    node.submit = slow  # type: ignore[method-assign]
    await serve(node)
    reader, writer = await asyncio.open_connection("127.0.0.1", node.port)
    writer.write(b"POST /reload HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
    await asyncio.wait_for(asked.wait(), 5)
    other, closing = await asyncio.open_connection("127.0.0.1", node.port)
    assert await asyncio.wait_for(other.read(), 5) == b""
    told.set()
    assert (await asyncio.wait_for(reader.readline(), 5)).startswith(b"HTTP/1.1 202")
    writer.close()
    closing.close()


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
