"""Where the server listens, TLS, and what changes while it runs."""

from __future__ import annotations

import asyncio
import socket
import ssl
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest

from haagent.rest.server import ListenError, RestServer
from haagent.rest.settings import ClientSettings, RestSettings, SettingsError, client_context
from tests.unit.rest.conftest import GUARDED, Certificates, Node, Serve, ask, code, listening, make_certificates

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


async def test_a_reload_leaves_no_client_without_an_answer(serve: Serve) -> None:
    """Whatever turn of the loop a connection comes in."""
    node = await serve(Node())
    for turns in range(30):
        asking = [asyncio.create_task(code(node, "/primary")) for _ in range(4)]
        for _ in range(turns):
            await asyncio.sleep(0)
        await changed(node, node.settings)
        async with asyncio.timeout(3):
            assert await asyncio.gather(*asking) == [200] * 4


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
